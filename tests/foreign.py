"""Other people's systems with a few thousand random weights, saved by transformers' own classes as theirs are."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    M2M100Config,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    SeamlessM4TConfig,
    SeamlessM4TFeatureExtractor,
    SeamlessM4TForSpeechToText,
    SeamlessM4TProcessor,
    SeamlessM4TTokenizer,
    SeamlessM4Tv2Config,
    SeamlessM4Tv2ForSpeechToText,
    Speech2TextConfig,
    Speech2TextFeatureExtractor,
    Speech2TextForConditionalGeneration,
    Speech2TextProcessor,
    Speech2TextTokenizer,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.integrations.mistral import convert_tekken_tokenizer

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
LLM = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 16,
}  # fmt: skip
LETTERS = list("▁abcdefghijklmnopqrstuvwxyz,.")


def spread(model: Any, seed: int) -> Any:
    """Weights with which what a model writes depends on what it hears, and not on its last token alone."""
    torch.manual_seed(seed)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            std = 0.1 if id(parameter) in embeddings else 2 / parameter[0].numel() ** 0.5
            torch.nn.init.normal_(parameter, std=std)
        elif name.endswith("bias"):  # a convolution's begins otherwise each time
            torch.nn.init.zeros_(parameter)
    return model


def unprinted(tokenizer: Any) -> list[int]:
    """All but letters and the end: what a random model is kept from writing, so that texts differ where tokens do."""
    written = {*LETTERS[1:27], tokenizer.eos_token}
    return [number for token, number in tokenizer.get_vocab().items() if token not in written]


def small_whisper(folder: Path, mel_bins: int = 8) -> Path:
    end = "<|endoftext|>"
    tokens = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|fr|>", "<|no|>", "<|translate|>", "<|transcribe|>"]
    tokens += ["<|notimestamps|>", "<|0.00|>"]
    vocab = {token: number for number, token in enumerate([*BYTES, end])}
    tokenizer = WhisperTokenizer(vocab=vocab, merges=[], pad_token=end)
    tokenizer.add_tokens(tokens, special_tokens=True)
    ids = dict(zip([end, *tokens], tokenizer.convert_tokens_to_ids([end, *tokens]), strict=True))
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=mel_bins, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_target_positions=16, decoder_start_token_id=ids[tokens[0]], bos_token_id=ids[end], eos_token_id=ids[end],
        pad_token_id=ids[end],
    )  # fmt: skip
    model = spread(WhisperForConditionalGeneration(config), 1)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids[tokens[0]], bos_token_id=ids[end], eos_token_id=ids[end], pad_token_id=ids[end],
        is_multilingual=True, lang_to_id={token: ids[token] for token in tokens[1:5]},
        task_to_id={name: ids[f"<|{name}|>"] for name in ("translate", "transcribe")},
        no_timestamps_token_id=ids["<|notimestamps|>"], begin_suppress_tokens=[ids[end]],
        suppress_tokens=unprinted(tokenizer), max_length=16, max_initial_timestamp_index=50,
    )  # fmt: skip
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=mel_bins), tokenizer).save_pretrained(folder)
    return folder


def small_speech2text(folder: Path, languages: str | None = None) -> Path:
    """Of one direction, French into English, which the folder's name tells; with `languages` of several."""
    folder = folder / "s2t-small-covost2-fr-en-st"
    folder.mkdir()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tags = [f"<lang:{code}>" for code in ("pt", "fr", "ru", "nl", "ro", "it", "es", "de")] if languages else []
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["".join(LETTERS[1:27])] * 30), model_prefix=str(folder / "spm"), model_type="char",
        vocab_size=31 + len(tags), control_symbols="<pad>", user_defined_symbols=tags, minloglevel=2,
    )  # fmt: skip
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate([*special, *LETTERS, *tags])}))
    tokenizer = Speech2TextTokenizer(
        vocab_file=str(folder / "vocab.json"), spm_file=str(folder / "spm.model"), lang_codes=languages
    )
    ends = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = Speech2TextConfig(
        vocab_size=tokenizer.vocab_size, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, conv_channels=16, **ends,
    )  # fmt: skip
    model = spread(Speech2TextForConditionalGeneration(config), 8)
    for conv in model.model.encoder.conv.conv_layers:  # what a clip's end must not draw in
        torch.nn.init.normal_(conv.bias, std=0.5)
    model.generation_config = GenerationConfig(**ends, num_beams=5, max_length=200, suppress_tokens=[0, 1, 3])
    model.save_pretrained(folder)
    Speech2TextProcessor(Speech2TextFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def small_seamless(kind: Any, config: Any) -> Callable[[Path], Path]:
    """Of either version."""

    def save(folder: Path) -> Path:
        languages = ["eng", "deu", "fra", "arb"]
        vocab = {token: number for number, token in enumerate(["<pad>", "<unk>", "<s>", "</s>", *LETTERS])}
        tokenizer = SeamlessM4TTokenizer(vocab=vocab, additional_special_tokens=[f"__{code}__" for code in languages])
        sizes = config(
            vocab_size=len(tokenizer), hidden_size=16, feature_projection_input_dim=160, speech_encoder_layers=2,
            speech_encoder_attention_heads=2, speech_encoder_intermediate_size=16, encoder_layers=1, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
            num_adapter_layers=1, adaptor_kernel_size=8, adaptor_stride=8, pad_token_id=0, bos_token_id=2,
            eos_token_id=3, decoder_start_token_id=3, conv_depthwise_kernel_size=7,
        )  # fmt: skip
        model = spread(kind(sizes), 2)
        codes = {code: tokenizer.convert_tokens_to_ids(f"__{code}__") for code in languages}
        model.generation_config = GenerationConfig(
            decoder_start_token_id=3, pad_token_id=0, bos_token_id=2, eos_token_id=3,
            text_decoder_lang_to_code_id=codes, suppress_tokens=[0, 1, 2, *codes.values()],
        )  # fmt: skip
        model.save_pretrained(folder)
        SeamlessM4TProcessor(SeamlessM4TFeatureExtractor(), tokenizer).save_pretrained(folder)
        return folder

    return save


def small_nllb(folder: Path) -> Path:
    vocab = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *LETTERS])}
    codes = ["eng_Latn", "deu_Latn", "fra_Latn", "zho_Hans"]
    tokenizer = NllbTokenizer(vocab=vocab, merges=[], additional_special_tokens=codes, src_lang="eng_Latn")
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, decoder_start_token_id=2,
    )  # fmt: skip
    spread(M2M100ForConditionalGeneration(config), 3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chat_tokenizer(extra: Sequence[str] = (), **options: Any) -> PreTrainedTokenizerFast:
    """Bytes, and ChatML as Qwen writes it."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *extra]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(BYTES)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", **options
    )
    made.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return made


def small_chat(folder: Path) -> Path:
    tokenizer = chat_tokenizer()
    config = Qwen2Config(
        **LLM, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model = spread(Qwen2ForCausalLM(config), 4)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    # Qwen2.5's own: without our say-so it would sample, and with it still be penalised
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.8, repetition_penalty=1.05, eos_token_id=ends, pad_token_id=ends[1],
        suppress_tokens=unprinted(tokenizer),
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_qwen2_audio(folder: Path) -> Path:
    tokenizer = chat_tokenizer(["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"])
    audio = {
        "model_type": "qwen2_audio_encoder", "num_mel_bins": 8, "d_model": 16, "encoder_layers": 1,
        "encoder_attention_heads": 2, "encoder_ffn_dim": 16,
    }  # fmt: skip
    config = Qwen2AudioConfig(
        audio_config=audio,
        text_config={"model_type": "qwen2", **LLM, "vocab_size": len(tokenizer)},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = spread(Qwen2AudioForConditionalGeneration(config), 5)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=20, repetition_penalty=1.1, eos_token_id=ends, pad_token_id=ends[1],
        suppress_tokens=unprinted(tokenizer),
    )  # fmt: skip
    model.save_pretrained(folder)
    Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=8), tokenizer).save_pretrained(folder)
    return folder


def small_omni(config: Any, kind: Any, audio: dict[str, Any], text: dict[str, Any]) -> Callable[[Path], Path]:
    """Saved as the hub has them: the whole, from which the thinker is to be taken (here there is nothing else)."""

    def save(folder: Path) -> Path:
        tokens = {"audio_bos_token": "<|audio_bos|>", "audio_token": "<|AUDIO|>", "audio_eos_token": "<|audio_eos|>"}
        pictures = ["<|vision_bos|>", "<|vision_eos|>", "<|IMAGE|>", "<|VIDEO|>"]
        tokenizer = chat_tokenizer([*tokens.values(), *pictures], extra_special_tokens=tokens)
        bos, place, eos, *seen = tokenizer.convert_tokens_to_ids([*tokens.values(), *pictures])
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
        thinker = {
            "audio_config": {
                "num_mel_bins": 8, "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2,
                "encoder_ffn_dim": 16, "output_dim": 16, **audio,
            },
            "vision_config": {
                "depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 16,
            },
            "text_config": {
                **LLM, "vocab_size": len(tokenizer), "rope_parameters": rope, "tie_word_embeddings": False, **text,
            },
            "audio_token_index": place, "audio_token_id": place, "audio_start_token_id": bos, "audio_end_token_id": eos,
            "vision_start_token_id": seen[0], "vision_end_token_id": seen[1], "image_token_index": seen[2],
            "image_token_id": seen[2], "video_token_index": seen[3], "video_token_id": seen[3],
        }  # fmt: skip
        model = spread(kind(config(thinker_config=thinker, enable_audio_output=False)), 6)
        model.generation_config = GenerationConfig(suppress_tokens=unprinted(tokenizer))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        WhisperFeatureExtractor(feature_size=8, chunk_length=300).save_pretrained(folder)
        return folder

    return save


def tekken() -> dict[str, Any]:
    """Mistral's format of a tokenizer: bytes, some longer tokens, and Voxtral's special ones where they are in its."""
    special = {1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 11: "<pad>", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]"}
    special |= {0: "<unk>", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", 34: "[TRANSCRIBE]"}
    special |= {5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]"}
    special |= {9: "[TOOL_CALLS]", 19: "[TOOL_CONTENT]"}
    tokens = [bytes([number]) for number in range(256)] + [b"la", b"an", b"ng", b"lan", b"lang", b" t", b" th", b"de"]
    return {
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",
            "num_vocab_tokens": len(tokens), "default_vocab_size": 40 + len(tokens), "default_num_special_tokens": 40,
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": token.decode(errors="replace")}
            for rank, token in enumerate(tokens)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": special.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(40)
        ],
        "audio": {
            "sampling_rate": 16000, "frame_rate": 12.5, "chunk_length_s": 30.0,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
        },
    }  # fmt: skip


def small_voxtral(folder: Path) -> Path:
    (folder / "tekken.json").write_text(json.dumps(tekken()))
    tokenizer = convert_tekken_tokenizer(str(folder / "tekken.json"))
    audio = {
        "num_mel_bins": 8,
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = VoxtralConfig(
        audio_config=audio, audio_token_id=24,
        text_config={
            "model_type": "llama", **LLM, "head_dim": 8, "vocab_size": len(tokenizer), "max_position_embeddings": 1024,
        },
    )  # fmt: skip
    model = spread(VoxtralForConditionalGeneration(config), 7)
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=11, suppress_tokens=unprinted(tokenizer)
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    return folder


def both(first: Callable[[Path], Path], second: Callable[[Path], Path]) -> Callable[[Path], str]:
    """A cascade's name: the two folders with a plus."""

    def save(folder: Path) -> str:
        (folder / "asr").mkdir()
        return f"{first(folder / 'asr')}+{second(folder / 'mt')}"

    return save


SMALL: dict[str, Callable[[Path], Any]] = {
    "whisper": small_whisper,
    "speech2text": small_speech2text,
    "seamless-m4t-medium": small_seamless(SeamlessM4TForSpeechToText, SeamlessM4TConfig),
    "seamless-m4t-large": small_seamless(SeamlessM4TForSpeechToText, SeamlessM4TConfig),
    "seamless-m4t-v2-large": small_seamless(SeamlessM4Tv2ForSpeechToText, SeamlessM4Tv2Config),
    "qwen2-audio-7b": small_qwen2_audio,
    "qwen2.5-omni-7b": small_omni(Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration, {}, {}),
    "qwen3-omni-30b-a3b": small_omni(
        Qwen3OmniMoeConfig,
        Qwen3OmniMoeForConditionalGeneration,
        {"downsample_hidden_size": 16},
        {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "head_dim": 8},
    ),
    "voxtral-mini-3b": small_voxtral,
}
SMALL |= {
    f"{asr}+{mt}": both(SMALL[asr], save)
    for asr in ("whisper", "seamless-m4t-v2-large", "voxtral-mini-3b")
    for mt, save in (("nllb", small_nllb), ("chat", small_chat))
}

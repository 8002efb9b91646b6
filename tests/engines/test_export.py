"""An exported folder says what the model said: the same audio embeddings, the same logits, from merged weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from exported import RECIPES, write_model
from safetensors.torch import load_file
from toy import mel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.engines.vllm.config import DragomanConfig
from dragoman.engines.vllm.export import AUDIO_TOKEN, export_vllm
from dragoman.engines.vllm.prompts import after_tags, speech_prompt
from dragoman.engines.vllm.translator import VllmTranslator
from dragoman.errors import ModelError
from dragoman.inference.options import LoadOptions
from dragoman.model.adapters import make_adapter
from dragoman.model.encoder import MelEncoder
from dragoman.model.folder import load_model


@pytest.mark.parametrize("name", RECIPES)
def test_the_merged_weights_hear_and_write_as_the_model_does(name: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path, name)
    ours = load_model(folder).model
    out = export_vllm(folder, tmp_path / "out", "float32")
    config = DragomanConfig.from_pretrained(out)
    weights = {key: value for file in out.glob("*.safetensors") for key, value in load_file(file).items()}

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}

    recipe = config.parsed_recipe()
    encoder = MelEncoder(WhisperEncoder(config.encoder_config), recipe.audio.padding).eval()
    encoder.load_state_dict(part("encoder."))
    adapter = make_adapter(recipe.adapter, encoder.width, config.text_config.hidden_size).eval()
    adapter.load_state_dict(part("adapter."))
    llm = AutoModelForCausalLM.from_config(config.text_config).eval()
    missing = llm.load_state_dict(part("language_model."), strict=False)
    assert missing.unexpected_keys == [] and set(missing.missing_keys) <= {"lm_head.weight"}  # tied to the embeddings

    heard = torch.from_numpy(mel(200))[None], torch.tensor([200])
    with torch.no_grad():
        audio, _ = ours.encode_audio(*heard)
        theirs, _ = adapter(*encoder(*heard))
        torch.testing.assert_close(theirs, audio[:, len(ours.lead_ids) :] / ours.audio_scale, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            llm(inputs_embeds=audio).logits, ours.llm(inputs_embeds=audio).logits, rtol=1e-4, atol=1e-4
        )
    assert config.lead_ids == ours.lead_ids.tolist()


def test_one_piece_stands_for_the_audio_wherever_the_endpoints_ask(tmp_path: Path) -> None:
    out = export_vllm(write_model(tmp_path, "gemma2"), tmp_path / "out")
    config, tokenizer = DragomanConfig.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert tokenizer.convert_ids_to_tokens(config.audio_token_id) == AUDIO_TOKEN
    ids = speech_prompt(config, tokenizer, "de", "French")
    assert tokenizer.decode(ids).replace(" ", "") == "thecat<|audio|><|deu|><|fra|>"
    assert tokenizer.decode(speech_prompt(config, tokenizer, "German", None)).endswith("<|audio|><|deu|>")
    for language, sentence in ((None, "name the language"), ("nld", "Dutch")):
        with pytest.raises(ValueError, match=sentence):
            speech_prompt(config, tokenizer, language, None)
    assert after_tags("wo? <|deu|> <|fra|> où ?") == after_tags("où ?") == "où ?"


def test_a_compute_type_of_fewer_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="float32, bfloat16, float16"):
        export_vllm(write_model(tmp_path, "qwen2"), tmp_path / "out", "int8")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_a_sentence_says_where_to_read_how(tmp_path: Path) -> None:
    out = export_vllm(write_model(tmp_path, "qwen2"), tmp_path / "out")
    with pytest.raises(ModelError, match=r"vLLM is not installed here; docs/vllm.md says how"):
        VllmTranslator(out)


@pytest.mark.parametrize(
    ("load", "flag"),
    [
        (LoadOptions(beam_size=4), "--beam_size"),
        (LoadOptions(device="cuda"), "--device"),
        (LoadOptions(no_repeat_ngram_size=5), "--no_repeat_ngram_size"),
        (LoadOptions(smt_transcript="reference"), "--task"),
    ],
)
def test_options_that_vllm_has_no_use_for_are_refused_before_anything_is_read(
    load: LoadOptions, flag: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=flag):
        VllmTranslator.from_pretrained(tmp_path / "none", load)

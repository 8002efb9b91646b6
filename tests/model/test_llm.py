"""Quirks of backbones."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from toy import examples, recipe, stage, tokenizer, write_bases, write_corpus
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GenerationConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
)

from dragoman.data.batching import collate
from dragoman.model.folder import load_model, merge_lora
from dragoman.model.hardware.attention import NAME, use_packed_attention
from dragoman.model.hardware.placement import is_offloaded
from dragoman.model.llm import load_llm, with_lora
from dragoman.recipe import LlmConfig, Lora
from dragoman.training.curriculum import train_curriculum
from dragoman.training.options import TrainOptions

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
LORA = Lora(rank=2, alpha=4, targets=["q_proj", "v_proj"])


@pytest.fixture
def gemma3(tmp_path: Path) -> Path:
    """A Gemma3 with eyes, as its authors' checkpoints are."""
    pieces = tokenizer()
    text = Gemma3TextConfig(
        vocab_size=len(pieces), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=8, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    Gemma3ForConditionalGeneration(config).eval().save_pretrained(tmp_path)
    pieces.save_pretrained(tmp_path)
    return tmp_path


def test_gemma3_is_loaded_without_its_eyes(gemma3: Path) -> None:
    whole = AutoModelForCausalLM.from_pretrained(gemma3)
    assert isinstance(whole, Gemma3ForConditionalGeneration)
    llm, _ = load_llm(LlmConfig(name=str(gemma3)), None, torch.float32)
    assert isinstance(llm, Gemma3ForCausalLM)
    assert not [name for name, tensor in llm.named_parameters() if "vision" in name or tensor.device.type == "meta"]
    assert llm.lm_head.weight is llm.get_input_embeddings().weight
    ids = torch.arange(2, 14)[None]
    with torch.no_grad():
        expected = whole(input_ids=ids).logits
        torch.testing.assert_close(llm(input_ids=ids).logits, expected)
        torch.testing.assert_close(llm(inputs_embeds=llm.get_input_embeddings()(ids)).logits, expected)


def test_gemma3_goes_on_from_embeddings_and_learns_in_its_language_model_alone(gemma3: Path) -> None:
    llm, _ = load_llm(LlmConfig(name=str(gemma3)), None, torch.float32)
    embeddings = llm.get_input_embeddings()(torch.arange(2, 14)[None])
    settings = GenerationConfig(do_sample=False, max_new_tokens=5, min_new_tokens=5, pad_token_id=0, eos_token_id=1)
    with torch.no_grad():
        written = llm.generate(inputs_embeds=embeddings, generation_config=settings)
        rows = embeddings
        for at in range(5):  # one forward pass after the other, without a cache
            logits = llm(inputs_embeds=rows).logits[:, -1]
            logits[:, 1] = -torch.inf
            assert int(logits.argmax()) == int(written[0, at])
            rows = torch.cat([rows, llm.get_input_embeddings()(logits.argmax(-1))[:, None]], 1)
    trained = [name for name, tensor in with_lora(llm, LORA).named_parameters() if tensor.requires_grad]
    assert len(trained) == 2 * 2 * 2 and all(".self_attn." in name for name in trained)


def test_gemma3_read_from_the_disk_says_the_same(gemma3: Path) -> None:
    whole, _ = load_llm(LlmConfig(name=str(gemma3)), None, torch.float32)
    room = sum(weight.nbytes for weight in whole.parameters()) * 4 // 5
    parts, _ = load_llm(
        LlmConfig(name=str(gemma3)), None, torch.float32, {"device_map": "auto", "max_memory": {"cpu": room}}
    )
    assert is_offloaded(parts) and isinstance(parts, Gemma3ForCausalLM)
    embeddings = whole.get_input_embeddings()(torch.arange(2, 14)[None])
    with torch.no_grad():
        assert torch.equal(parts(inputs_embeds=embeddings).logits, whole(inputs_embeds=embeddings).logits)


@needs_bitsandbytes
def test_gemma3_in_4_bits_has_lora_for_them(gemma3: Path) -> None:
    llm, _ = load_llm(LlmConfig(name=str(gemma3), quantisation="4bit"), None, torch.float32)
    projection = with_lora(llm, LORA).base_model.model.model.layers[0].self_attn.q_proj
    assert projection.base_layer.weight.dtype == torch.uint8 and type(projection).__name__ == "Linear4bit"


@needs_bitsandbytes
@pytest.mark.parametrize(("held", "dtype"), [("4bit", torch.uint8), ("8bit", torch.int8)])
def test_an_llm_in_fewer_bits_learns_beside_its_weights_and_loads_as_it_was(
    held: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    lora = {"rank": 2, "alpha": 4, "targets": "all-linear"}
    chosen = recipe(
        llm={"name": "base", "quantisation": held, "lora": lora}, stages=[stage("asr", trains=["llm_lora"])]
    )
    write_bases(tmp_path / "bases", chosen)
    write_corpus(tmp_path / "data")
    own = {"bases": tmp_path / "bases"}
    folder = train_curriculum(chosen, tmp_path / "data", tmp_path / "run", TrainOptions(workers=0), **own)
    first, second = load_model(folder), load_model(folder)
    projection = first.model.llm.base_model.model.model.layers[0].self_attn.q_proj
    assert projection.base_layer.weight.dtype == dtype
    assert float(projection.lora_B.default.weight.detach().abs().max()) > 0
    merge_lora(second.model)
    batch = collate(examples(), 0)
    with torch.no_grad():
        assert float(first.model(batch)["loss"]) == float(second.model(batch)["loss"])


def test_grouped_heads_packed_into_one_query_attend_as_torch_attends() -> None:
    """With a mask and without, one query and several; and nothing of it is saved."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 50}
    llm = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=1)).eval()
    ids = torch.randint(50, (2, 6))
    mask = torch.tensor([[1] * 6, [0] * 2 + [1] * 4])

    def logits(attention: str, masked: bool) -> torch.Tensor:
        llm.set_attn_implementation(attention)
        known = mask if masked else torch.ones_like(mask)
        with torch.no_grad():
            cache = llm(ids[:, :5], attention_mask=known[:, :5], use_cache=True).past_key_values
            return llm(ids[:, 5:], attention_mask=known, past_key_values=cache).logits

    for masked in (False, True):
        torch.testing.assert_close(logits(NAME, masked), logits("sdpa", masked))
    use_packed_attention(llm)
    assert llm.config._attn_implementation == NAME and NAME not in str(llm.config.to_dict())

"""The authors' checkpoints: modules with their key names and shapes, made of Hugging Face's classes at toy width, are
saved as theirs were, converted, and must give the same logits."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from toy import LORA, recipe, tokenizer
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperModel,
)

from dragoman import Translator
from dragoman.data.tasks import LanguageTags
from dragoman.errors import DragomanError, ModelError, OutputError, RecipeError
from dragoman.model.folder import load_model
from dragoman.model.hub import RELEASES
from dragoman.model.llm import embed
from dragoman.model.load import model_folder
from dragoman.model.released import convert
from dragoman.model.splice import splice
from dragoman.recipe import Recipe, load_recipe, names

WIDTH, QUERIES, VOCABULARY = 32, 7, len(tokenizer())
LAYOUTS: dict[str, dict[str, int | None]] = {
    "q-former": {"pool": 1, "mlp_hidden": 20},
    "qqm": {"pool": 3, "mlp_hidden": 20},  # one query is left over
    "linear": {"pool": 1, "mlp_hidden": None},
}
Q_FORMER = {"kind": "q-former", "queries": QUERIES, "layers": 3, "hidden": 16, "heads": 2, "feed_forward": 24}
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "intermediate_size": 48, "pad_token_id": 0, "eos_token_id": 1}  # fmt: skip
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
          "image_size": 8, "patch_size": 4}  # fmt: skip
RANK = 3


class Projector(nn.Module):
    """Section by section what the authors' `encoder_projector` holds, under their names."""

    def __init__(self, pool: int, mlp_hidden: int | None) -> None:
        super().__init__()
        self.pool = pool
        self.query = nn.Parameter(torch.empty(1, QUERIES, 16))
        config = Blip2QFormerConfig(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, encoder_hidden_size=WIDTH
        )
        self.qformer = Blip2QFormerModel(config)
        if mlp_hidden is None:
            self.linear = nn.Linear(16, WIDTH)
        else:
            self.linear1, self.linear2 = nn.Linear(16, mlp_hidden), nn.Linear(mlp_hidden, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-5)

    def forward(self, frames: Tensor) -> Tensor:
        everywhere = torch.ones(frames.shape[:2], dtype=torch.long)
        heard = self.qformer(
            query_embeds=self.query.expand(len(frames), -1, -1),
            encoder_hidden_states=frames,
            encoder_attention_mask=everywhere,
        ).last_hidden_state
        whole = QUERIES - QUERIES % self.pool
        heard = heard[:, :whole].reshape(len(frames), whole // self.pool, self.pool, 16).mean(2)
        mixed = self.linear(heard) if hasattr(self, "linear") else self.linear2(self.linear1(heard).relu())
        return self.norm(mixed)


class Authors(nn.Module):
    """Their whole model as transformers 5.3 ran it: Gemma2 multiplied all that went into it, audio too, by the root of
    its width; Gemma3 text only."""

    def __init__(self, family: str, whisper: nn.Module, llm: nn.Module, layout: str) -> None:
        super().__init__()
        self.family = family
        self.encoder = whisper
        self.encoder_projector = Projector(**LAYOUTS[layout])  # type: ignore[arg-type]
        lora = LoraConfig(r=RANK, lora_alpha=32, target_modules=["q_proj", "v_proj"])
        self.llm = get_peft_model(llm, lora)  # type: ignore[arg-type]
        for name, weight in self.named_parameters():
            weight.requires_grad_("encoder_projector" in name or ".lora_" in name)
            if weight.requires_grad:
                weight.data = nn.init.normal_(weight, std=0.3).bfloat16().float()
        self.eval()

    @torch.no_grad()
    def logits(self, mel: Tensor, ids: Tensor) -> Tensor:
        audio = self.encoder_projector(self.encoder(mel).last_hidden_state)
        text = nn.functional.embedding(ids, self.llm.get_input_embeddings().weight)  # type: ignore[operator]
        if self.family != "qwen2":
            text = text * WIDTH**0.5
        if self.family == "gemma2":
            audio = audio * WIDTH**0.5
        logits: Tensor = self.llm(inputs_embeds=torch.cat([audio, text], dim=1)).logits
        return logits

    def trained(self) -> dict[str, Tensor]:
        return {name: weight.detach().bfloat16() for name, weight in self.named_parameters() if weight.requires_grad}


def whole_llm(family: str) -> nn.Module:
    torch.manual_seed(0)
    heads = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    if family == "gemma2":
        return Gemma2ForCausalLM(Gemma2Config(**SHAPE, **heads))
    config = Gemma3Config(text_config={**SHAPE, **heads}, vision_config=VISION, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config)


def text_tower(llm: nn.Module) -> Any:
    """What Dragoman loads of it."""
    if not isinstance(llm, Gemma3ForConditionalGeneration):
        return llm
    tower = Gemma3ForCausalLM(llm.config.text_config)
    tower.model.load_state_dict(llm.model.language_model.state_dict())
    return tower


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small bases in folders, as on the hub."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    config = WhisperConfig(
        num_mel_bins=80, d_model=WIDTH, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=48,
        max_source_positions=100, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=48, vocab_size=60,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder / "whisper")
    for family in ("qwen2", "gemma2", "gemma3"):
        text_tower(whole_llm(family)).save_pretrained(folder / family)
        tokenizer().save_pretrained(folder / family)
    return folder


def authors(bases: Path, family: str = "qwen2", layout: str = "q-former") -> Authors:
    whisper = WhisperModel.from_pretrained(bases / "whisper").get_encoder()
    torch.manual_seed(1)
    return Authors(family, whisper, whole_llm(family), layout)


def described(bases: Path, family: str = "qwen2", layout: str = "q-former", **llm: Any) -> Recipe:
    return recipe(
        audio={"mel_bins": 80, "window_s": 2.0, "padding": "window"},
        encoder={"name": str(bases / "whisper")},
        adapter={**Q_FORMER, **LAYOUTS[layout]},
        llm={"name": str(bases / family), "scale_audio": family == "gemma2", **llm},
    )


def save(tensors: Any, file: Path) -> Path:
    """As the authors did, on their GPU: the file says that its tensors lie on cuda:0."""
    torch.save(tensors, file.with_suffix(".cpu"))
    with zipfile.ZipFile(file.with_suffix(".cpu")) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            there = old.read(name)
            if name.endswith("data.pkl"):
                there = there.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            new.writestr(name, there)
    return file


@torch.no_grad()
def our_logits(folder: Path, mel: Tensor, ids: Tensor) -> Tensor:
    model = load_model(folder).model
    audio, num_audio = model.encode_audio(mel, torch.full((len(mel),), mel.shape[-1]))
    rows, mask, positions = splice(
        audio, num_audio, embed(model.llm, ids), torch.ones_like(ids), torch.arange(len(mel))
    )
    logits: Tensor = model.llm(inputs_embeds=rows, attention_mask=mask, position_ids=positions).logits
    return logits


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gemma3"])
def test_the_same_logits(family: str, layout: str, bases: Path, tmp_path: Path) -> None:
    theirs = authors(bases, family, layout)
    file = save(theirs.trained(), tmp_path / "theirs.pt")
    convert(file, described(bases, family, layout, lora={**LORA, "rank": RANK, "alpha": 32}), tmp_path / "ours")
    mel = torch.randn(2, 80, 200, generator=torch.Generator().manual_seed(2))
    ids = torch.arange(10, 22).reshape(2, 6)
    expected = theirs.logits(mel, ids)
    torch.testing.assert_close(our_logits(tmp_path / "ours", mel, ids), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.1  # there is something to compare


def test_the_file_is_as_on_the_authors_machine(bases: Path, tmp_path: Path) -> None:
    tensors = authors(bases).trained()
    file = save(tensors, tmp_path / "theirs.pt")
    assert "encoder_projector.qformer.encoder.layer.2.crossattention.attention.key.weight" in tensors
    assert "llm.base_model.model.model.layers.1.self_attn.v_proj.lora_B.default.weight" in tensors
    assert torch.load(file, map_location="cpu", weights_only=True).keys() == tensors.keys()
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda name: f"module.{name}",
        lambda name: "module._orig_mod." + name.replace("layer.", "layer._fsdp_wrapped_module.", 1),
    ],
    ids=["ddp", "fsdp"],
)
def test_wrappers_names_are_taken_off(wrapped: Callable[[str], str], bases: Path, tmp_path: Path) -> None:
    tensors = authors(bases).trained()
    for name, named in (("plain", tensors), ("wrapped", {wrapped(key): tensor for key, tensor in tensors.items()})):
        convert(save(named, tmp_path / f"{name}.pt"), described(bases), tmp_path / name)
    plain, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.safetensors")}
        for name in ("plain", "wrapped")
    )
    assert plain == other and len(plain) == 2
    twice = {**tensors, **{wrapped(key): tensor for key, tensor in tensors.items()}}
    with pytest.raises(ModelError, match="differ in name by a wrapper's part"):
        convert(save(twice, tmp_path / "twice.pt"), described(bases), tmp_path / "twice")


def test_lora_is_as_in_the_file_whatever_the_recipe(
    bases: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = authors(bases).trained()
    file = save(tensors, tmp_path / "with.pt")
    convert(file, described(bases), tmp_path / "with")
    assert "has LoRA of rank 3, the recipe none" in caplog.text
    lora = load_model(tmp_path / "with").recipe.llm.lora
    assert lora is not None and (lora.rank, lora.alpha, lora.targets) == (3, 32, ["q_proj", "v_proj"])
    convert(file, described(bases, lora={**LORA, "rank": 8, "alpha": 16}), tmp_path / "other")
    assert "has LoRA of rank 3, the recipe rank 8" in caplog.text
    without = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name}
    convert(save(without, tmp_path / "without.pt"), described(bases), tmp_path / "without")
    assert load_model(tmp_path / "without").recipe.llm.lora is None
    with pytest.raises(ModelError, match=r"it lacks the recipe's llm\..*lora_A.* \(8 such\)"):
        convert(tmp_path / "without.pt", described(bases, lora=LORA), tmp_path / "never")


def test_the_vision_towers_lora_is_left_out_and_said(
    bases: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = authors(bases, "gemma3").trained()
    seen = [name for name in tensors if "vision_tower" in name]
    assert len(seen) == 4 and any("model.model.language_model.layers.0" in name for name in tensors)
    convert(save(tensors, tmp_path / "theirs.pt"), described(bases, "gemma3", lora=LORA), tmp_path / "ours")
    assert "theirs.pt: 4 tensors llm.base_model.model.model.vision_tower.* are left out" in caplog.text


def test_chinese_is_called_as_the_checkpoint_was_taught(bases: Path, tmp_path: Path) -> None:
    shipped = load_recipe("llm-srt-3b")
    chosen = described(bases).model_copy(update={"prompt": shipped.prompt})
    file = save(authors(bases).trained(), tmp_path / "theirs.pt")
    convert(file, chosen, tmp_path / "2025")
    convert(file, chosen, tmp_path / "2026", {"Chinese": "cmn"})
    tags = [LanguageTags(load_model(tmp_path / year).recipe.prompt.tags)("cmn", "eng") for year in ("2025", "2026")]
    assert tags == ["<|zho|><|eng|>", "<|cmn|><|eng|>"]


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gemma3"])
def test_a_recipe_that_scales_otherwise_is_refused(family: str, bases: Path, tmp_path: Path) -> None:
    file = save(authors(bases, family).trained(), tmp_path / "theirs.pt")
    wrong = described(bases, family, scale_audio=family != "gemma2")
    with pytest.raises(RecipeError, match=f"a released {family}(_text)? model needs {str(family == 'gemma2').lower()}"):
        convert(file, wrong, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


# ----------------------------------------------------------------------------------- the wrong file


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def change(key: str, value: Tensor | None) -> Callable[[dict[str, Tensor]], object]:
    def changed(tensors: dict[str, Tensor]) -> object:
        rest = {name: tensor for name, tensor in tensors.items() if name != key}
        return rest if value is None else {**rest, key: value}

    return changed


ONES = torch.ones(2, 2)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda t: {"model": t, "epoch": 3}, "its 'model' is of type dict; a released checkpoint is one dict"),
        (lambda t: list(t.values()), "is a list"),
        (lambda t: {3: ONES}, "its 3 is of type Tensor; a released checkpoint is one dict of named tensors"),
        (lambda t: {}, "holds no encoder_projector.* tensors"),
        (lambda t: {"model.encoder.conv1.weight": ONES}, "is not a checkpoint of these systems"),
        (change("encoder_projector.query", torch.ones(1, 150, 16)),
         "is not of toy: encoder_projector.query has shape (1, 150, 16), the recipe's (1, 7, 16)"),
        (change("encoder_projector.norm.bias", torch.ones(9)), "norm.bias has shape (9,), the recipe's (32,)"),
        (change("encoder_projector.norm.bias", None), "it lacks the recipe's adapter.norm.bias (1 such)"),
        (change("encoder_projector.linear.bias", ONES), "the recipe has no encoder_projector.linear.bias (1 such)"),
        (change("llm.lm_head.weight", ONES), "the recipe has no llm.lm_head.weight (1 such)"),
        (change("llm.base_model.model.model.layers.1.self_attn.v_proj.lora_A.default.weight", None),
         "it lacks the recipe's llm.base_model.model.model.layers.1.self_attn.v_proj.lora_A.default.weight (1 such)"),
    ],
)  # fmt: skip
def test_what_differs_is_named(
    made: Callable[[dict[str, Tensor]], object], says: str, bases: Path, tmp_path: Path
) -> None:
    file = save(made(authors(bases).trained()), tmp_path / "theirs.pt")
    refused(file, bases, says)


def refused(file: Path, bases: Path, says: str) -> None:
    before = sorted(file.parent.iterdir())
    with pytest.raises(ModelError) as raised:
        convert(file, described(bases), file.parent / "ours")
    assert says in str(raised.value) and str(file) in str(raised.value) and "\n" not in str(raised.value)
    assert sorted(file.parent.iterdir()) == before


def test_what_is_no_checkpoint_is_said_and_nothing_is_run(bases: Path, tmp_path: Path) -> None:
    file = save(authors(bases).trained(), tmp_path / "theirs.pt")
    whole = file.read_bytes()
    refused(tmp_path / "nowhere.pt", bases, "cannot be read (No such file or directory)")
    refused(tmp_path, bases, "cannot be read (Is a directory)")
    for there in (whole[: len(whole) // 2], whole[:-30], b""):
        file.write_bytes(there)
        refused(file, bases, "is not a PyTorch checkpoint, or is cut short; download it again")
    for page in (b"<html>Not found</html>", b"version https://git-lfs.github.com/spec/v1\n"):
        file.write_bytes(page)
        refused(file, bases, "is not a PyTorch checkpoint; download it again")
    torch.save({"encoder_projector.query": Trap(tmp_path / "trapped")}, file)
    refused(file, bases, "holds more than tensors, so it is not loaded")
    assert not (tmp_path / "trapped").exists()


def test_nothing_that_is_there_is_written_over(bases: Path, tmp_path: Path) -> None:
    file = save(authors(bases).trained(), tmp_path / "theirs.pt")
    (tmp_path / "ours").mkdir()
    convert(file, described(bases), tmp_path / "ours")  # an empty folder is no loss
    for out in (tmp_path / "ours", file):
        with pytest.raises(OutputError, match="exists already"):
            convert(file, described(bases), out)
    load_model(tmp_path / "ours")


# ----------------------------------------------------------------------------------- the command line, the hub


def write_toml(chosen: Recipe, file: Path) -> Path:
    def inline(value: Any) -> str:
        if not isinstance(value, dict):
            return json.dumps(value)
        return "{" + ", ".join(f"{key} = {inline(inner)}" for key, inner in value.items()) + "}"

    table = chosen.model_dump(mode="json", exclude_none=True)
    file.write_text("\n".join(f"{key} = {inline(value)}" for key, value in table.items()), encoding="utf-8")
    return file


def test_the_command(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from dragoman.cli import main

    file = save(authors(bases).trained(), tmp_path / "theirs.pt")
    toml, out = write_toml(described(bases), tmp_path / "toy.toml"), tmp_path / "ours"
    monkeypatch.setattr(
        sys, "argv", ["dragoman", "convert", *map(str, (file, "--as", toml, "--out", out)), "--tag", "deu=ger"]
    )
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    said = capfd.readouterr()
    assert (end.value.code, said.out) == (0, f"{out}\n")
    assert "has LoRA of rank 3, the recipe none" in said.err and all(
        line.startswith("dragoman: ") for line in said.err.splitlines()
    )
    assert load_model(out).recipe.prompt.tags == {"deu": "ger"}


@pytest.mark.parametrize("name", RELEASES)
def test_every_release_has_its_recipe(name: str) -> None:
    release = RELEASES[name]
    assert name.count("/") == 1 and release.files and all(file.endswith(".pt") for file in release.files)
    if release.recipe not in names():
        pytest.skip(f"the recipe {release.recipe} is not here yet")
    released = load_recipe(release.recipe)
    assert released.adapter.kind == "q-former" and released.audio.padding == "window"
    assert "base" not in (released.llm.name, released.encoder.name)


def put_on_hub(cache: Path, name: str, commit: str, source: Path) -> Path:
    """A repository as huggingface_hub keeps it: blobs, a snapshot of links to them, the branch."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot, blobs, branches = repository / "snapshots" / commit, repository / "blobs", repository / "refs"
    for folder in (snapshot, blobs, branches):
        folder.mkdir(parents=True)
    (branches / "main").write_text(commit)
    for number, path in enumerate([source] if source.is_file() else sorted(source.iterdir())):
        blob = blobs / f"{number:040x}"
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("../..") / "blobs" / blob.name)
    return snapshot


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache in a folder, with no network beside it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "hub"


def test_a_release_is_found_converted_once_and_loaded(
    bases: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_hub(hub, "them/whisper", "a" * 40, bases / "whisper")
    put_on_hub(hub, "them/llm", "b" * 40, bases / "qwen2")
    older = save(authors(bases).trained(), tmp_path / "qwen2.5-3b.pt")  # the older of the two names
    snapshot = put_on_hub(hub, "yxdu/llm-srt", "c" * 40, older)
    chosen = described(bases).model_copy(
        update={
            "encoder": described(bases).encoder.model_copy(update={"name": "them/whisper"}),
            "llm": described(bases).llm.model_copy(update={"name": "them/llm"}),
        }
    )
    toml = write_toml(chosen, tmp_path / "toy.toml")
    monkeypatch.setitem(RELEASES, "yxdu/llm-srt", replace(RELEASES["yxdu/llm-srt"], recipe=str(toml)))

    translator = Translator.from_pretrained("yxdu/llm-srt", device="cpu")
    assert (translator.recipe.llm.revision, translator.recipe.encoder.revision) == ("b" * 40, "a" * 40)
    assert translator.recipe.prompt.joint_answer
    folder = model_folder("yxdu/llm-srt")
    assert folder.name == "c" * 40 and folder.is_relative_to(tmp_path / "assets" / "dragoman")
    (snapshot / older.name).unlink()
    (snapshot / older.name).write_bytes(b"not read again")
    assert model_folder("yxdu/llm-srt") == folder and load_model(folder).recipe == translator.recipe
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="is not a PyTorch checkpoint"):
        model_folder("yxdu/llm-srt")
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == []


def test_a_release_that_cannot_be_had_is_one_sentence(hub: Path) -> None:
    says = r"'yxdu/mcat-small' is not a folder here, and cannot be downloaded .*: check name and network\.$"
    with pytest.raises(DragomanError, match=says):
        model_folder("yxdu/mcat-small")


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        (
            "them/llm",
            ["recipe.json"],
            r"them/llm on the hub is not a Dragoman model: .* --system for third-party checkpoints\.$",
        ),
        (
            "yxdu/llm-srt",
            RELEASES["yxdu/llm-srt"].files,
            r"no longer holds llm_srt_3b\.pt nor qwen2\.5-3b\.pt; .* convert`\.$",
        ),
    ],
)
def test_what_the_hub_does_not_hold_is_said_and_nothing_else_downloaded(
    name: str, files: list[str], says: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Empty(BaseHTTPRequestHandler):
        """A hub whose repositories are there and hold nothing."""

        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "a" * 40)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        with pytest.raises(ModelError, match=says):
            model_folder(name)
        server.shutdown()
    assert set(asked) == {f"/{name}/resolve/main/{file}" for file in files}

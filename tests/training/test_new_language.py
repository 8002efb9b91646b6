"""The built-in model takes on a language (docs/adding-a-language.md): two steps of each stage, on speech of it."""

from __future__ import annotations

import re
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.synthesis import EspeakVoice, speak, write_flac
from dragoman.inference.translator import Translator
from dragoman.model.hub import BUILT_IN
from dragoman.recipe import Recipe, load_recipe
from dragoman.records import Utterance, write_rows
from dragoman.training.curriculum import train_curriculum
from dragoman.training.options import TrainOptions

pytest.importorskip("espeakng_loader")

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-language.md"
SENTENCES = [
    {"ind": "Kucing itu tidur.", "eng": "The cat is sleeping.", "deu": "Die Katze schläft."},
    {"ind": "Saya pulang.", "eng": "I am going home.", "fra": "Je rentre."},
]


def few_steps(recipe: Recipe) -> Recipe:
    short = {"steps": 2, "batch": 2, "warmup_steps": 0}
    stages = [stage.model_copy(update={"schedule": stage.schedule.model_copy(update=short)}) for stage in recipe.stages]
    return recipe.model_copy(update={"stages": stages})


def utterances(folder: Path) -> list[Utterance]:
    """Each sentence spoken in each of its languages, the other texts beside it."""
    rows = []
    for number, texts in enumerate(SENTENCES):
        for code, text in texts.items():
            samples = speak(text, EspeakVoice(code, "f3"))
            write_flac(folder / f"{code}{number}.flac", samples)
            rows.append(
                Utterance(
                    id=f"{code}{number}", audio=f"{code}{number}.flac", language=code, text=text,
                    duration_s=len(samples) / SAMPLE_RATE,
                    translations={other: said for other, said in texts.items() if other != code},
                )
            )  # fmt: skip
    return rows


@pytest.mark.slow
def test_the_built_in_model_goes_on_with_indonesian(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", utterances(tmp_path))
    last = train_curriculum(few_steps(load_recipe("tiny-ind")), tmp_path, tmp_path / "run", TrainOptions(workers=0))
    stages = ("1-mt", "2-asr", "3-srt", "4-srt-whole", "5-srt-settled", "6-mt-kept", "7-srt-kept")
    folders = [BUILT_IN / "tiny", *(tmp_path / "run" / name / "model" for name in stages), last]
    before, read, heard, both, whole, settled, reread, kept, after = (
        {path.relative_to(folder): load_file(path) for path in folder.rglob("*.safetensors")} for folder in folders
    )

    def moved(one: Any, other: Any) -> set[str]:
        """The files of which a tensor differs."""
        return {
            str(path) for path in one if any(not value.equal(other[path][name]) for name, value in one[path].items())
        }

    adapter, llm, encoder = (
        f"{part}.safetensors" for part in ("adapter", "llm_lora/adapter_model", "encoder_lora/adapter_model")
    )
    assert moved(before, read) == {llm}
    assert moved(read, heard) == {adapter, encoder}
    assert moved(heard, both) == {adapter, llm}
    for one, other in pairwise((both, whole, settled, reread, kept, after)):  # to be brought back moves all
        assert moved(one, other) == {adapter, encoder, llm}
    translator = Translator.from_pretrained(last, beam_size=1)
    assert "ind" in translator.identify([speak("Saya pulang.", EspeakVoice("ind", "f3"))])
    result = translator.translate(tmp_path / "ind0.flac", to=["eng", "deu", "fra", "nld"], language="Indonesian")
    assert result.languages in ((), ("ind",)) and result.targets == ("eng", "deu", "fra", "nld")


def test_the_recipe_of_the_guide_trains(tmp_path: Path) -> None:
    """With Indonesian in the place of a language that espeak-ng does not speak."""
    (block,) = re.findall(r"^ *```toml\n(.*?)^ *```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "quechua.toml").write_text(textwrap.dedent(block), encoding="utf-8")
    recipe = load_recipe(tmp_path / "quechua.toml")
    rows = utterances(tmp_path)
    new = [row.model_copy(update={"language": "quy"}) for row in rows if row.language == "ind"]
    write_rows(tmp_path / "mine.jsonl", new)
    write_rows(tmp_path / "old.jsonl", [row for row in rows if row.language != "ind"])
    model = train_curriculum(few_steps(recipe), tmp_path, tmp_path / "run", TrainOptions(workers=0))
    result = Translator.from_pretrained(model, beam_size=1).translate(tmp_path / "ind0.flac", "deu", "Ayacucho Quechua")
    assert result.targets == ("deu",)

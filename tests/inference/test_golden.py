"""What is decoded stays what it was: golden.json, from before the token loop was made faster, holds every text.

`python tests/inference/test_golden.py` writes it anew, where what is decoded is meant to change.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import LORA, mel, model, recipe, stage

from dragoman import Translator
from dragoman.data.audio import load_audio
from dragoman.inference.decoding.decoder import DecodedSpeech, Decoder, DecodeRequest
from dragoman.inference.decoding.glossary import Glossary, Term
from dragoman.records import read_manifest

GOLDEN = Path(__file__).with_name("golden.json")
EXAMPLES = Path(__file__).parents[2] / "examples"
GLOSSARY = Glossary((Term("Uhr", "timepiece", None, "eng"), Term("cat", "Katze"), Term("e", "ni le")))
STAGES = {"asr": [], "srt": [stage("srt")], "st": [stage("st")], "ctc": [stage("asr", ctc_weight=0.5)]}
WAYS: dict[str, dict[str, Any]] = {
    "guarded": {},
    "free": {"no_repeat_ngram_size": 0},
    "ngrams": {"no_repeat_ngram_size": 3},
}


def written(found: list[DecodedSpeech]) -> list[Any]:
    """All that is decoded, but how likely it is."""
    return [
        [
            decoded.transcript,
            decoded.truncated,
            decoded.looped,
            {code: [t.raw, t.truncated, t.looped, list(t.missed)] for code, t in decoded.translations.items()},
        ]
        for decoded in found
    ]


def scores(found: list[DecodedSpeech]) -> list[list[float | None]]:
    return [[d.score, *(t.score for t in d.translations.values())] for d in found]


def decode_all(decoder: Decoder, requests: list[DecodeRequest]) -> dict[str, Any]:
    found = decoder(requests)
    return {"texts": written(found), "scores": scores(found)}


def of_tiny(beams: int) -> dict[str, Any]:
    translator = Translator.from_pretrained("tiny", device="cpu", beam_size=beams)
    clips = [(row.language, load_audio(row.audio)) for row in read_manifest(EXAMPLES / "manifest.jsonl")]
    languages = tuple(translator.targets)
    requests = [
        DecodeRequest(translator.features(part), language, tuple(code for code in languages if code != language))
        for language, clip in clips
        for part in translator._split(clip)
    ]
    return decode_all(translator.decoder, requests)


def of_toy(stages: str, beams: int) -> dict[str, Any]:
    """A random model that writes 40 tokens a text and falls into loops; with and without phrases and beginnings."""
    chosen = recipe(stages=STAGES[stages], llm={"name": "base", "lora": LORA})
    with tempfile.TemporaryDirectory() as folder:
        loaded = model(Path(folder), chosen)
    with torch.no_grad():  # loud layers: sums in another order do not change what is written
        for name, parameter in loaded.model.llm.named_parameters():
            parameter *= 6.0 if parameter.ndim == 2 and ".lora_" not in name else 1.0
        loaded.model.llm.get_input_embeddings().weight[loaded.tokenizer.eos_token_id] *= 1.5
    plain = [
        DecodeRequest(mel(120, 1), "eng", ("deu", "fra")),
        DecodeRequest(mel(44, 2), "eng", ("fra",)),
        DecodeRequest(mel(200, 3), "deu", ("fra", "eng")),
        DecodeRequest(mel(90, 4), "fra", ()),
        DecodeRequest(mel(90, 5), "eng", ("fra", "deu"), ("cat", "the home"), GLOSSARY),
        DecodeRequest(mel(90, 6), "eng", ("fra", "deu"), prefixes={"transcript": "we go", "deu": "wir"}),
    ]
    return {name: decode_all(Decoder(loaded, beams, 40, **how), plain) for name, how in WAYS.items()}


def decoded_now(case: str) -> dict[str, Any]:
    name, beams = case.split()
    return of_tiny(int(beams)) if name == "tiny" else of_toy(name, int(beams))


CASES = [f"{name} {beams}" for name in ("tiny", *STAGES) for beams in (1, 4)]


def assert_close(found: Any, golden: Any) -> None:
    if isinstance(golden, dict):
        assert found.keys() == golden.keys()
        for key, value in golden.items():
            assert_close(found[key], value) if key != "scores" else assert_scores(found[key], value)
    else:
        assert found == golden


def assert_scores(found: Any, golden: Any) -> None:
    assert len(found) == len(golden)
    for one, other in zip(found, golden, strict=True):
        assert one == pytest.approx(other, abs=2e-3)


@pytest.mark.parametrize("case", CASES)
def test_what_is_decoded_stays_what_it_was(case: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert_close(json.loads(json.dumps(decoded_now(case))), golden[case])


if __name__ == "__main__":
    golden = {case: decoded_now(case) for case in CASES}
    GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{GOLDEN}: {len(golden)} cases", file=sys.stderr)

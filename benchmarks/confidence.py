"""What a model's confidence is worth: its calibration fitted on some clips, and what that would tell, and what the one
that it has does tell, of others. With --write it has the fitted one from then on.

    python benchmarks/confidence.py --fit data/valid.jsonl --held_out data/dev.jsonl --model models/mine --write

A transcript is right when every word is, a translation when its chrF against one reference is 50 or more. The
temperature is the one under which the languages spoken are likeliest. The threshold, in steps of 0.05, is the one below
which texts are more likely wrong than right: fewest right ones are marked and wrong ones left, transcripts and
translations counting the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dragoman import Translator
from dragoman.data.audio import load_audio
from dragoman.evaluation.metrics import METRICS, ScoringPair
from dragoman.inference.decoding.decoder import DecodeRequest
from dragoman.inference.result import LOW_LANGUAGE
from dragoman.model.calibration import Calibration
from dragoman.model.load import model_folder
from dragoman.records import Utterance, read_manifest
from dragoman.text.languages import LANGUAGES

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
GOOD_CHRF = 50.0
KINDS = ("transcripts", "translations")


@dataclass(frozen=True)
class Measured:
    """Log-likelihoods a token (clips, languages) and the number of the one spoken (clips,); of transcripts and of
    translations, confidence and whether they are right, (texts,) each."""

    likelihoods: Numbers
    spoken: npt.NDArray[np.int64]
    texts: dict[str, tuple[Numbers, Flags]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--fit", required=True, help="a manifest to fit on")
    parser.add_argument("--held_out", required=True, help="a manifest of other sentences, to report on")
    parser.add_argument("--clips", type=int, default=600, help="how many of each, drawn by chance")
    parser.add_argument("--write", action="store_true", help="into the model's folder")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    translator = Translator.from_pretrained(options.model, device=options.device)
    fit, held_out = (
        measure(translator, chosen(path, translator, options.clips)) for path in (options.fit, options.held_out)
    )
    fitted = Calibration(
        about=f"{len(fit.spoken)} clips of {Path(options.fit).name}",
        low_transcript=fitted_threshold(*fit.texts["transcripts"]),
        low_translation=fitted_threshold(*fit.texts["translations"]),
        low_language=LOW_LANGUAGE,
        language_temperature=fitted_temperature(fit),
    )
    print(f"fitted on {fitted.about}: temperature {fitted.language_temperature:.2f}")
    print(f"detected, of {len(held_out.spoken)} others:")
    both = [fitted, *([translator.calibration] if translator.calibration else [])]
    for temperature in dict.fromkeys(one.language_temperature for one in both):
        print_languages(held_out, temperature)
    for kind, (confidence, right) in held_out.texts.items():
        print(f"{kind}: {right.mean():.0%} of {len(right)} right, AUC {auc(confidence, right):.2f}")
        for threshold in dict.fromkeys(getattr(one, f"low_{kind.removesuffix('s')}") for one in both):
            print_marks(threshold, confidence, right)
    if options.write:
        fitted.save(model_folder(options.model))


def chosen(path: str, translator: Translator, count: int) -> list[Utterance]:
    rows = [row for row in read_manifest(path) if row.language in translator.sources]
    return [rows[number] for number in np.random.default_rng(0).permutation(len(rows))[:count]]


def measure(translator: Translator, utterances: Sequence[Utterance]) -> Measured:
    mels = [translator.features(load_audio(row.audio, row.start_s, row.duration_s)) for row in utterances]
    likelihoods = translator.identifier.likelihoods([[mel] for mel in mels])
    found: dict[str, list[tuple[float, bool]]] = {kind: [] for kind in KINDS}
    for start in range(0, len(mels), 16):
        rows = utterances[start : start + 16]
        targets = [tuple(code for code in row.translations if code in translator.targets) for row in rows]
        requests = [
            DecodeRequest(mel, row.language, codes)
            for mel, row, codes in zip(mels[start:], rows, targets, strict=False)
        ]
        for row, decoded in zip(rows, translator.decoder(requests), strict=True):
            errors = METRICS["WER"](LANGUAGES[row.language]).score([ScoringPair(decoded.transcript, row.text)])
            found["transcripts"].append((float(np.exp(decoded.score)), errors == 0))
            for code, translation in decoded.translations.items():
                chrf = METRICS["chrF"](LANGUAGES[code]).score([ScoringPair(translation.text, row.translations[code])])
                found["translations"].append((float(np.exp(translation.score)), chrf >= GOOD_CHRF))
    return Measured(
        likelihoods,
        np.array([translator.sources.index(row.language) for row in utterances]),
        {kind: (np.array([c for c, _ in pairs]), np.array([r for _, r in pairs])) for kind, pairs in found.items()},
    )


def shares(measured: Measured, temperature: float) -> Numbers:
    scaled = (measured.likelihoods - measured.likelihoods.max(1, keepdims=True)) / temperature
    return np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)


def surprise(measured: Measured, temperature: float) -> float:
    """Mean negative log-probability of the language spoken, nats."""
    likely = shares(measured, temperature)[range(len(measured.spoken)), measured.spoken]
    return float(-np.log(np.maximum(likely, 1e-12)).mean())


def fitted_temperature(measured: Measured) -> float:
    return least(np.arange(0.05, 5.0, 0.01), lambda temperature: surprise(measured, temperature))


def fitted_threshold(confidence: Numbers, right: Flags) -> float:
    return least(np.arange(0.3, 0.99, 0.05), lambda threshold: float(((confidence < threshold) == right).mean()))


def least(candidates: Numbers, cost: Callable[[float], float]) -> float:
    return round(float(min(candidates, key=cost)), 2)


def print_languages(measured: Measured, temperature: float) -> None:
    found = shares(measured, temperature)
    confidence, right = found.max(1), found.argmax(1) == measured.spoken
    parts = {"0.95 or more": confidence >= 0.95, "below 0.6": confidence < 0.6}
    of = ", ".join(f"of {one.sum()} detected with {name} {right[one].sum()}" for name, one in parts.items())
    print(
        f"language, temperature {temperature:g}: {right.mean():.1%} right, {of}; mean confidence "
        f"{confidence.mean():.3f}, {surprise(measured, temperature):.3f} nats"
    )


def print_marks(threshold: float, confidence: Numbers, right: Flags) -> None:
    marked = confidence < threshold
    print(
        f"  below {threshold:.2f}: {marked.mean():.0%} marked; of the marked {(~right[marked]).mean():.0%} wrong; of "
        f"the wrong {marked[~right].mean():.0%} marked, of the right {marked[right].mean():.0%}"
    )


def auc(confidence: Numbers, right: Flags) -> float:
    """How often a right one has more confidence than a wrong one; half of a tie."""
    ahead = confidence[right][:, None] - confidence[~right][None]
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


if __name__ == "__main__":
    main()

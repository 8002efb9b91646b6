"""What --hotwords and --glossary do: the same clips with them and without.

    python benchmarks/words.py data/dev.jsonl --clips 120

Hotwords: the rarest word that is said, of four letters or more, among nine that are not; and ten that are not.
Glossary: of each reference the longest word that the translation does without, given for the longest word of the
transcript.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import regex
import torch

from dragoman import Translator
from dragoman.data.audio import load_audio
from dragoman.evaluation.metrics import METRICS, ScoringPair
from dragoman.inference.decoding.decoder import DecodedSpeech, DecodeRequest
from dragoman.inference.decoding.glossary import Glossary, Term
from dragoman.inference.decoding.phrases import occurs
from dragoman.records import Utterance, read_manifest

GIVEN = 10
"""Number of hotwords given."""
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clips", type=int, default=120, help="how many, drawn by chance")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    translator = Translator.from_pretrained(options.model, device=options.device)
    rows = [row for row in read_manifest(options.manifest) if row.language in translator.sources]
    random = np.random.default_rng(0)
    clips = [row for number in random.permutation(len(rows)) if words((row := rows[number]).text)][: options.clips]
    requests = [
        DecodeRequest(translator.features(load_audio(row.audio, row.start_s, row.duration_s)), row.language, ())
        for row in clips
    ]
    tell_hotwords(translator, clips, requests, said_and_not(rows, clips, random))
    tell_glossary(translator, clips, requests)


def words(text: str) -> list[str]:
    return [word for word in regex.findall(r"\p{L}+", text) if len(word) >= 4]


def said_and_not(
    rows: Sequence[Utterance], clips: Sequence[Utterance], random: np.random.Generator
) -> list[tuple[str, list[str]]]:
    """Of each clip the rarest word that is said, and GIVEN words of its language that are not."""
    counts = {code: Counter[str]() for code in {row.language for row in rows}}
    for row in rows:
        counts[row.language].update(words(row.text))
    found = []
    for clip in clips:
        known = sorted(counts[clip.language])
        others = (known[number] for number in random.permutation(len(known)))
        not_said = [word for word in others if not occurs(word, clip.text, clip.language)]
        found.append((min(words(clip.text), key=counts[clip.language].__getitem__), not_said[:GIVEN]))
    return found


def tell_hotwords(
    translator: Translator,
    clips: Sequence[Utterance],
    requests: Sequence[DecodeRequest],
    chosen: Sequence[tuple[str, list[str]]],
) -> None:
    ways: dict[str, Callable[[str, list[str]], list[str]]] = {
        "no hotwords": lambda said, others: [],
        f"{GIVEN} hotwords, one of them said": lambda said, others: [*others[1:], said],
        f"{GIVEN} hotwords, none said": lambda said, others: others,
    }
    for name, way in ways.items():
        given = [replace(request, hotwords=tuple(way(*one))) for request, one in zip(requests, chosen, strict=True)]
        texts = [decoded.transcript for decoded in decoded_by(translator, given)]
        errors = METRICS["WER"]("eng").score(
            [ScoringPair(text, row.text) for text, row in zip(texts, clips, strict=True)]
        )
        found = [occurs(said, text, row.language) for (said, _), text, row in zip(chosen, texts, clips, strict=True)]
        print(f"{name}: WER {errors:.1f}, the word found in {np.mean(found):.0%} of {len(clips)} clips", flush=True)


def tell_glossary(translator: Translator, clips: Sequence[Utterance], requests: Sequence[DecodeRequest]) -> None:
    targets = [tuple(code for code in row.translations if code in translator.targets) for row in clips]
    asked = [replace(request, targets=codes) for request, codes in zip(requests, targets, strict=True)]
    found = decoded_by(translator, asked)
    glossaries = [wished(row, decoded) for row, decoded in zip(clips, found, strict=True)]
    again = decoded_by(translator, [replace(a, glossary=g) for a, g in zip(asked, glossaries, strict=True)])
    before, after, placed = [], [], 0
    for row, glossary, one, other in zip(clips, glossaries, found, again, strict=True):
        for term in glossary.terms:
            code = str(term.target)
            before.append(ScoringPair(one.translations[code].text, row.translations[code]))
            after.append(ScoringPair(other.translations[code].text, row.translations[code]))
            placed += not other.translations[code].missed
    chrf = METRICS["chrF"]("eng")
    print(f"glossary: {placed} of {len(after)} words placed, chrF {chrf.score(before):.0f} -> {chrf.score(after):.0f}")


def wished(row: Utterance, decoded: DecodedSpeech) -> Glossary:
    terms = []
    for code, translation in decoded.translations.items():
        lacking = [word for word in words(row.translations[code]) if not occurs(word, translation.text, code)]
        if lacking and (heard := words(decoded.transcript)):
            terms.append(Term(max(heard, key=len), max(lacking, key=len), row.language, code))
    return Glossary(tuple(terms))


def decoded_by(translator: Translator, requests: Sequence[DecodeRequest]) -> list[DecodedSpeech]:
    order = sorted(range(len(requests)), key=lambda number: requests[number].features.shape[1])
    found: dict[int, DecodedSpeech] = {}
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        found.update(zip(chosen, translator.decoder([requests[number] for number in chosen]), strict=True))
    return [found[number] for number in range(len(requests))]


if __name__ == "__main__":
    main()

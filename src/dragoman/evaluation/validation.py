"""A model in training, watched by translating a few utterances."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.evaluation.score import ALL, score
from dragoman.inference.text_translator import TextTranslator
from dragoman.inference.translator import Translator
from dragoman.model.build import LoadedModel
from dragoman.records import Hypothesis, Utterance

_TOGETHER = 16
_TARGETS = 4


def translation_scores(loaded: LoadedModel, utterances: Sequence[Utterance]) -> dict[str, float]:
    """BLEU (the mean over directions), WER and the like of a model on utterances that bring their references. Of many
    targets each few utterances go to some, others each time; one without a translation is transcribed."""
    taught = loaded.recipe.stages[-1] if loaded.recipe.stages else None
    if taught is not None and not taught.all_tasks:
        return {}  # the LLM has not learnt to listen yet
    uses_audio = taught is None or taught.uses_audio
    translator = Translator(loaded, beam_size=1) if uses_audio else TextTranslator(loaded, beam_size=1)
    rows: list[Hypothesis] = []
    for start in range(0, len(utterances), _TOGETHER):
        some = utterances[start : start + _TOGETHER]
        by_id = {utterance.id: utterance for utterance in some}
        known = [code for code in loaded.recipe.targets if any(code in one.translations for one in some)]
        begin = start // _TOGETHER * _TARGETS
        targets = [known[number % len(known)] for number in range(begin, begin + min(_TARGETS, len(known)))]
        translated = [one for one in some if any(code in one.translations for code in targets)]
        found = translator(translated, targets) if translated else []
        if uses_audio and loaded.recipe.writes_transcripts:
            found += translator([one for one in some if one.text and one not in translated], [])
        rows += [
            row for row in (_referenced(h, by_id[h.id]) for h in found) if row.reference or row.target == row.source
        ]
    if not rows:
        return {}
    return {found.metric: found.value for found in score(rows) if found.direction == ALL}


def _referenced(row: Hypothesis, utterance: Utterance) -> Hypothesis:
    return row.model_copy(
        update={
            "reference": utterance.translations.get(row.target),
            "reference_transcript": utterance.text or None,
        }
    )

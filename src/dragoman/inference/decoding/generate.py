"""The LLM writes: greedily or with beams, steered, many rows from shared beginnings.

B rows, R rows of a search (with beams, `beams` neighbours are one of the B), T tokens, V pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from dragoman.data.batching import TextRow, pad_rows
from dragoman.inference.decoding.beams import search_with_beams
from dragoman.inference.decoding.constraints import DecodeStats, DecodingConstraints, PhraseBias
from dragoman.inference.decoding.ctc_prefix import CtcPrefixScorer
from dragoman.inference.decoding.greedy import LlmStepModel, search_greedily
from dragoman.inference.decoding.healing import Borders, TokenHealing
from dragoman.inference.decoding.prefix_cache import AudioPrefix
from dragoman.inference.decoding.search import EndsAt, SearchInput, SearchLimits, WrittenRow
from dragoman.model.build import LoadedModel
from dragoman.model.llm import embed
from dragoman.model.splice import splice


@dataclass(frozen=True)
class GeneratedText:
    """`text` as the tokenizer decodes it, without what was begun; `truncated`: max_new_tokens came before the end.
    `ids` are its tokens and what ended it. `behind`: of a row that was complete and written on, `text` is all of it,
    the rest is of what made it complete, and of what came behind that is here (but its text)."""

    text: str
    truncated: bool
    stats: DecodeStats
    ids: tuple[int, ...] = ()
    behind: GeneratedText | None = None


EMPTY_OUTPUT = GeneratedText("", False, DecodeStats(0.0, 1, False, ()))


class TextSearch:
    """At most `max_rows` rows, beams counted, are searched at a time. `no_repeat_ngram_size`: see
    DecodingConstraints."""

    def __init__(
        self, loaded: LoadedModel, max_new_tokens: int, max_rows: int, no_repeat_ngram_size: int | None = None
    ) -> None:
        self.model, self.tokenizer, self.max_rows = loaded.model, loaded.tokenizer, max(1, max_rows)
        self.max_new_tokens, self.no_repeat_ngram_size = max_new_tokens, no_repeat_ngram_size
        self.min_new_tokens = 0
        self.ctc_weight = loaded.recipe.decoding.ctc_weight
        self.healing = TokenHealing(loaded.tokenizer)

    def __call__(
        self,
        audio_prefix: AudioPrefix,
        request_of: Sequence[int],
        rows: Sequence[TextRow],
        phrase_biases: Sequence[Sequence[PhraseBias]],
        beams: int,
        before: Sequence[Sequence[int]] = (),
        is_complete: Callable[[int, str], bool] | None = None,
        transcript_ends: Sequence[Sequence[int]] | None = None,
        *,
        continued: Collection[int] = (),
        borders: Sequence[str] = (),
    ) -> list[GeneratedText]:
        """What follows each row's prompt and the answer that it has begun; `request_of` says which request a row is of,
        `before` what of the output the row's prompt holds. `beams` 1 is greedy. A row also ends where `is_complete`,
        asked with its number and its text whenever a `>` was written, says so, unless it is one of those `continued`.
        `transcript_ends`: what is written is what was said, up to one of these tokens of each row, so that CTC may have
        its say. `borders`: what each row writes before what counts, see TokenHealing."""
        outputs: list[GeneratedText] = []
        size = max(1, self.max_rows // beams)
        order = sorted(range(len(rows)), key=lambda at: len(rows[at].prompt) + len(rows[at].answer))
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            audio_rows = audio_prefix.rows([request_of[at] for at in chunk])
            prefixes = [rows[at].answer for at in chunk]
            chunk_ends = [transcript_ends[at] for at in chunk] if transcript_ends else []
            constraints = DecodingConstraints(
                self.tokenizer,
                beams,
                [phrase_biases[at] for at in chunk],
                prefixes,
                self.no_repeat_ngram_size,
                [before[at] for at in chunk] if before else (),
                self._ctc(audio_prefix, audio_rows, chunk_ends, prefixes, beams),
                Borders(self.healing, [borders[at] for at in chunk], beams) if borders else None,
            )
            search = self._input(audio_prefix, audio_rows, [rows[at] for at in chunk], constraints)
            ends = None if is_complete is None else self._ends(chunk, constraints, is_complete, continued)
            if beams == 1:
                written = search_greedily(LlmStepModel(self.model.llm, search), self._limits, constraints, ends)
            else:
                written = search_with_beams(self.model.llm, search, self._limits, constraints, ends)
            for number, (at, row) in enumerate(zip(chunk, written, strict=True)):
                output = self._output(row, number, constraints)
                if is_complete is not None and at in continued:
                    output = self._parted(output, row, number, constraints, partial(is_complete, at))
                outputs.append(replace(output, text=output.text[len(borders[at]) :]) if borders else output)
        place = {at: number for number, at in enumerate(order)}
        return [outputs[place[at]] for at in range(len(rows))]

    def _ctc(
        self,
        audio_prefix: AudioPrefix,
        audio_rows: Tensor,
        ends: Sequence[Sequence[int]],
        prefixes: Sequence[Sequence[int]],
        beams: int,
    ) -> CtcPrefixScorer | None:
        if not ends or not self.ctc_weight:
            return None
        audio, num_audio = audio_prefix.audio[audio_rows], audio_prefix.num_audio[audio_rows]
        return CtcPrefixScorer(self.model, audio, num_audio, self.ctc_weight, ends, prefixes, beams)

    def _input(
        self,
        audio_prefix: AudioPrefix,
        audio_rows: Tensor,
        rows: Sequence[TextRow],
        constraints: DecodingConstraints,
    ) -> SearchInput:
        text = pad_rows(rows, self.tokenizer.pad_token_id, "left").to(audio_rows.device)
        embeddings, mask, position_ids = splice(
            audio_prefix.audio,
            audio_prefix.num_audio,
            embed(self.model.llm, text.input_ids),
            text.attention_mask,
            audio_rows,
        )
        return SearchInput(
            embeddings,
            mask,
            position_ids,
            audio_prefix.cache_of(audio_rows.repeat_interleave(constraints.beams)),
        )

    @property
    def _limits(self) -> SearchLimits:
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        return SearchLimits(end, pad, self.max_new_tokens, self.min_new_tokens)

    def _ends(
        self,
        chunk: Sequence[int],
        constraints: DecodingConstraints,
        is_complete: Callable[[int, str], bool],
        continued: Collection[int],
    ) -> EndsAt:
        """Which of the rows (R, T), of these requests of the chunk, are complete by their text and not written on."""

        def ends(ids: Tensor, requests: Sequence[int]) -> list[int]:
            possible = self._closes_tag.to(ids.device)[ids[:, -1]].nonzero()[:, 0].tolist()
            asked = [at for at in possible if chunk[requests[at]] not in continued]
            texts = {at: [*constraints.prefixes[requests[at]], *ids[at].tolist()] for at in asked}
            return [at for at, one in texts.items() if is_complete(chunk[requests[at]], self.tokenizer.decode(one))]

        return ends

    @cached_property
    def _closes_tag(self) -> Tensor:
        """(V,): pieces that may be the end of a tag; bytes may be, too."""
        size = self.model.llm.get_input_embeddings().num_embeddings
        pieces = self.tokenizer.convert_ids_to_tokens(list(range(min(size, len(self.tokenizer)))))
        closes = torch.tensor([">" in (piece or "") for piece in pieces] + [False] * (size - len(pieces)))
        closes[self.tokenizer.eos_token_id] = False
        return closes

    def _output(self, row: WrittenRow, number: int, constraints: DecodingConstraints) -> GeneratedText:
        stats = constraints.stats(number, row.path, row.log_probs, row.scores)
        end = self.tokenizer.eos_token_id
        written = [token for token in row.ids if token != end]
        begun = constraints.prefixes[number]
        text = self.tokenizer.decode([*begun, *written])[len(self.tokenizer.decode(begun)) :]  # with its first space
        return GeneratedText(text, not row.is_finished, stats, tuple(row.ids))

    def _parted(
        self,
        whole: GeneratedText,
        row: WrittenRow,
        number: int,
        constraints: DecodingConstraints,
        is_complete: Callable[[str], bool],
    ) -> GeneratedText:
        """A row that was written on, parted behind the token that made it complete; as it is, if none did."""
        begun = constraints.prefixes[number]
        closing = [at for at, token in enumerate(row.ids, 1) if self._closes_tag[token]]
        at = next((at for at in closing if is_complete(self.tokenizer.decode([*begun, *row.ids[:at]]))), len(row.ids))
        if at == len(row.ids):
            return whole
        first, rest = (
            constraints.stats(number, row.path[part], row.log_probs[part], row.scores[part], part.start)
            for part in (slice(0, at), slice(at, len(row.ids)))
        )
        behind = GeneratedText("", whole.truncated, rest, tuple(row.ids[at:]))
        return replace(whole, truncated=False, stats=first, ids=tuple(row.ids[:at]), behind=behind)

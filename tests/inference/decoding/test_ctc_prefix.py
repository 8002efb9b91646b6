"""Joint CTC decoding: against torch's own CTC loss, and against what probabilities must add up to."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from toy import LORA, STACKED, mel, model, recipe, stage

from dragoman.errors import RecipeError
from dragoman.inference.decoding import ctc_prefix
from dragoman.inference.decoding.ctc_prefix import CtcPrefixScorer
from dragoman.inference.decoding.decoder import Decoder, DecodeRequest
from dragoman.inference.decoding.prefix_cache import encode_audio_prefix
from dragoman.model.build import LoadedModel

MELS = [mel(120, 1), mel(44, 2), mel(190, 3)]


def toy_model(folder: Path, ctc_weight: float = 0.5, task: str = "asr") -> LoadedModel:
    chosen = recipe(
        stages=[stage(task, ctc_weight=0.3)],
        adapter=STACKED,
        llm={"name": "base", "lora": LORA},
        encoder={"name": "base"},
        decoding={"ctc_weight": ctc_weight},
    )
    loaded = model(folder, chosen)
    with torch.no_grad():
        for name, parameter in loaded.model.llm.named_parameters():
            # Loud layers: what is written depends on what is heard, and sums in another order do not change it.
            parameter *= 6.0 if parameter.ndim == 2 and ".lora_" not in name and "embed" not in name else 1.0
    return loaded


def scorer(loaded: LoadedModel, ends: list[int], begun: tuple[int, ...] = ()) -> CtcPrefixScorer:
    audio = encode_audio_prefix(loaded.model, MELS)
    rows = len(MELS)
    return CtcPrefixScorer(loaded.model, audio.audio, audio.num_audio, 1.0, [ends] * rows, [begun] * rows, 1)


def gained(joint: CtcPrefixScorer, written: list[int], token: int, size: int) -> torch.Tensor:
    """What CTC says of a token, looked at because the LLM likes it."""
    liked = torch.zeros(len(MELS), size).index_fill_(1, torch.tensor([token]), 50.0)
    return joint(torch.tensor([written] * len(MELS)).reshape(len(MELS), -1), liked, range(len(MELS)))[:, token]


@torch.inference_mode()
@pytest.mark.parametrize("text", [[], [40], [40, 40, 41], [52, 47, 40, 47]])
@pytest.mark.parametrize("begun", [0, 2])
def test_a_whole_transcript_scores_what_torchs_ctc_loss_says(tmp_path: Path, text: list[int], begun: int) -> None:
    loaded = toy_model(tmp_path)
    end, size = loaded.tokenizer.eos_token_id, loaded.model.llm.get_input_embeddings().num_embeddings
    joint = scorer(loaded, [end], tuple(text[:begun]))
    total = joint._state.score.float()
    for at, token in enumerate([*text[begun:], end]):
        total = total + gained(joint, text[begun:][:at], token, size)
    audio = encode_audio_prefix(loaded.model, MELS)
    transcripts = torch.tensor([text] * len(MELS)).reshape(len(MELS), -1)
    lengths = torch.full((len(MELS),), len(text))
    losses = loaded.model.ctc_loss(audio.audio, audio.num_audio, transcripts, lengths, reduction="none")
    torch.testing.assert_close(total, -losses, atol=2e-3, rtol=1e-4)


@torch.inference_mode()
def test_all_that_may_follow_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = toy_model(tmp_path)
    end, size = loaded.tokenizer.eos_token_id, loaded.model.llm.get_input_embeddings().num_embeddings
    monkeypatch.setattr(ctc_prefix, "CANDIDATES", size)
    joint = scorer(loaded, [end])
    for written in ([], [40], [40, 40]):
        scores = joint(torch.tensor([written] * 3).reshape(3, -1), torch.zeros(3, size), range(3)).double()
        scores[:, loaded.model.blank_id] = -math.inf  # is not a piece of a transcript
        end_as_piece = joint._prefix_scores(torch.full((3, 1), end), joint._state)[:, 0] - joint._state.score
        total = torch.logaddexp(scores.logsumexp(1), end_as_piece)
        torch.testing.assert_close(total, torch.zeros(3, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", ["asr", "srt"])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_is_transcribed_as_one_by_one(tmp_path: Path, beams: int, task: str) -> None:
    decode = Decoder(toy_model(tmp_path, task=task), beams, 12)
    requests = [DecodeRequest(one, "eng", ("deu",)) for one in MELS]
    together, alone = decode(requests), [decode([request])[0] for request in requests]
    assert [one.transcript for one in together] == [one.transcript for one in alone]


def test_a_weight_asks_for_a_model_that_was_taught_by_ctc(tmp_path: Path) -> None:
    with pytest.raises((RecipeError, ValueError), match=r"decoding\.ctc_weight: no stage teaches"):
        recipe(stages=[stage("asr")], decoding={"ctc_weight": 0.5})

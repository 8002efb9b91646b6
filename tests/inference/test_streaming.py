"""Truths of live translation: what is stable stays, blocks and pace do not matter, nothing comes before it is heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.errors import DragomanError, LanguageError
from dragoman.inference.local_agreement import LocalAgreement, common_words
from dragoman.inference.recordings import Speech
from dragoman.inference.streaming import FinalSegment, LiveEvent, LiveTranslator, PartialSegment
from dragoman.vad import Segmenter, speech_segments

EXAMPLES = Path(__file__).parents[2] / "examples"
TO = ("deu", "fra")


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_pretrained("tiny", device="cpu", beam_size=1)


@pytest.fixture(scope="module")
def speech() -> Waveform:
    """Two sentences, a pause between."""
    return load_audio(EXAMPLES / "english-video.mp4")[: round(4.8 * SAMPLE_RATE)]


@pytest.fixture(scope="module")
def events(translator: Translator, speech: Waveform) -> list[LiveEvent]:
    return unpaced(LiveTranslator(translator, TO, "eng", min_chunk_s=0.5), speech, 1600)


def cut(waveform: Waveform, size: int) -> Iterator[Waveform]:
    return (waveform[at : at + size] for at in range(0, len(waveform), size))


def unpaced(live: LiveTranslator, waveform: Waveform, size: int) -> list[LiveEvent]:
    return [event for block in cut(waveform, size) for event in live.push(block)] + list(live.finish())


def texts(event: LiveEvent) -> dict[str, tuple[str, str]]:
    """Of the transcript and each target: what is stable, and the whole."""
    if isinstance(event, FinalSegment):
        found = {"transcript": event.segment.transcript, **event.segment.translations}
        return {name: (text, text) for name, text in found.items()}
    return {
        name: (text.stable, str(text)) for name, text in {"transcript": event.transcript, **event.translations}.items()
    }


def check_stable(events: list[LiveEvent]) -> None:
    """What is stable stands at the beginning of all that comes later of its segment; segments end once, in order."""
    stable: dict[str, str] = {}
    number = 0
    for event in events:
        assert event.number == number
        for name, (kept, whole) in texts(event).items():
            assert whole.startswith(kept) and kept.startswith(stable.get(name, "")), (name, stable, event)
            stable[name] = kept
        if isinstance(event, FinalSegment):
            number, stable = number + 1, {}
    assert isinstance(events[-1], FinalSegment)


# -------------------------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("She is nearly.", "She is never open.", "She is"),
        ("She is never.", "She is never open.", "She is never"),
        ("She is nev", "She is never open.", "She is"),
        ("Well, she is", "Well. She is", "Well"),
        ("It's late.", "It's late.", "It's late"),
        ("今天天气", "今天天晴。", "今天天"),
        ("我用GPU", "我用GPT。", "我用"),
        ("", "Hello", ""),
    ],
)
def test_whole_words_that_both_begin_with(one: str, other: str, alike: str) -> None:
    assert common_words(one, other) == common_words(other, one) == alike


@given(st.lists(st.text("ab ,.", max_size=12), max_size=8))
def test_what_grows_keeps_what_two_agreed_on(endings: list[str]) -> None:
    growing = LocalAgreement()
    for ending in endings:
        before = growing.text.stable
        growing.add(before + ending)  # a decoding goes on from what is stable
        assert growing.text.stable.startswith(before) and str(growing.text) == before + ending


# ---------------------------------------------------------------------------------------------------- events


def test_what_is_stable_is_never_rewritten(events: list[LiveEvent]) -> None:
    check_stable(events)
    updates = [event for event in events if isinstance(event, PartialSegment)]
    assert all(any(texts(event)[name][0] for event in updates) for name in ("transcript", *TO))


def test_final_texts_are_those_of_a_recording_or_go_on_from_what_was_stable(
    translator: Translator, speech: Waveform, events: list[LiveEvent]
) -> None:
    """Each final text is what the model writes of the segment after what was stable, which is forced; so where nothing
    was stable before, or what was is what it writes anyway, it is the text of the recording."""
    parts = list(speech_segments([speech], translator.vad))
    options = translator.options(list(TO), "eng")
    offline = translator.decoder([translator.request(Speech(part.samples, "eng"), options) for part in parts])
    finals = [event.segment for event in events if isinstance(event, FinalSegment)]
    assert [(one.start_s, one.end_s) for one in finals] == [(part.speech_start_s, part.speech_end_s) for part in parts]
    assert [one.transcript for one in finals] == [one.transcript for one in offline]
    stable: dict[tuple[int, str], str] = {}
    for event in events:
        if isinstance(event, PartialSegment):
            stable |= {(event.number, code): text.stable for code, text in event.translations.items()}
    same = 0
    for number, (live, whole) in enumerate(zip(finals, offline, strict=True)):
        for code in TO:
            if whole.translations[code].text.startswith(stable[number, code]):
                assert live.translations[code] == whole.translations[code].text
                same += 1
    assert same


def test_without_updates_live_is_the_recording(translator: Translator) -> None:
    path = EXAMPLES / "english-video.mp4"
    recording = translator.translate(path, to=list(TO), language="eng")
    events = unpaced(LiveTranslator(translator, TO, "eng", min_chunk_s=60), load_audio(path), 16000)
    assert all(isinstance(event, FinalSegment) for event in events)
    found = [event.segment for event in events if isinstance(event, FinalSegment)]
    for live, whole in zip(found, recording.segments, strict=True):
        assert (live.start_s, live.end_s, live.transcript) == (whole.start_s, whole.end_s, whole.transcript)
        assert live.translations == whole.translations


def test_blocks_do_not_matter(translator: Translator, speech: Waveform, events: list[LiveEvent]) -> None:
    again = unpaced(LiveTranslator(translator, TO, "eng", min_chunk_s=0.5), speech, 7_001)
    assert [texts(event) for event in again] == [texts(event) for event in events]


def test_without_targets_the_transcripts_are_the_same(
    translator: Translator, speech: Waveform, events: list[LiveEvent]
) -> None:
    alone = unpaced(LiveTranslator(translator, "none", "eng", min_chunk_s=0.5), speech, 1600)
    assert [texts(event) for event in alone] == [{"transcript": texts(event)["transcript"]} for event in events]


def test_a_window_that_is_full_ends_a_segment_where_a_recording_is_cut(speech: Waveform) -> None:
    """Speech without a pause; what was looked at stays on its side of the cut."""
    translator = Translator.from_pretrained("tiny", device="cpu", beam_size=1)
    shorter = {"max_speech_duration_s": 1.5}
    live = LiveTranslator(translator, "deu", "eng", min_chunk_s=0.3, vad_parameters=shorter)
    events = unpaced(live, speech, 1600)
    check_stable(events)
    finals = {event.number: event.segment for event in events if isinstance(event, FinalSegment)}
    assert all(one.end_s - one.start_s <= 1.5 for one in finals.values())
    assert all(event.end_s <= finals[event.number].end_s for event in events if isinstance(event, PartialSegment))


def test_a_look_at_what_is_open_moves_no_pause(translator: Translator, speech: Waveform) -> None:
    segmenter = Segmenter(translator.vad)
    found = []
    for block in cut(speech, 1600):
        found += segmenter.push(block)
        segmenter.peek()
    found += segmenter.finish()
    expected = [(one.start_s, one.end_s) for one in speech_segments([speech], translator.vad)]
    assert [(one.start_s, one.end_s) for one in found] == expected


def test_the_language_is_told_from_the_first_speech(translator: Translator, speech: Waveform) -> None:
    events = unpaced(LiveTranslator(translator, "deu", min_chunk_s=1), speech, 1600)
    check_stable(events)
    recording = translator.identify([part.samples for part in speech_segments([speech], translator.vad)])
    segment = events[-1].segment if isinstance(events[-1], FinalSegment) else None
    assert segment is not None and segment.language == next(iter(recording))
    assert segment.language_confidence is not None


def test_silence_says_nothing(translator: Translator) -> None:
    assert unpaced(LiveTranslator(translator, "deu"), np.zeros(3 * SAMPLE_RATE, np.float32), 1600) == []


def test_wishes_that_cannot_be(translator: Translator) -> None:
    with pytest.raises(DragomanError, match="min_chunk_s above 0"):
        LiveTranslator(translator, "deu", min_chunk_s=0)
    with pytest.raises(LanguageError):
        LiveTranslator(translator, "jpn")


# ------------------------------------------------------------------------------------------------- real time


def test_in_real_time_nothing_is_lost_and_nothing_comes_before_it_is_heard(
    translator: Translator, speech: Waveform, events: list[LiveEvent], record_property: Callable[[str, object], None]
) -> None:
    """The lag is measured and recorded, not judged: how fast a machine is is no truth."""
    began = time.monotonic()

    def spoken() -> Iterator[Waveform]:
        for number, block in enumerate(cut(speech, 1600), 1):
            time.sleep(max(0.0, began + 0.1 * number - time.monotonic()))
            yield block

    timed = [
        (time.monotonic() - began, event)
        for event in LiveTranslator(translator, TO, "eng", min_chunk_s=0.5).follow(spoken())
    ]
    paced = [event for _, event in timed]
    check_stable(paced)
    spans = [
        [(e.segment.start_s, e.segment.end_s) for e in es if isinstance(e, FinalSegment)] for es in (paced, events)
    ]
    assert spans[0] == spans[1]
    lags = [at - (event.segment.end_s if isinstance(event, FinalSegment) else event.end_s) for at, event in timed]
    assert min(lags) >= 0
    record_property("mean_lag_s", round(sum(lags) / len(lags), 2))
    record_property("max_lag_s", round(max(lags), 2))


def test_a_source_that_is_faster_than_the_model_loses_updates_and_no_speech(
    translator: Translator, speech: Waveform, events: list[LiveEvent]
) -> None:
    hurried = list(LiveTranslator(translator, TO, "eng", min_chunk_s=0.5).follow(cut(speech, 1600)))
    check_stable(hurried)
    spans = [
        [(e.segment.start_s, e.segment.end_s) for e in es if isinstance(e, FinalSegment)] for es in (hurried, events)
    ]
    assert spans[0] == spans[1] and len(hurried) <= len(events)


def test_a_source_that_is_stopped_ends_what_is_open(translator: Translator, speech: Waveform) -> None:
    """After a second of speech the source hangs, as a microphone does when nobody speaks, and is stopped."""
    live = LiveTranslator(translator, "deu", "eng", min_chunk_s=0.5)

    def hangs() -> Iterator[Waveform]:
        yield speech[: round(1.2 * SAMPLE_RATE)]
        time.sleep(60)

    events = []
    began = time.monotonic()
    for event in live.follow(hangs()):
        events.append(event)
        live.stop()
    check_stable(events)
    assert isinstance(events[0], PartialSegment) and time.monotonic() - began < 50

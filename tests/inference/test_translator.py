"""The public class with the built-in model, on the recordings that come with Dragoman."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import model, recipe, stage

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.data.features import Features
from dragoman.data.synthesis import write_flac
from dragoman.data.tasks import TASKS, TaskItem, escape
from dragoman.errors import AudioError, DragomanError, LanguageError, ModelError
from dragoman.evaluation.metrics import METRICS, ScoringPair
from dragoman.inference.decoding.decoder import DecodeRequest
from dragoman.inference.decoding.glossary import Glossary, Term
from dragoman.inference.decoding.phrases import occurs
from dragoman.inference.language_id import LanguageIdentifier
from dragoman.inference.options import TranslateOptions
from dragoman.records import read_manifest
from dragoman.text.languages import LANGUAGES

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
UTTERANCES = read_manifest(EXAMPLES / "manifest.jsonl")
DATA = EXAMPLES.parent.parent / "shared" / "data"
NO_SPEECH = [
    *sorted((DATA / "noise").rglob("*.wav")),
    *(DATA / "hostile/generated" / name for name in ("silence_60s.flac", "tone_440_20s.flac", "white_noise_20s.flac")),
]
needs_noise = pytest.mark.skipif(
    not all(path.is_file() for path in NO_SPEECH), reason=f"{DATA} is absent: there is no noise to hear"
)
GLOSSARY = Glossary((Term("Uhr", "timepiece", "deu", "eng"), Term("not said", "anything")))


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_pretrained("tiny", device="cpu")


def test_it_tells_the_language_and_hears_most_words(translator: Translator) -> None:
    results = [translator.translate(utterance.audio, to="all") for utterance in UTTERANCES]
    told = [result.language == utterance.language for result, utterance in zip(results, UTTERANCES, strict=True)]
    assert sum(told) >= len(told) - 1
    pairs = [
        ScoringPair(result.transcript, utterance.text) for result, utterance in zip(results, UTTERANCES, strict=True)
    ]
    errors = METRICS["WER"](LANGUAGES["eng"]).score(pairs)
    assert errors < 50


def test_segments_follow_one_another_within_the_recording(translator: Translator) -> None:
    video = next(utterance for utterance in UTTERANCES if utterance.audio.endswith("mp4"))
    segments = translator.translate(video.audio, to=["de", "French"], language="English").segments
    times = [time for segment in segments for time in (segment.start_s, segment.end_s)]
    assert len(segments) == 4 and times == sorted(times) and times[-1] <= 9.0
    assert all(set(segment.translations) == {"deu", "fra"} for segment in segments)


def test_a_stream_is_the_translation_as_it_comes(translator: Translator) -> None:
    video = next(utterance for utterance in UTTERANCES if utterance.audio.endswith("mp4"))
    whole = translator.translate(video.audio, to="all").segments
    assert list(translator.stream(video.audio, to="all")) == whole


def test_each_segment_has_its_language_in_a_multilingual_recording(translator: Translator, tmp_path: Path) -> None:
    spoken = [next(u for u in UTTERANCES if u.language == code) for code in ("eng", "fra", "eng")]
    pause = np.zeros(SAMPLE_RATE, np.float32)
    write_flac(tmp_path / "a.flac", np.concatenate([part for u in spoken for part in (load_audio(u.audio), pause)]))
    result = translator.translate(tmp_path / "a.flac", to=["eng", "nld"], multilingual=True)
    told = [language for language, _ in itertools.groupby(segment.language for segment in result.segments)]
    assert told == ["eng", "fra", "eng"] and result.language == "eng" and result.targets == ("eng", "nld")
    for segment in result.segments:
        assert set(segment.translations) == ({"nld"} if segment.language == "eng" else {"eng", "nld"})
    assert result.translations["eng"].startswith(result.segments[0].transcript)
    with pytest.raises(LanguageError, match="no one language"):
        translator.translate(tmp_path / "a.flac", to="nld", language="eng", multilingual=True)


def test_one_that_cannot_be_read_does_not_stop_the_others(translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"no audio")
    good = UTTERANCES[0].audio
    first, bad, last = translator.translate_each([good, tmp_path / "bad.mp3", good], to="all")
    assert first.get() == last.get()
    with pytest.raises(AudioError, match=r"bad\.mp3"):
        bad.get()


def test_a_long_utterance_is_divided_and_put_together(translator: Translator) -> None:
    long = [utterance for utterance in UTTERANCES if utterance.text.count(".") + utterance.text.count("?") >= 4]
    hypotheses = translator(long, ["eng", "deu"])
    wanted = [(u.id, code) for u in long for code in ("eng", "deu") if code != u.language]
    assert [(h.id, h.target) for h in hypotheses] == wanted
    assert all(len(h.transcript.split()) > 8 and h.raw.count("\n") >= 2 for h in hypotheses)


def test_a_language_to_itself_is_refused(translator: Translator) -> None:
    with pytest.raises(LanguageError, match="Source and target are both 'eng'"):
        translator.translate(UTTERANCES[0].audio, to="English", language="en")


def test_without_a_transcript_the_language_must_be_named(tmp_path: Path) -> None:
    direct = Translator(model(tmp_path, recipe(stages=[stage("st")])))
    with pytest.raises(LanguageError, match="toy cannot detect what is spoken"):
        direct.translate(UTTERANCES[0].audio, to="deu")
    with pytest.raises(ModelError, match="does not support hotwords and glossaries"):
        direct.translate(UTTERANCES[0].audio, to="deu", language="eng", glossary=GLOSSARY)


def test_options_are_as_keywords(translator: Translator) -> None:
    video = next(utterance for utterance in UTTERANCES if utterance.audio.endswith("mp4")).audio
    shorter = {"max_speech_duration_s": 1.5}
    options = TranslateOptions.parse(["de", "French"], "English", hotwords=["Tom"], vad_parameters=shorter)
    assert options.to == ("deu", "fra") and options.language == "eng"
    by_keywords = translator.translate(video, ["de", "French"], "English", hotwords=["Tom"], vad_parameters=shorter)
    assert translator.translate(video, options) == by_keywords
    assert len(by_keywords.segments) > len(translator.translate(video, to="none", language="eng").segments)
    with pytest.raises(DragomanError, match="hears 5 s at a time"):
        translator.translate(video, to="deu", vad_parameters={"max_speech_duration_s": 9})
    with pytest.raises(TypeError, match="stand for all other arguments"):
        translator.translate(video, options, language="eng")


@needs_noise
def test_nothing_is_invented_where_nobody_speaks(translator: Translator) -> None:
    assert len(NO_SPEECH) == 12
    for outcome in translator.translate_each(NO_SPEECH, to="all"):
        assert outcome.get().segments == [] and outcome.get().language_confidence is None


@needs_noise
def test_what_is_heard_in_noise_is_doubted(translator: Translator) -> None:
    """As if noise were taken for speech."""
    waveform = load_audio(NO_SPEECH[0])
    clips = [translator.features(waveform[start : start + 4 * SAMPLE_RATE]) for start in range(0, 10**6, 10**5)]
    found = translator.decoder([DecodeRequest(clip, "eng", ()) for clip in clips])
    assert max(np.exp(decoded.score) for decoded in found) < translator.calibration.low_transcript


def test_the_words_wanted_are_written_and_nothing_else_changes(translator: Translator) -> None:
    watch = next(utterance for utterance in UTTERANCES if utterance.id == "german-mp3")
    plain = translator.translate(watch.audio, to="all", language="deu")
    asked = translator.translate(watch.audio, to="all", language="deu", glossary=GLOSSARY)
    assert "Uhr" in plain.transcript and asked.transcript == plain.transcript
    assert not occurs("timepiece", plain.translations["eng"]) and occurs("timepiece", asked.translations["eng"])
    assert {code: asked.translations[code] == text for code, text in plain.translations.items()} == {
        "eng": False,
        "fra": True,
        "nld": True,
    }
    assert [segment.missed for segment in asked.segments] == [{}]
    other = next(utterance for utterance in UTTERANCES if utterance.id == "french-opus")
    assert translator.translate(other.audio, "deu", "fra", glossary=GLOSSARY) == translator.translate(
        other.audio, "deu", "fra"
    )


def test_terms_in_a_batch_are_as_one_by_one(translator: Translator) -> None:
    requests = [
        DecodeRequest(mel, utterance.language, ("eng",), ("Regenschirm",), GLOSSARY)
        for utterance in UTTERANCES
        for mel in map(translator.features, translator._split(load_audio(utterance.audio)))
        if utterance.language != "eng"
    ]
    together = translator.decoder(requests)
    alone = [translator.decoder([request])[0] for request in requests]
    assert sum(occurs("timepiece", decoded.translations["eng"].text) for decoded in together) >= 1
    assert [(d.transcript, d.translations["eng"].text) for d in together] == [
        (d.transcript, d.translations["eng"].text) for d in alone
    ]


def test_smt_is_not_for_a_cascade() -> None:
    """What translates the transcript alone would leave out the speech that smt is to hear."""
    with pytest.raises(ModelError, match="--translate_from has to be speech"):
        Translator.from_pretrained("tiny", device="cpu", smt_transcript="hypothesis", translate_from="transcript")


def test_confidence_is_the_probability_of_what_was_written(translator: Translator) -> None:
    decoder, utterance = translator.decoder, UTTERANCES[0]
    mel = translator.features(load_audio(utterance.audio))
    for beams in (1, 3):
        chosen = Translator.from_pretrained("tiny", device="cpu", beam_size=beams).decoder if beams > 1 else decoder
        (decoded,) = chosen([DecodeRequest(mel, utterance.language, ("deu", "nld"))])
        for code, translation in decoded.translations.items():
            row, *_ = decoder._start(utterance.language, code, decoded.transcript, "")
            answer = decoder.text.answer(TASKS["smt"].answer(TaskItem("", "", "", translation.text), decoder.tags))
            assert escape(translation.text) == translation.text
            with torch.inference_mode():
                audio, _ = decoder.model.encode_audio(torch.from_numpy(mel)[None], torch.tensor([mel.shape[1]]))
                text = decoder.model.llm.get_input_embeddings()(torch.tensor([[*row.prompt, *answer]]))
                logits = decoder.model.llm(inputs_embeds=torch.cat([audio, text], 1)).logits[0, -len(answer) - 1 : -1]
            expected = logits.log_softmax(-1)[range(len(answer)), list(answer)].mean()
            assert translation.score == pytest.approx(float(expected), abs=1e-3)


def test_how_likely_the_language_is(translator: Translator) -> None:
    utterance = UTTERANCES[0]
    told = translator.identify([load_audio(utterance.audio)])
    assert set(told) == set(translator.sources) and sum(told.values()) == pytest.approx(1.0)
    assert list(told.values()) == sorted(told.values(), reverse=True)
    unfitted = LanguageIdentifier(translator.decoder, translator.sources, 16)
    plain = unfitted.identify_recording([translator.features(load_audio(utterance.audio))])
    first, second, *_ = told
    fitted = translator.calibration.language_temperature * np.log(told[first] / told[second])
    assert fitted == pytest.approx(np.log(plain[first] / plain[second]), rel=1e-4)
    result = translator.translate(utterance.audio, to="deu")
    assert result.language == next(iter(told)) and 0.25 < result.language_confidence <= 1
    assert translator.translate(utterance.audio, "deu", "eng").language_confidence is None


def test_beams_look_again_at_the_two_likeliest_languages_where_there_is_doubt(translator: Translator) -> None:
    """Alone or in a batch, a segment's or a recording's; what greedy transcripts are sure of stays."""
    english, german = load_audio(EXAMPLES / "english-wav.wav"), load_audio(EXAMPLES / "german-mp3.mp3")
    noise = np.random.default_rng(0).normal(0, 0.02, german.shape).astype(np.float32)
    sure, doubted = translator.features(english), translator.features((german + noise) / 2)

    def alone(mel: Features, beams: int) -> list[float]:
        requests = [DecodeRequest(mel, code, ()) for code in translator.sources]
        return [translator.decoder.likelihoods([request], beams)[0] for request in requests]

    greedy, beams = alone(doubted, 1), alone(doubted, translator.decoder.beams)
    best = sorted(range(len(greedy)), key=greedy.__getitem__)[-2:]
    expected = [max(one, beams[at]) if at in best else one for at, one in enumerate(greedy)]
    assert expected != pytest.approx(greedy, abs=0.1)  # or nothing is tested
    told = translator.identifier.likelihoods([[sure], [doubted], [sure, sure]])
    assert told[0] == pytest.approx(alone(sure, 1), abs=1e-3) and told[1] == pytest.approx(expected, abs=1e-3)
    assert told[2] == pytest.approx(2 * told[0], abs=1e-3)
    (_, likely), (code, _) = translator.identifier.identify_segments([doubted, sure])
    assert (
        likely == pytest.approx(next(iter(translator.identifier.identify_recording([doubted]).values())))
        and code == "eng"
    )


def test_a_click_in_which_nothing_can_be_said_does_not_tell_the_language(translator: Translator) -> None:
    click, speech = np.ones(480, np.float32), load_audio(EXAMPLES / "english-wav.wav")
    assert set(translator.identify([click]).values()) == {1 / len(translator.sources)}
    assert next(iter(translator.identify([click, speech]))) == "eng"

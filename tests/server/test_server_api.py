"""Truths of the roads: OpenAI's own client gets what the command line gets, in every format; what cannot be honoured is
an error that names the field."""

from __future__ import annotations

import errno
import json
import subprocess
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("openai", reason="the extra [dev] is not installed")

import httpx2
import openai
from media import Track, write_media
from test_server_uploads import until

from dragoman import Translator
from dragoman.data.audio import load_audio
from dragoman.errors import AudioError, FileAccessError, ModelError, OutputError
from dragoman.inference.decoding.glossary import Glossary, Term
from dragoman.server.backend.workers import WorkerLost
from dragoman.server.errors_api import api_error
from dragoman.subtitles.cues import SubtitleOptions, cues
from dragoman.subtitles.writers import to_srt, to_vtt

if TYPE_CHECKING:
    from running_server import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"
AUDIO = EXAMPLES / "english-video.mp4"
WHOLE = ["-F", "model=random", "-F", "language=en", "-F", f"file=@{AUDIO}"]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: Any, **fields: Any) -> Any:
    extra = {name: fields.pop(name) for name in list(fields) if name.startswith(("target", "to_", "multi"))}
    extra |= fields.pop("extra_body", {})
    with open(fields.pop("path", AUDIO), "rb") as file:
        return client.audio.transcriptions.create(
            file=file, model="random", extra_body=extra, **{"language": "en", **fields}
        )


def curl(server: RunningServer, *arguments: str) -> tuple[int, str]:
    """Status and body."""
    command = ["curl", "-sS", "-m", "120", "-w", "\n%{http_code}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


# ------------------------------------------------------------------------------------------------- what is answered


def test_answers_are_those_of_the_command_line(client: Any, random_translator: Translator) -> None:
    expected = random_translator.translate(AUDIO, ["deu", "fra"], "eng")
    found = ask(client, response_format="verbose_json", target_language=["de", "French"])
    assert found.text == expected.transcript and found.translations == expected.translations
    assert found.language == "english" and found.duration == pytest.approx(8.96, abs=0.05)
    assert len(found.segments) == len(expected.segments) > 1
    for number, (segment, same) in enumerate(zip(found.segments, expected.segments, strict=True)):
        assert (segment.id, segment.text, segment.translations) == (number, same.transcript, same.translations)
        assert (segment.start, segment.end) == pytest.approx((same.start_s, same.end_s), abs=1e-3)
        assert segment.avg_logprob == pytest.approx(same.score, abs=1e-3)
    assert found.usage.seconds == 9


def test_a_detected_language_too(client: Any, random_translator: Translator) -> None:
    detected = random_translator.translate(AUDIO, "all")
    found = ask(client, language=openai.omit, response_format="verbose_json", target_language="all")
    assert found.language_confidence == pytest.approx(detected.language_confidence, abs=1e-3)
    # to this model all languages are alike: which it is, rounding decides
    assert found.translations == random_translator.translate(AUDIO, "all", found.language_code).translations


@pytest.mark.parametrize("name", ["target_language", "target_languages", "to_language"])
@pytest.mark.parametrize("given", ["de,fr", ["deu", "fra"]])
def test_targets_by_any_name(client: Any, name: str, given: str | list[str]) -> None:
    assert list(ask(client, path=EXAMPLES / "english-wav.wav", **{name: given}).translations) == ["deu", "fra"]


def test_plain_formats(client: Any, random_translator: Translator) -> None:
    expected = random_translator.translate(AUDIO, "none", "eng")
    shown = cues(expected, ("eng",))
    assert ask(client).text == expected.transcript
    assert ask(client, response_format="text") == f"{expected.transcript}\n"
    assert ask(client, response_format="srt") == to_srt(shown)
    assert ask(client, response_format="vtt") == to_vtt(shown)


def test_subtitles_look_as_asked(client: Any, server: RunningServer, random_translator: Translator) -> None:
    expected = random_translator.translate(AUDIO, ["deu"], "eng")
    narrow = SubtitleOptions(max_line_width=12, max_line_count=4, max_chars_per_second=30.0)
    look = {"max_line_width": "12", "max_line_count": "4", "max_chars_per_second": "30"}
    assert ask(client, response_format="srt", extra_body=look) == to_srt(cues(expected, ("eng",), narrow))
    fields = {"model": "random", "language": "en", "to_language": "de", "response_format": "vtt", "bilingual": "true"}
    form = [part for name, value in (fields | look).items() for part in ("-F", f"{name}={value}")]
    status, body = curl(server, f"{server.url}/v1/audio/translations", *form, "-F", f"file=@{AUDIO}")
    assert status == 200 and body == to_vtt(cues(expected, ("deu", "eng"), narrow))


def test_terms_tracks_and_stretches_are_as_asked(client: Any, tmp_path: Path, random_translator: Translator) -> None:
    """A glossary, the second of two tracks, the longest stretch: what the Translator does with them."""
    sound = [load_audio(EXAMPLES / name) for name in ("english-wav.wav", "english-video.mp4")]
    path = write_media(tmp_path / "two.mkv", *(Track(samples, "aac") for samples in sound))
    said = random_translator.translate(path, "deu", "eng", audio_track=2).transcript.split()[0]
    glossary = Glossary((Term(said, "Donaudampfschiff"), Term("other", "anderes", "eng", "deu")))
    options = {"glossary": glossary, "audio_track": 2, "vad_parameters": {"max_speech_duration_s": 3.0}}
    expected = random_translator.translate(path, "deu", "eng", **options)
    assert any("Donaudampfschiff" in one.missed.get("deu", ()) for one in expected.segments)  # it writes nonsense
    terms = [{"term": said, "translation": "Donaudampfschiff"}, {"term": "other", "translation": "anderes"}]
    terms[1] |= {"source": "English", "target": "de"}
    vad = {"type": "server_vad", "max_speech_duration_s": 3.0}
    given = {"target_language": "de", "audio_track": 2, "glossary": json.dumps(terms)}
    found = ask(client, path=path, chunking_strategy=vad, extra_body=given, response_format="verbose_json")
    assert [one.text for one in found.segments] == [one.transcript for one in expected.segments]
    assert [one.missed for one in found.segments] == [
        {code: list(words) for code, words in one.missed.items()} for one in expected.segments
    ]
    given |= {"glossary": {said: "Donaudampfschiff"}}  # the client sends glossary[…]
    again = ask(client, path=path, chunking_strategy=vad, extra_body=given, response_format="verbose_json")
    assert again.segments == found.segments


def test_translations_are_in_the_first_target(client: Any, random_translator: Translator) -> None:
    german = EXAMPLES / "german-flac.flac"
    expected = random_translator.translate(german, ["eng"], "deu")
    with warnings.catch_warnings(), open(german, "rb") as file:
        warnings.simplefilter("ignore", DeprecationWarning)
        found = client.audio.translations.create(
            file=file, model="random", response_format="verbose_json", extra_body={"language": "de"}
        )
    assert found.text == expected.translations["eng"] and found.language == "english"
    assert [one.text for one in found.segments] == [one.translations["eng"] for one in expected.segments]


def test_a_stream_is_the_whole_in_pieces(client: Any) -> None:
    whole = ask(client, response_format="verbose_json", target_language="de")
    events = list(ask(client, stream=True, target_language="de"))
    assert [event.type for event in events] == ["transcript.text.segment"] * len(whole.segments) + [
        "transcript.text.done"
    ]
    assert [(one.start, one.text, one.translations) for one in events[:-1]] == [
        (one.start, one.text, one.translations) for one in whole.segments
    ]
    assert events[-1].text == whole.text and len(events[-1].segments) == len(whole.segments)
    for none in ({}, {"target_language": "none"}):
        plain = list(ask(client, stream=True, **none))
        assert {one.type for one in plain[:-1]} == {"transcript.text.delta"}
        assert "".join(one.delta for one in plain[:-1]).strip() == plain[-1].text == whole.text
    of_all = list(ask(client, stream=True, target_language="all"))
    assert {one.type for one in of_all[:-1]} == {"transcript.text.segment"} and set(of_all[0].translations) > {"deu"}


def test_silence_and_no_file_of_ours(client: Any, tmp_path: Path) -> None:
    import numpy as np

    from dragoman.data.synthesis import write_flac

    write_flac(tmp_path / "silence.flac", np.zeros(32_000, np.float32))
    found = ask(client, path=tmp_path / "silence.flac", response_format="verbose_json", target_language="de")
    assert (found.text, found.segments, found.translations) == ("", [], {"deu": ""}) and found.duration == 2.0


def test_the_model_is_described(client: Any) -> None:
    (model,) = client.models.list()
    assert model.id == client.models.retrieve("random").id == "random"
    assert [one["code"] for one in model.targets] == ["eng", "deu", "fra"]


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "other"}, "model"),
        ({"language": "Elvish"}, "language"),
        ({"language": "ja"}, "language"),
        ({"target_language": "Elvish"}, "target_language"),
        ({"target_language": "ja"}, "target_language"),
        ({"target_language": "none,de"}, "target_language"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "srt", "target_language": "de"}, "response_format"),
        ({"response_format": "text", "stream": "true"}, "response_format"),
        ({"timestamp_granularities[]": "word", "response_format": "verbose_json"}, "timestamp_granularities"),
        ({"glossary": '{"cat": "Kater"}', "target_language": "none"}, "glossary"),
        ({"include[]": "logprobs"}, "include"),
        ({"temperature": "2"}, "temperature"),
        ({"stream": "perhaps"}, "stream"),
        ({"known_speaker_names[]": "Tom"}, "known_speaker_names"),
        ({"chunking_strategy": '{"type": "server_vad", "threshold": 7}'}, "chunking_strategy.threshold"),
        ({"chunking_strategy[type]": "client"}, "chunking_strategy.type"),
        ({"multilingual": "true", "language": "en"}, "multilingual"),
        ({"audio_track": "0"}, "audio_track"),
        ({"audio_track": "7"}, "audio_track"),
        ({"glossary": "cat=Kater", "target_language": "de"}, "glossary"),
        ({"glossary": '{"cat": "Kater"}'}, "glossary"),
        (
            {"glossary": '[{"term": "a", "translation": "b"}, {"term": "a", "translation": "c"}]', "to_language": "de"},
            "glossary",
        ),
        ({"glossary": '[{"term": "a", "translation": "b", "target": "Elvish"}]', "target_language": "de"}, "glossary"),
        ({"max_line_width": "20"}, "max_line_width"),
        ({"max_line_width": "0", "response_format": "srt"}, "max_line_width"),
        ({"bilingual": "true", "response_format": "srt"}, "bilingual"),
        ({"chunking_strategy": '{"type": "server_vad", "max_speech_duration_s": 900}'}, "chunking_strategy"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_named(server: RunningServer, fields: dict[str, str], param: str) -> None:
    given = {"model": "random", **fields}
    form = [part for name, value in given.items() for part in ("--form-string", f"{name}={value}")]
    status, body = curl(server, f"{server.url}/v1/audio/transcriptions", *form, "-F", f"file=@{AUDIO}")
    error = json.loads(body)["error"]
    assert status == (404 if param == "model" else 400) and set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and error["message"].endswith((".", "?"))


def test_what_is_left_out_is_said(client: Any, server: RunningServer) -> None:
    """Many clients send these always, so they are no errors."""
    path = EXAMPLES / "english-wav.wav"
    assert "prompt" in ask(client, path=path, prompt="names").warnings[0]
    assert ask(client, path=path, temperature=0).warnings == []
    warned = ["temperature is not used; decoding never samples."]
    assert ask(client, path=path, temperature=0.7).warnings == warned
    form = ["-F", "model=random", "-F", "language=en", "-F", "temperature=1", "-F", "response_format=text"]
    _, said = curl(server, f"{server.url}/v1/audio/transcriptions", "-i", *form, "-F", f"file=@{path}")
    assert f"x-dragoman-warnings: {json.dumps(warned)}" in said


def test_what_is_no_recording(client: Any, tmp_path: Path) -> None:
    (tmp_path / "talk.mp3").write_text("This is a text.")
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="media file") as caught:
            ask(client, path=tmp_path / "talk.mp3", stream=stream)
        assert caught.value.param == "file" and str(tmp_path) not in str(caught.value)


def test_what_is_no_form(server: RunningServer) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        status, body = curl(
            server, f"{server.url}/v1/audio/transcriptions", "-H", f"content-type: {kind}", "-d", "model=random"
        )
        assert status == 415 and json.loads(body)["error"]["param"] == "file"


# ------------------------------------------------------------------------------------------------------ subtitles

GERMAN = {"deu": "Wo ist der Bahnhof?"}
SEGMENTS = [
    {"start": 0.5, "end": 2.5, "text": "Where is the station?", "language": "eng", "translations": GERMAN},
    {"start": 3.0, "end": 4.0, "text": "There.", "language": "en", "translations": {"de": "Dort."}, "id": 1, "seek": 0},
]


def subtitles(server: RunningServer, **asked: Any) -> tuple[int, str]:
    body = json.dumps({"segments": SEGMENTS, **asked})
    return curl(server, f"{server.url}/v1/subtitles", "-H", "content-type: application/json", "-d", body)


def test_edited_segments_become_subtitles(server: RunningServer) -> None:
    assert subtitles(server) == (200, subtitles(server, languages=["eng"])[1])
    assert "00:00:00,500 --> 00:00:02,500\nWhere is the station?\n" in subtitles(server)[1]
    bilingual = subtitles(server, languages=["de", "en"], format="vtt")[1]
    assert bilingual.startswith("WEBVTT\n") and "Wo ist der Bahnhof?\nWhere is the station?\n" in bilingual
    as_they_are = subtitles(server, languages=["deu"], divide=False)[1]
    assert (
        as_they_are
        == "1\n00:00:00,500 --> 00:00:02,500\nWo ist der Bahnhof?\n\n2\n00:00:03,000 --> 00:00:04,000\nDort.\n"
    )
    assert subtitles(server, languages=["deu"], format="tsv")[1].splitlines()[2] == "3000\t4000\tDort."
    assert subtitles(server, languages=["deu"], format="txt")[1] == "Wo ist der Bahnhof?\nDort.\n"


IN_JSON = {"content-type": "application/json"}
LONG = [{"start": 9.0 * at, "end": 9.0 * at + 2.5, "text": "あ" * 5000, "language": "jpn"} for at in range(190)]
"""As much as may be, and as hard: minutes of work, were it not given up."""


def test_subtitles_take_a_place_and_no_longer_than_they_may(start: Any) -> None:
    server = start(max_requests=1, request_timeout_s=1.0)
    body = json.dumps({"segments": LONG})
    with httpx2.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor() as threads:
        first = threads.submit(client.post, "/v1/subtitles", content=body, headers=IN_JSON)
        until(lambda: server.state.places.taken == 1)
        assert client.post("/v1/subtitles", json={"segments": SEGMENTS}).status_code == 429
        late = first.result()
        assert (late.status_code, late.headers["x-should-retry"]) == (408, "false")
        assert late.json()["error"]["param"] == "segments"
        until(lambda: server.state.places.taken == 0)


def test_subtitles_that_nobody_waits_for_are_given_up(start: Any) -> None:
    server = start()
    command = ["curl", "-sS", "-m", "1", f"{server.url}/v1/subtitles", "--json", "@-"]
    done = subprocess.run(command, input=json.dumps({"segments": LONG}).encode(), capture_output=True)
    assert done.returncode == 28  # curl's own limit
    began = time.monotonic()
    until(lambda: server.state.places.taken == 0, 60)
    assert time.monotonic() - began < 10 and 'status="499"' in curl(server, f"{server.url}/metrics")[1]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"languages": ["fra"]}, "languages"),
        ({"segments": [{"start": 1, "end": 2, "text": "x" * 5001}]}, "segments.0.text"),
        ({"segments": [{"start": 1, "end": 1, "text": "x"}]}, "segments"),
        ({"languages": ["Elvish"]}, "languages"),
        ({"languages": ["deu", "eng"], "format": "txt"}, "languages"),
        ({"format": "docx"}, "format"),
        ({"segments": [{"start": 2, "end": 1, "text": "x"}]}, "segments"),
        ({"segments": [{"start": 2, "end": "later", "text": "x"}]}, "segments.0.end"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_subtitles_that_cannot_be_made(server: RunningServer, asked: dict[str, Any], param: str) -> None:
    status, body = subtitles(server, **asked)
    assert status == 400 and json.loads(body)["error"]["param"] == param


def test_subtitles_of_too_much_text(server: RunningServer) -> None:
    """What counts is what is to be written: other translations may come along."""
    texts = {"text": "x" * 5000, "language": "eng", "translations": {"deu": "ja", "fra": "x" * 5000}}
    long = [{"start": at, "end": at + 1, **texts} for at in range(201)]
    body = json.dumps({"segments": long, "languages": ["deu"], "format": "txt"})
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        assert client.post("/v1/subtitles", content=body, headers=IN_JSON).status_code == 200
        refused = client.post("/v1/subtitles", content=body.replace('"deu"]', '"fra"]'), headers=IN_JSON)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_much_text")


# ---------------------------------------------------------------------------------------------------------- in words


GLOSSARY = ["-F", 'glossary={"a": "b"}']


@pytest.mark.parametrize(
    ("path", "given", "status", "said"),
    [
        ("audio/transcriptions", ["-F", "model=random", "-F", "file=talk.wav"], 400, "file: send the recording itself"),
        (
            "audio/transcriptions",
            ["-F", "model=random"],
            400,
            "file: send the recording itself, with curl as -F file=@",
        ),
        (
            "audio/transcriptions",
            ["-F", "model=x", "-F", "include[]=logprobs"],
            400,
            "include: there are no log probabilities",
        ),
        ("audio/transcriptions", ["-X", "PUT"], 405, "This path does not take that method"),
        ("audio/translations", [*WHOLE, "-F", "to_language=all"], 400, "target_language: name the languages; all and"),
        (
            "audio/translations",
            [*WHOLE, *GLOSSARY, "-F", "to_language=en"],
            400,
            "glossary: it is for translations; name an",
        ),
        ("subtitles", ["--json", "{1"], 400, "The body is not JSON: Expecting property name"),
        ("subtitles", ["-H", "content-type: text/plain", "-d", "{}"], 400, "Send an object in JSON, with the header"),
        ("subtitles", ["--json", '{"segments": [], "colour": 1}'], 400, "colour: is not a field that this server"),
        ("jobs/job_1", [], 404, "There are no jobs here; start the server with --jobs_dir or --jobs_url."),
    ],
)
def test_what_is_wrong_is_said_in_words(
    server: RunningServer, path: str, given: list[str], status: int, said: str
) -> None:
    found, body = curl(server, f"{server.url}/v1/{path}", *given)
    error = json.loads(body)["error"]
    assert (found, error["message"][: len(said)]) == (status, said)
    assert error["message"].endswith(".") and error["code"] and error["param"] != "2"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OutputError("no space"), 503, "jobs_unavailable"),
        (ModelError("ended while it was loaded"), 503, "model_failed"),
        (WorkerLost("ended twice"), 503, "model_failed"),
        (FileAccessError("no more files"), 503, "out_of_space"),
        (OSError(errno.ENOSPC, "full"), 503, "out_of_space"),
        (OSError(errno.EIO, "broken"), 500, "internal_error"),
        (AudioError("no media file"), 400, "invalid_value"),
    ],
)
def test_a_failure_of_the_servers_is_not_the_clients(error: Exception, status: int, code: str) -> None:
    """OpenAI's clients ask again after 503, and blame the file for 400."""
    told = api_error(error, "file")
    assert (told.status_code, told.code, told.param) == (status, code, "file" if status == 400 else None)
    retries = int((told.headers or {}).get("Retry-After", 0))
    assert 0 < retries <= 60 if status == 503 else retries == 0

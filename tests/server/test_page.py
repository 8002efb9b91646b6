"""The page in a real browser, before a real server with the built-in model: from a recording to subtitles, live
captions, what breaks, and what it is like on a phone, in the dark, with a keyboard or a screen reader."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import urllib.request
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, load_audio

sync_api = pytest.importorskip("playwright.sync_api", reason="The page is tested by `pip install playwright`.")
pytest.importorskip("axe_playwright_python", reason="The page is tested by `pip install axe-playwright-python`.")
pytest.importorskip("fastapi", reason="The server needs `pip install 'dragoman[serve]'`.")

from browser_page import (  # noqa: E402
    ALERT,
    KEY,
    LINE,
    PROGRESS,
    Cut,
    asked,
    begin,
    downloaded,
    drop,
    heard,
    no_violation,
    occupied,
    segments_of,
    texts,
)
from running_server import HeldDecoder, RunningServer  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src" / "dragoman" / "server" / "page"
CHROMIUM = os.environ.get("DRAGOMAN_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE_MS = 120_000
"""A machine may be busy with other things."""
ANSWERED = ("Failed to load resource", "WebSocket connection to")
"""How the browser's complaints begin where a test asked for the answer."""
WIDTHS = pytest.mark.parametrize("width", [390, 1280])
LIGHTS = pytest.mark.parametrize("scheme", ["light", "dark"])
PHONE = {"has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sentences of English with pauses between, which no server hears as one segment."""
    path = tmp_path_factory.mktemp("page") / "three sentences.wav"
    sentence, rest = load_audio(ROOT / "examples" / "english-wav.wav"), np.zeros(round(1.5 * SAMPLE_RATE), np.float32)
    samples = np.concatenate([rest, sentence, rest, sentence, rest, sentence, rest])
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def tiny() -> Translator:
    return Translator.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def server(tiny: Translator) -> Iterator[str]:
    """The address of a server of the built-in model, that asks for a key."""
    with serving(tiny) as address:
        yield address


@contextlib.contextmanager
def serving(translator: Translator, **settings: Any) -> Iterator[str]:
    from dragoman.server.settings import ServerSettings

    running = RunningServer(lambda: translator, ServerSettings(port=0, api_key=KEY, **settings))
    try:
        yield f"{running.url}/"
    finally:
        running.stop()


@pytest.fixture(scope="module")
def browser(recording: Path) -> Iterator[Any]:
    """Chromium, whose microphone hears the recording again and again."""
    if CHROMIUM is None:
        pytest.skip("No Chromium: install it, or name it by DRAGOMAN_CHROMIUM.")
    microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    hears = f"--use-file-for-fake-audio-capture={recording}"
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *microphone, hears])
        yield started
        started.close()


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, server: str) -> Iterator[Open]:
    """A page of its own; what the browser complains of fails the test, but for the answers that a test asks for."""
    complaints: list[str] = []
    contexts = []

    def open_page(address: str = server, key: str | None = KEY, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        if key is not None:
            page.add_init_script(f"sessionStorage.setItem('dragoman.api_key', {json.dumps(key)})")
        page.goto(address)
        if key is not None:
            page.get_by_label("German").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in complaints if not text.startswith(ANSWERED)] == []


def test_from_upload_to_download(opened: Open, server: str, recording: Path) -> None:
    page = heard(opened(), recording, "German", "French")
    segments = segments_of(server, recording, "de,fr")
    assert len(segments) == 3
    assert texts(page, "transcript") == [segment["text"] for segment in segments]
    assert texts(page, "fra") == [segment["translations"]["fra"] for segment in segments]

    name, srt = downloaded(page, "SRT", "German")
    assert name == "three sentences.deu.srt"
    assert srt == asked(server, "translations", recording, "de", "srt")
    name, vtt = downloaded(page, "VTT", "French + English")
    assert name == "three sentences.fra+eng.vtt"
    assert vtt.startswith("WEBVTT")
    assert all(f"{segment['translations']['fra']}\n{segment['text']}" in vtt for segment in segments)
    assert downloaded(page, "TXT", "English")[1] == "".join(f"{segment['text']}\n" for segment in segments)
    rows = downloaded(page, "TSV", "German + English")[1].splitlines()
    assert rows[0] == "start\tend\ttext_deu\ttext_eng" and len(rows) == 4
    written = json.loads(downloaded(page, "JSON")[1])
    assert [segment["start_s"] for segment in written["segments"]] == [segment["start"] for segment in segments]
    assert written["translations"]["deu"] == " ".join(segment["translations"]["deu"] for segment in segments)


def test_lines_are_edited_merged_divided_and_survive_a_reload(opened: Open, recording: Path) -> None:
    page = heard(opened(), recording, "German")
    before = texts(page, "deu")

    page.get_by_role("button", name=re.compile("^Edit German")).first.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("Guten Morgen. Bis bald!")
    page.keyboard.press("Enter")
    assert texts(page, "deu") == ["Guten Morgen. Bis bald!", *before[1:]]

    page.get_by_role("button", name=re.compile("^Edit German")).first.click()
    page.keyboard.press("Home")
    for _ in "Guten Morgen.":
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Control+Enter")  # divides there
    assert texts(page, "deu") == ["Guten Morgen.", "Bis bald!", *before[1:]]
    divided = texts(page, "transcript")

    page.get_by_role("button", name=re.compile("^Merge")).nth(1).click()
    assert texts(page, "deu") == ["Guten Morgen.", f"Bis bald! {before[1]}", before[2]]
    assert texts(page, "transcript") == [divided[0], f"{divided[1]} {divided[2]}", divided[3]]
    assert "Bis bald!" in downloaded(page, "SRT", "German")[1]

    page.wait_for_timeout(1000)  # it is kept a moment after the last change
    page.reload()
    page.locator(LINE).first.wait_for()
    assert texts(page, "deu") == ["Guten Morgen.", f"Bis bald! {before[1]}", before[2]]

    for _ in range(3):  # and what was done before it can be undone
        page.keyboard.press("Control+z")
    assert texts(page, "deu") == before
    page.keyboard.press("Control+Shift+z")
    assert texts(page, "deu")[0] == "Guten Morgen. Bis bald!"


def test_a_click_plays_a_line_and_the_marked_line_follows(opened: Open, recording: Path) -> None:
    page = heard(opened(), recording, "German")
    second = page.locator(LINE).nth(1)
    second.locator(".said").first.click()
    page.locator(f"{LINE}.active").wait_for()
    assert second.get_attribute("aria-current") == "true"
    page.locator(f"{LINE}.active[data-index='2']").wait_for()  # it goes on
    page.keyboard.press("Alt+k")
    assert page.evaluate("document.querySelector('audio').paused")
    drawn = "[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 400, 40).data].some(Boolean)"
    assert page.evaluate(drawn)


def test_a_video_is_captioned_and_doubts_are_marked_until_somebody_looked(opened: Open, server: str) -> None:
    video = ROOT / "examples" / "english-video.mp4"
    page = heard(opened(), video, "German")
    captions = "[...document.querySelector('video').textTracks[0].cues].map(({ text }) => text)"
    assert page.evaluate(captions) == texts(page, "deu")

    dutch = ROOT / "examples" / "dutch-wav.wav"
    segments = segments_of(server, dutch, "de")
    low = [place for segment in segments for place in ("transcript", "deu") if segment["low_confidence"].get(place)]
    assert low  # Dutch is no English
    page = heard(opened(), dutch, "German")
    marks = page.locator(f"{LINE} .doubt")
    assert marks.count() >= len(low)
    before = marks.count()
    marks.first.dblclick()
    page.keyboard.press("Enter")  # it is right as it is
    assert marks.count() == before - 1


def test_a_connection_that_breaks_is_taken_up_where_it_broke(opened: Open, server: str, recording: Path) -> None:
    cut = Cut(server)
    page = opened(cut.address)
    begin(page, recording, "German")
    alert = page.locator(ALERT)
    alert.wait_for()
    assert cut.was_cut.is_set()
    assert "The connection to the server broke." in alert.inner_text()
    assert page.locator(LINE).count() == 1  # what was heard stays

    page.get_by_role("button", name=re.compile("^Edit German")).first.click()
    page.keyboard.type(" Und mehr.")
    page.keyboard.press("Enter")
    edited = texts(page, "deu")[0]
    page.get_by_role("button", name="Continue").click()
    page.locator(LINE).nth(2).wait_for()
    page.locator(PROGRESS).wait_for(state="detached")
    assert page.locator(LINE).count() == 3
    assert texts(page, "deu")[0] == edited and edited.endswith("Und mehr.")
    assert page.locator(ALERT).count() == 0


def test_what_goes_wrong_is_said(opened: Open, tmp_path: Path) -> None:
    page = opened(key=None)
    field = page.get_by_label("Key", exact=True)
    field.fill("not the key")
    page.keyboard.press("Enter")
    page.get_by_text("The key that was given is not the right one.").wait_for()
    no_violation(page)
    field.fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_label("German").wait_for()

    noise = tmp_path / "letter.mp3"
    noise.write_text("Dear Sir, this is no music.", encoding="utf-8")
    begin(page, noise, "German")
    alert = page.locator(ALERT)
    alert.wait_for()
    assert len(alert.inner_text()) > 20 and "Traceback" not in alert.inner_text()
    no_violation(page)


SENT = """
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) { window.sent = [...body.keys()]; return send.call(this, body); };
"""


def test_words_are_asked_for_where_they_do_something(opened: Open, recording: Path) -> None:
    page = opened()
    page.add_init_script(SENT)
    page.reload()
    page.get_by_text("More options").click()
    page.get_by_label("Words to expect").fill("Bahnhof, station")
    heard(page, recording, "German")
    assert "hotwords" in page.evaluate("sent")

    def by_whisper(route: Any) -> None:
        answer = route.fetch().json()
        route.fulfill(json={**answer, "data": [{**model, "takes_keywords": False} for model in answer["data"]]})

    page.route("**/v1/models", by_whisper)
    page.get_by_role("button", name="New recording").click()
    page.get_by_role("button", name="Delete and start anew").click()
    page.get_by_text("Drop a recording here").wait_for()
    page.wait_for_timeout(1000)  # what was kept is forgotten
    page.reload()
    page.get_by_text("More options").click()
    page.get_by_label("Several languages are spoken").wait_for()
    assert page.get_by_label("Words to expect").count() == 0
    begin(page, recording, "German")
    page.locator(LINE).first.wait_for()
    assert "target_language" in page.evaluate("sent") and "hotwords" not in page.evaluate("sent")


def test_a_recording_can_be_stopped_and_silence_is_said_to_be_silent(opened: Open, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    with wave.open(str(silence), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(bytes(2 * 2 * SAMPLE_RATE))
    page = opened()
    begin(page, silence, "German")
    page.get_by_text("No speech was found in this recording.").wait_for()

    page.get_by_role("button", name="New recording").click()
    page.route("**/v1/audio/transcriptions", lambda route: None)  # an answer that never comes
    begin(page, silence, "French")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Stopped at 0:00.").wait_for()


def test_a_busy_server_is_asked_again(opened: Open, tiny: Translator, recording: Path) -> None:
    with serving(tiny, max_requests=1) as server:
        page = opened(server)
        with occupied(server):
            begin(page, recording, "German")
            page.get_by_text("The server is busy; waiting for a place").wait_for()
        page.locator(LINE).nth(2).wait_for()
        assert page.locator(ALERT).count() == 0


def test_a_recording_is_dropped_and_the_time_that_is_left_is_told(
    opened: Open, tiny: Translator, recording: Path
) -> None:
    held = copy.copy(tiny)
    held.decoder = decoder = HeldDecoder(tiny.decoder)
    with serving(held) as server:
        page = opened(server)
        drop(page, recording)
        page.get_by_text(recording.name).wait_for()
        page.get_by_label("Spoken language").select_option("English")
        page.get_by_role("button", name="Transcribe").click()
        page.get_by_text("Listening", exact=True).wait_for()
        page.wait_for_timeout(3000)  # before there is nothing to tell it from
        decoder.go.release()
        page.get_by_text(re.compile(r"^0:\d\d of 0:\d\d, (a few|about \d+) seconds left$")).wait_for()
        decoder.go.release(9)
        page.locator(PROGRESS).wait_for(state="detached")
        assert page.locator(LINE).count() == 3


def test_what_is_written_from_right_to_left_stands_so(opened: Open, server: str, recording: Path) -> None:
    segments = segments_of(server, recording, "de")
    arabic = {"code": "ara", "iso1": "ar", "name": "Arabic"}

    def with_arabic(route: Any) -> None:
        answer = route.fetch().json()
        models = [{**model, "targets": [*model["targets"], arabic]} for model in answer["data"]]
        route.fulfill(json={**answer, "data": models})

    def translated(route: Any) -> None:
        written = [{**one, "translations": {"ara": "صباح الخير (3)."}, "low_confidence": {}} for one in segments]
        events = [{"type": "transcript.text.segment", "position": one["end"], **one} for one in written]
        done = {"type": "transcript.text.done", "duration": segments[-1]["end"]}
        told = "".join(f"data: {json.dumps(one)}\n\n" for one in [*events, done])
        route.fulfill(content_type="text/event-stream", body=f"{told}data: [DONE]\n\n")

    page = opened(key=None)
    page.route("**/v1/models", with_arabic)
    page.route("**/v1/audio/transcriptions", translated)
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    heard(page, recording, "Arabic")
    looks = "(cell) => [getComputedStyle(cell).direction, cell.lang || cell.querySelector('[lang]').lang]"
    assert page.locator(f"{LINE} [data-column=ara]").first.evaluate(looks) == ["rtl", "ar"]
    assert page.locator(f"{LINE} [data-column=transcript]").first.evaluate(looks) == ["ltr", "en"]
    inset = "(words) => words.getClientRects()[0].left - words.closest('td').getBoundingClientRect().left"
    words = page.locator(LINE).first.locator(".words")
    assert words.last.evaluate(inset) > 2 * words.first.evaluate(inset)  # it begins at the right
    page.get_by_role("button", name=re.compile("^Edit Arabic")).first.click()
    assert page.locator("textarea").evaluate("(field) => getComputedStyle(field).direction") == "rtl"


def test_one_language_is_spoken_or_several(opened: Open, recording: Path) -> None:
    page = opened()
    page.add_init_script(SENT)
    page.reload()
    page.get_by_text("More options").click()
    several = page.get_by_label("Several languages are spoken")
    several.check()
    page.get_by_label("Spoken language").select_option("English")
    assert several.is_disabled() and not several.is_checked()
    heard(page, recording, "German")
    assert "language" in page.evaluate("sent") and "multilingual" not in page.evaluate("sent")


def test_the_microphone_is_recorded(opened: Open) -> None:
    page = opened()
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(4000)
    no_violation(page)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text(re.compile(r"Recording .*\.webm")).wait_for()
    page.get_by_label("Spoken language").select_option("English")
    page.get_by_label("German").check()
    page.get_by_role("button", name="Translate").click()
    page.locator(LINE).first.wait_for()
    assert texts(page, "deu")[0]


def test_live_captions_become_a_session_that_can_be_heard(opened: Open) -> None:
    page = opened()
    page.get_by_role("link", name="Live").click()
    page.get_by_label("Spoken language").select_option("English")
    page.get_by_label("German").check()
    page.get_by_role("button", name="Start listening").click()
    caption = page.locator(".caption-line:not(.titles) p[lang=de]").first
    caption.wait_for()
    no_violation(page)
    page.locator(".caption-line:not(.titles)").nth(1).wait_for()  # one has ended, another is spoken
    page.get_by_role("button", name="Stop").click()
    page.locator(LINE).first.wait_for()
    assert texts(page, "transcript")[0] and texts(page, "deu")[0]
    page.locator(".clock").first.click()
    page.locator(f"{LINE}.active").wait_for()
    page.get_by_role("button", name="Pause").wait_for()


@LIGHTS
@WIDTHS
def test_no_barrier_at_any_width_and_in_any_light(opened: Open, recording: Path, width: int, scheme: str) -> None:
    phone = PHONE if width < 500 else {}
    page = opened(viewport={"width": width, "height": 844}, color_scheme=scheme, **phone)
    no_violation(page)
    heard(page, recording, "German", "French", "Dutch")
    no_violation(page)
    page.get_by_role("button", name=re.compile("^Edit Dutch")).first.click()
    no_violation(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Download").click()
    no_violation(page)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0  # nothing to scroll to at the side
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")


def test_live_captions_that_are_refused_say_why(opened: Open, tiny: Translator) -> None:
    with serving(tiny, max_requests=1) as server:
        page = opened(server)
        page.get_by_role("link", name="Live").click()
        page.get_by_label("Spoken language").select_option("English")
        begin_live = page.get_by_role("button", name="Start listening")
        with occupied(server):
            begin_live.click()
            page.locator(ALERT).wait_for()
            assert page.locator(ALERT).inner_text() == "Too many requests at once; come back soon."
        page.wait_for_timeout(1000)  # the place is free again
        begin_live.click()
        page.get_by_text("Listening", exact=True).wait_for()
        page.get_by_role("button", name="Stop").click()
        begin_live.or_(page.locator(LINE).first).wait_for()
    with serving(tiny) as server:
        page = opened(server)
        page.get_by_role("link", name="Live").click()
        page.get_by_label("Spoken language").select_option("English")
        page.evaluate("sessionStorage.setItem('dragoman.api_key', 'wrong')")
        page.get_by_role("button", name="Start listening").click()
        page.get_by_label("Key", exact=True).wait_for()


@LIGHTS
@WIDTHS
def test_nor_on_any_other_screen(opened: Open, tmp_path: Path, width: int, scheme: str) -> None:
    phone = PHONE if width < 500 else {}
    page = opened(key=None, viewport={"width": width, "height": 844}, color_scheme=scheme, **phone)
    page.get_by_label("Key", exact=True).wait_for()
    no_violation(page)
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_label("German").wait_for()
    page.get_by_role("button", name="Keyboard").click()
    page.locator("#keys[open]").wait_for()
    no_violation(page)
    page.locator("#keys").get_by_role("button", name="Close").click()

    page.get_by_role("button", name="Record", exact=True).click()
    page.locator(".dot").wait_for()
    no_violation(page)
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Choose another").click()
    noise = tmp_path / "letter.mp3"
    noise.write_text("Dear Sir, this is no music.", encoding="utf-8")
    begin(page, noise, "German")
    page.locator(ALERT).wait_for()
    no_violation(page)
    page.get_by_role("button", name=re.compile("^New")).click()

    heard(page, ROOT / "examples" / "english-wav.wav", "French")
    page.get_by_role("button", name=re.compile("^New")).click()
    page.locator("#forget[open]").wait_for()
    no_violation(page)
    page.get_by_role("button", name="Delete and start anew").click()
    page.get_by_role("link", name="Live").click()
    page.get_by_role("button", name="Start listening").wait_for()
    no_violation(page)
    page.get_by_role("button", name="Start listening").click()
    page.locator(".caption-line:not(.titles) p").first.wait_for()
    no_violation(page)


def test_without_motion_nothing_moves(opened: Open) -> None:
    moving = "document.getAnimations().length"
    for motion, least, most in (("no-preference", 1, 99), ("reduce", 0, 0)):
        page = opened(reduced_motion=motion)
        page.get_by_role("button", name="Record", exact=True).click()
        page.locator(".dot").wait_for()
        assert least <= page.evaluate(moving) <= most


def test_with_the_keyboard_alone(opened: Open, recording: Path) -> None:
    page = heard(opened(), recording, "German")
    page.locator(".clock").first.focus()
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement.closest('.line')?.dataset.index + document.activeElement.className"
    assert page.evaluate(focused) == "1bare clock"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the pencil of the German text
    page.keyboard.press("Control+A")
    page.keyboard.type("Hallo")
    page.keyboard.press("Enter")
    assert texts(page, "deu")[1] == "Hallo"
    assert page.evaluate(focused) == "1bare edit"  # where it was
    stops = page.evaluate("document.querySelectorAll('.line button:not([tabindex=\"-1\"])').length")
    assert stops == 5  # of one line, however many there are


FIRST_PAINT = """() => new Promise((resolve) => new PerformanceObserver((seen) => {
  const [paint] = seen.getEntriesByName('first-contentful-paint');
  if (paint) resolve(paint.startTime);
}).observe({ type: 'paint', buffered: true }))"""
TRANSFERRED = """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .map(({ transferSize }) => transferSize)"""


def test_it_paints_before_any_script_and_is_drawn_before_the_server_answers(opened: Open, server: str) -> None:
    page = opened("about:blank", key=None)
    scripts: list[Any] = []
    page.route("**/*.js", lambda route: scripts.append(route))  # none of them is given
    page.route("**/v1/**", lambda route: None)  # nor an answer
    page.goto(server, wait_until="commit")
    assert page.evaluate(FIRST_PAINT) > 0
    assert page.locator("header").inner_text().strip() == "Dragoman"
    page.unroute("**/*.js")
    assert len(scripts) > 10
    for script in scripts:
        script.continue_()
    page.get_by_role("button", name="Record", exact=True).wait_for()  # all but the languages


def test_nothing_comes_from_elsewhere_and_it_is_small(opened: Open, server: str) -> None:
    page = opened(key=None)
    asked_for = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert len(asked_for) > 10 and all(name.startswith((server, "data:")) for name in asked_for)
    transferred = page.evaluate(TRANSFERRED)
    assert len(transferred) == len(asked_for) + 1 and min(transferred) > 0  # none from a cache
    assert sum(transferred) < 150_000  # heads too
    for path in PAGE.rglob("*.html"):  # what a strict policy forbids
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", path.read_text(encoding="utf-8"))
    policy = urllib.request.urlopen(server).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    named = re.findall(r'modulepreload" href="([^"]+)"', (PAGE / "index.html").read_text(encoding="utf-8"))
    loaded = {name.removeprefix(server) for name in asked_for if name.endswith(".js")}
    assert loaded == {"app.js", *named}  # all are asked for at once

"""Cues hold what subtitlers ask of them, for any text in any script: found by random segments, and read in a few."""

from __future__ import annotations

import itertools
import re
import sys
from types import FrameType
from typing import Any

import pysubs2
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.inference.result import Result, Segment
from dragoman.subtitles.cues import LONGEST_MS, SHORTEST_MS, Cue, SubtitleOptions, cues
from dragoman.subtitles.line_breaking import columns, lines, words
from dragoman.subtitles.writers import to_srt, to_vtt
from dragoman.text.languages import LANGUAGES

# Words of each kind of script, put together at random; some have no spaces, some run from right to left.
TEXTS = {
    "eng": "We met, quite by chance, in St. Petersburg. Why? Nobody knows: long ago… Dr. Who – a “friend” – said so!",
    "fra": "« Bonjour ! » dit-il : c’est l’été, n’est-ce pas ? Aujourd\u00a0’hui, oui ; demain, peut-être.",
    "deu": "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverordnung, bitte! Am 3. Mai, z. B. um acht Uhr.",
    "cmn": "当他们到了目的地的时候，司机叫他们交车费。水牛把她自己的那份交了！WTO在2026年说：“可以”。",
    "jpn": "今日はとても良い天気です。ノンストップコミュニケーションズ株式会社「東京」に、NATOの人が行く。",
    "kor": "염소, 개 그리고 소는 좋은 친구였어요. 어느 날 그들은 택시를 타고 여행을 떠났어요!",
    "tha": "แพะ หมา และวัวเป็นเพื่อนรักกัน วันหนึ่งพวกเขาเดินทางด้วยรถแท็กซี่",
    "lao": "ແບ້ ໝາ ແລະ ງົວ ເປັນໝູ່ກັນ ມື້ໜຶ່ງພວກເຂົາເດີນທາງ",
    "khm": "ពពែ ឆ្កែ និងគោ គឺជាមិត្តល្អ។ ថ្ងៃមួយពួកគេបានធ្វើដំណើរ",
    "mya": "ဆိတ်၊ ခွေးနှင့် နွားတို့သည် သူငယ်ချင်းများဖြစ်သည်။",
    "ara": "مرحبا، كيف حالك؟ أنا بخير. ذهبوا في رحلة (مع NATO) بسيارة أجرة.",
    "heb": 'שלום, מה שלומך? הכול בסדר! נסענו 3.5 ק"מ במונית.',
    "hin": "बकरी, कुत्ता और गाय बहुत अच्छे दोस्त थे। एक दिन वे टैक्सी से यात्रा पर निकले।",
    "vie": "Dê, Chó, và Bò là bạn thân của nhau. Một ngày nọ, họ bắt đầu một chuyến hành trình 👨‍👩‍👧.",
}
SPACE = regex.compile(r"\s+")
PLAIN = regex.compile(r"[\s\u202b\u202c]+")


@st.composite
def results(draw: st.DrawFn, code: str, other: str) -> Result:
    """Up to six segments of 0.1 to 30 s, the pauses from none to long; the text may be nothing or far too much."""

    def text(language: str) -> str:
        parts = TEXTS[language].split()
        joint = " " if LANGUAGES[language].uses_spaces else draw(st.sampled_from(["", " "]))
        return joint.join(draw(st.lists(st.sampled_from(parts), max_size=60)))

    now, found = 0, []
    for _ in range(draw(st.integers(1, 6))):
        start = now + draw(st.sampled_from([0, 1, 60, 300, 2000]))
        now = start + draw(st.integers(100, 30_000) | st.integers(100, 1000))
        found.append(Segment(start / 1000, now / 1000, other, text(other), {code: text(code)}, 0.0))
    return Result("a", (code,), found)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Result, str, SubtitleOptions]:
    code, other = draw(st.permutations(sorted(TEXTS)))[:2]
    options = SubtitleOptions(
        draw(st.sampled_from([None, 12, 30, 80])), draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([None, 8.0]))
    )
    return draw(results(code, other)), code, options


def timing_is_sane(shown: list[Cue], result: Result) -> None:
    assert all(first.end_ms <= second.start_ms for first, second in itertools.pairwise(shown))
    spans = [(round(1000 * s.start_s), round(1000 * s.end_s)) for s in result.segments]
    for cue in shown:
        assert 0 <= cue.start_ms < cue.end_ms <= cue.start_ms + LONGEST_MS
        assert any(start <= cue.start_ms < end for start, end in spans)  # it begins with speech
        assert any(start < cue.end_ms <= end + 500 for start, end in spans)  # and stays no longer than half a second
        if cue.end_ms - cue.start_ms < SHORTEST_MS:
            assert any(start == cue.start_ms and end - start < SHORTEST_MS for start, end in spans)


@settings(max_examples=80)
@given(cases())
def test_any_cues_can_be_read(case: tuple[Result, str, SubtitleOptions]) -> None:
    result, code, options = case
    shown = cues(result, [code], options)
    timing_is_sane(shown, result)
    said = "".join(segment.translations[code] for segment in result.segments)
    assert PLAIN.sub("", "".join(cue.text for cue in shown)) == PLAIN.sub("", said)
    for cue in shown:
        for line in cue.text.split("\n"):
            text = line.strip("\u202b\u202c")
            assert text == text.strip() != ""
            assert columns(text) <= options.width(code) or len(words(text, code, options.width(code))) == 1
        if cue.text.count("\n") >= options.max_line_count:  # then it cannot be divided into two that last
            parts = words(re.sub("[\u202b\u202c]", "", cue.text), code, options.width(code))
            said = list(itertools.accumulate(word.columns + word.spaced for word in parts))
            spoken_ms = cue.end_ms - cue.start_ms - 500
            halves = [min(so_far, said[-1] - so_far) / said[-1] * spoken_ms for so_far in said[:-1]]
            assert max(halves, default=0) < SHORTEST_MS + 83


@settings(max_examples=40)
@given(cases())
def test_bilingual_cues_hold_both_and_nothing_twice(case: tuple[Result, str, SubtitleOptions]) -> None:
    result, code, options = case
    shown = cues(result, [code, str(result.language)], options)
    timing_is_sane(shown, result)
    both = "".join(segment.translations[code] + segment.transcript for segment in result.segments)
    assert sorted(PLAIN.sub("", "".join(cue.text for cue in shown))) == sorted(PLAIN.sub("", both))


@settings(max_examples=25)
@given(cases())
def test_another_library_reads_the_same_cues(case: tuple[Result, str, SubtitleOptions]) -> None:
    result, code, options = case
    shown = cues(result, [code], options)
    for name, writer in (("srt", to_srt), ("vtt", to_vtt)):
        read = pysubs2.SSAFile.from_string(writer(shown), name) if shown else []
        assert [(e.start, e.end, e.plaintext) for e in read] == [(c.start_ms, c.end_ms, c.text) for c in shown]


@settings(max_examples=80)
@given(st.text(max_size=80), st.sampled_from(sorted(LANGUAGES)), st.integers(1, 50))
def test_no_text_is_lost_between_words_and_lines(text: str, code: str, width: int) -> None:
    """Whatever Unicode holds; only white space is changed, and control characters go."""
    parts = words(text, code, width)
    kept = regex.sub(r"(?V1)[\p{Cc}--\s]", "", text)
    assert SPACE.sub("", " ".join(lines(parts, width))) == SPACE.sub("", kept)
    assert all((word.text and not word.text.isspace()) or word.text in "\u00a0\u2007\u202f" for word in parts)


def shown(code: str, *segments: tuple[float, float, str], **options: object) -> list[tuple[int, int, str]]:
    found = [Segment(start, end, code, text, {}, 0.0) for start, end, text in segments]
    made = cues(Result("a", (), found), [code], SubtitleOptions(**options))  # type: ignore[arg-type]
    return [(cue.start_ms, cue.end_ms, cue.text) for cue in made]


def test_a_long_segment_is_divided_after_sentences_and_clauses_two_frames_apart() -> None:
    text = (
        "When they reached the end of their journey, the driver asked them to pay their fares. Cow paid her fare, and"
        " Dog paid a bit extra, because he did not have the correct money."
    )
    found = shown("eng", (10.0, 20.0, text))
    assert [text for _, _, text in found] == [
        "When they reached the\nend of their journey,",
        "the driver asked them to pay their fares.",
        "Cow paid her fare,\nand Dog paid a bit extra,",
        "because he did not have the correct money.",
    ]
    assert (found[0][0], found[-1][1]) == (10_000, 20_000)
    assert {second[0] - first[1] for first, second in itertools.pairwise(found)} == {83}


def test_a_cue_that_cannot_be_read_in_time_stays_half_a_second_at_most_and_never_into_the_next() -> None:
    text = "This is a sentence of fifty characters, or nearly."  # 50 characters: 2.94 s at 17 a second
    assert shown("eng", (1.0, 3.6, text))[0][:2] == (1000, 3941)
    assert shown("eng", (1.0, 3.0, text))[0][:2] == (1000, 3500)
    assert shown("eng", (1.0, 3.0, text), (3.3, 5.0, "Yes."))[0][:2] == (1000, 3217)
    assert shown("eng", (1.0, 3.0, text), max_chars_per_second=30.0)[0][:2] == (1000, 3000)


def test_a_short_cue_stays_or_joins_its_neighbour() -> None:
    assert shown("eng", (1.0, 1.4, "Yes.")) == [(1000, 1833, "Yes.")]
    assert shown("eng", (1.0, 1.4, "Yes."), (1.5, 3.0, "I will."), (9, 10, "No.")) == [
        (1000, 3000, "Yes. I will."),
        (9000, 10000, "No."),
    ]
    assert shown("cmn", (1.0, 1.4, "是。"), (1.5, 3.0, "我会的。")) == [(1000, 3000, "是。我会的。")]
    full = "This sentence fills its two lines so well that there is no room for more."
    assert [text for *_, text in shown("eng", (1.0, 6.0, full), (6.0, 6.4, "Not at all, my friend."))] == [
        "This sentence fills its two lines so\nwell that there is no room for more.",
        "Not at all, my friend.",
    ]


def test_speech_of_half_a_minute_with_one_word_is_one_cue_of_seven_seconds() -> None:
    assert shown("eng", (0.0, 30.0, "Hello!")) == [(0, 7000, "Hello!")]


def test_lines_end_after_clauses_and_never_before_punctuation() -> None:
    def divided(text: str, code: str, width: int) -> list[str]:
        return lines(words(text, code, width), width)

    assert divided("Cow paid her fare, and Dog paid a bit extra, and so on.", "eng", 42) == [
        "Cow paid her fare,",
        "and Dog paid a bit extra, and so on.",
    ]
    assert divided("« Bonjour ! » dit-il : oui", "fra", 13) == ["« Bonjour ! »", "dit-il : oui"]
    assert divided("今日はとても良い天気です。散歩に行く。", "jpn", 26) == [
        "今日はとても良い天気です。",
        "散歩に行く。",
    ]
    assert divided("Dr. Who knows.", "eng", 10) == ["Dr. Who", "knows."]
    assert divided("你好，“世界”！（再见）我们走吧。", "cmn", 8) == ["你好，", "“世界”！", "（再见）", "我们", "走吧。"]
    assert divided("နွားတို့သည် သူငယ်ချင်းများဖြစ်သည်။", "mya", 6) == ["နွားတို့သည်", "သူငယ်", "ချင်းများ", "ဖြစ်သည်။"]


@pytest.mark.parametrize(
    ("text", "wide"), [("cafe\u0301", 4), ("你好！", 6), ("ผู้", 1), ("👨‍👩‍👧", 2), ("क्षत्रिय", 3), ("한국 a", 6)]
)
def test_width_is_counted_in_columns_of_what_is_seen(text: str, wide: int) -> None:
    assert columns(text) == wide


def test_a_line_from_right_to_left_says_so() -> None:
    assert shown("heb", (0, 2, "שלום, מה שלומך?")) == [(0, 2000, "\u202bשלום, מה שלומך?\u202c")]
    assert shown("ara", (0, 2, "NATO أعلنت ذلك.")) == [(0, 2000, "\u202bNATO أعلنت ذلك.\u202c")]
    assert shown("eng", (0, 2, "Shalom (שלום).")) == [(0, 2000, "Shalom (שלום).")]
    result = Result("a", ("heb",), [Segment(0, 2, "eng", "Hello.", {"heb": "שלום."}, 0.0)])
    assert [cue.text for cue in cues(result, ["heb", "eng"])] == ["\u202bשלום.\u202c\nHello."]


def test_bilingual_cues_say_the_same_as_near_as_words_allow() -> None:
    translation = "Tout le monde l'a rencontré hier, dit-il."
    segment = Segment(4.0, 8.0, "nld", "Iedereen heeft hem gisteren ontmoet, zegt hij.", {"fra": translation}, 0.0)
    result = Result("a", ("fra",), [segment])
    assert [cue.text for cue in cues(result, ["fra", "nld"], SubtitleOptions(28))] == [
        "Tout le monde l'a\nIedereen heeft hem",
        "rencontré hier, dit-il.\ngisteren ontmoet, zegt hij.",
    ]


def test_a_mixed_recording_has_what_is_said_and_each_target_whole() -> None:
    segments = [
        Segment(0, 4, "eng", "Good morning.", {"deu": "Guten Morgen.", "fra": "Bonjour."}, 0.0),
        Segment(5, 7, "deu", "Danke schön.", {"fra": "Merci."}, 0.0),
    ]
    result = Result("a", ("deu", "fra"), segments)
    found = {codes: [cue.text for cue in cues(result, codes)] for codes in (("eng",), ("deu",), ("fra", "eng"))}
    assert found == {
        ("eng",): ["Good morning.", "Danke schön."],
        ("deu",): ["Guten Morgen.", "Danke schön."],
        ("fra", "eng"): ["Bonjour.\nGood morning.", "Merci.\nDanke schön."],
    }


def test_control_characters_never_reach_a_player() -> None:
    assert shown("eng", (0, 2, "a\x00b\r\n\r\n2\n00:00 --> c\x0bd\u2028e"))[0][2] == "ab 2 00:00 --> c d e"


def test_twice_the_text_takes_twice_the_work() -> None:
    """However fast it is said to be spoken: a server makes subtitles of what anybody sends it. Work is counted in lines
    that are executed."""

    def work(times: int, seconds: float) -> int:
        text = "the quick brown fox jumps over a lazy dog " * times
        result, executed = Result("x", (), [Segment(0.0, seconds, "eng", text, {})]), 0

        def count(frame: FrameType, event: str, _: object) -> Any:
            nonlocal executed
            executed += event == "line"
            return count

        before = sys.gettrace()
        sys.settrace(count)
        try:
            assert cues(result, ("eng",))
        finally:
            sys.settrace(before)
        return executed

    for seconds in (2.0, 600.0):
        assert work(400, seconds) < 20 * work(50, seconds)  # eight times the text; it was 90 times the work

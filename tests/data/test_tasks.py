"""The task formats, letter by letter, and that whatever was built can be parsed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.data.tasks import TASKS, Item, Parsed, Tags, answer_parts, build, escape, unescape

ITEM = Item("eng", "deu", "Good morning.", "Guten Morgen.")
# Mostly what the format is made of.
HOSTILE = st.text(st.sampled_from(["<", "|", "\\", ">", "e", "é", "語", " ", "\n", "\u202e", "\0"]) | st.characters())
PIECES = st.lists(st.sampled_from(["<|eng|>", "<|deu|>", "<|eng|><|deu|>", "<\\|", "<|", "a"]) | HOSTILE).map("".join)


@pytest.mark.parametrize(
    ("task", "prompt", "answer", "parsed"),
    [
        ("asr", "<|eng|>", "Good morning.", Parsed("Good morning.", None)),
        ("smt", "Good morning.<|eng|><|deu|>", "Guten Morgen.", Parsed(None, "Guten Morgen.")),
        (
            "srt", "<|eng|><|deu|>", "Good morning.<|eng|><|deu|>Guten Morgen.",
            Parsed("Good morning.", "Guten Morgen."),
        ),
        ("st", "<|eng|><|deu|>", "Guten Morgen.", Parsed(None, "Guten Morgen.")),
        ("mt", "Good morning.<|eng|><|deu|>", "Guten Morgen.", Parsed(None, "Guten Morgen.")),
    ],
)  # fmt: skip
def test_the_formats_of_the_papers(task: str, prompt: str, answer: str, parsed: Parsed) -> None:
    assert build(task, ITEM, Tags()) == (prompt, answer)
    assert TASKS[task].parse(answer, ITEM, Tags()) == parsed


def test_a_checkpoint_may_have_other_tags() -> None:
    tags, item = Tags({"cmn": "zho"}), Item("cmn", "eng", "早", "Morning")
    assert build("srt", item, tags) == ("<|zho|><|eng|>", "早<|zho|><|eng|>Morning")
    assert TASKS["srt"].parse("早<|zho|><|eng|>Morning", item, tags) == Parsed("早", "Morning")
    assert TASKS["srt"].parse("早<|cmn|><|eng|>Morning", item, tags) == Parsed(None, None)


def test_a_tokenizer_may_write_a_space_between_two_tags() -> None:
    item = Item("eng", "quy", "Hello.", "Rimaykullayki.")
    output = TASKS["srt"].answer(item, Tags()).replace("|><|", "|> <|")
    assert TASKS["srt"].parse(output, item, Tags()) == Parsed("Hello.", "Rimaykullayki.")


def test_an_output_that_breaks_the_format_says_nothing() -> None:
    for output in ("", "Good morning.", "a<|eng|><|fra|>b", "a<|eng|><|deu|>b<|eng|><|deu|>c"):
        assert TASKS["srt"].parse(output, ITEM, Tags()) == Parsed(None, None)


@pytest.mark.parametrize(("text", "escaped"), [("<|", r"<\|"), (r"<\|", r"<\\|"), ("< |", "< |"), (r"\<", r"\<")])
def test_escapes(text: str, escaped: str) -> None:
    assert escape(text) == escaped and unescape(escaped) == text


@pytest.mark.parametrize("task", TASKS)
@given(transcript=PIECES, translation=PIECES)
@example("", "")
@example("a<|eng|><|deu|>b", "<|eng|><|deu|>")
@example("<", "|eng|><|deu|>")
@example("<\\", "\\|")
def test_whatever_is_built_is_parsed(task: str, transcript: str, translation: str) -> None:
    item = Item("eng", "deu", transcript, translation)
    prompt, answer = build(task, item, Tags())
    parsed = TASKS[task].parse(answer, item, Tags())
    assert parsed.transcript in (transcript, None) and parsed.translation in (translation, None)
    assert parsed != Parsed(None, None)
    assert prompt.endswith(Tags()("eng")) or prompt.endswith(Tags()("eng", "deu"))
    assert build(task, item, Tags()) == (prompt, answer)
    if task in ("asr", "srt"):
        assert parsed.transcript == transcript
    if task != "asr":
        assert parsed.translation == translation


def test_the_parts_of_an_answer_are_the_answer_cut_behind_the_tags() -> None:
    """Decoding writes each translation behind a prefix that ends with the tags."""
    quoted = Item("spa", "deu", "¿Qué?", '"Was?"')
    assert answer_parts("srt", quoted, Tags()) == ("¿Qué?<|spa|><|deu|>", '"Was?"')
    for task in TASKS:
        assert "".join(answer_parts(task, quoted, Tags())) == build(task, quoted, Tags())[1]

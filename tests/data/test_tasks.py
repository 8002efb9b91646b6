"""The task formats, letter by letter, and that whatever was built can be parsed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.data.tasks import TASKS, LanguageTags, ParsedOutput, TaskItem, answer_parts, build, escape, unescape

ITEM = TaskItem("eng", "deu", "Good morning.", "Guten Morgen.")
# Mostly what the format is made of.
HOSTILE = st.text(st.sampled_from(["<", "|", "\\", ">", "e", "é", "語", " ", "\n", "\u202e", "\0"]) | st.characters())
PIECES = st.lists(st.sampled_from(["<|eng|>", "<|deu|>", "<|eng|><|deu|>", "<\\|", "<|", "a"]) | HOSTILE).map("".join)


@pytest.mark.parametrize(
    ("task", "prompt", "answer", "parsed"),
    [
        ("asr", "<|eng|>", "Good morning.", ParsedOutput("Good morning.", None)),
        ("smt", "Good morning.<|eng|><|deu|>", "Guten Morgen.", ParsedOutput(None, "Guten Morgen.")),
        (
            "srt", "<|eng|><|deu|>", "Good morning.<|eng|><|deu|>Guten Morgen.",
            ParsedOutput("Good morning.", "Guten Morgen."),
        ),
        ("st", "<|eng|><|deu|>", "Guten Morgen.", ParsedOutput(None, "Guten Morgen.")),
        ("mt", "Good morning.<|eng|><|deu|>", "Guten Morgen.", ParsedOutput(None, "Guten Morgen.")),
    ],
)  # fmt: skip
def test_the_formats_of_the_papers(task: str, prompt: str, answer: str, parsed: ParsedOutput) -> None:
    assert build(task, ITEM, LanguageTags()) == (prompt, answer)
    assert TASKS[task].parse(answer, ITEM, LanguageTags()) == parsed


def test_a_checkpoint_may_have_other_tags() -> None:
    tags, item = LanguageTags({"cmn": "zho"}), TaskItem("cmn", "eng", "早", "Morning")
    assert build("srt", item, tags) == ("<|zho|><|eng|>", "早<|zho|><|eng|>Morning")
    assert TASKS["srt"].parse("早<|zho|><|eng|>Morning", item, tags) == ParsedOutput("早", "Morning")
    assert TASKS["srt"].parse("早<|cmn|><|eng|>Morning", item, tags) == ParsedOutput(None, None)


def test_a_tokenizer_may_write_a_space_between_two_tags() -> None:
    item = TaskItem("eng", "quy", "Hello.", "Rimaykullayki.")
    output = TASKS["srt"].answer(item, LanguageTags()).replace("|><|", "|> <|")
    assert TASKS["srt"].parse(output, item, LanguageTags()) == ParsedOutput("Hello.", "Rimaykullayki.")


def test_an_output_that_breaks_the_format_says_nothing() -> None:
    for output in ("", "Good morning.", "a<|eng|><|fra|>b", "a<|eng|><|deu|>b<|eng|><|deu|>c"):
        assert TASKS["srt"].parse(output, ITEM, LanguageTags()) == ParsedOutput(None, None)


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
    item = TaskItem("eng", "deu", transcript, translation)
    prompt, answer = build(task, item, LanguageTags())
    parsed = TASKS[task].parse(answer, item, LanguageTags())
    assert parsed.transcript in (transcript, None) and parsed.translation in (translation, None)
    assert parsed != ParsedOutput(None, None)
    assert prompt.endswith(LanguageTags()("eng")) or prompt.endswith(LanguageTags()("eng", "deu"))
    assert build(task, item, LanguageTags()) == (prompt, answer)
    if task in ("asr", "srt"):
        assert parsed.transcript == transcript
    if task != "asr":
        assert parsed.translation == translation


def test_the_parts_of_an_answer_are_the_answer_cut_behind_the_tags() -> None:
    """Decoding writes each translation behind a prefix that ends with the tags."""
    quoted = TaskItem("spa", "deu", "¿Qué?", '"Was?"')
    assert answer_parts("srt", quoted, LanguageTags()) == ("¿Qué?<|spa|><|deu|>", '"Was?"')
    for task in TASKS:
        assert "".join(answer_parts(task, quoted, LanguageTags())) == build(task, quoted, LanguageTags())[1]

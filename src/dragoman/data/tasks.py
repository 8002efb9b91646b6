"""What is asked of the model and what it answers, as text: transcribe, translate with the transcript at hand, hear and
write both, translate directly, translate text alone. The same module serves training, decoding and serving.

The formats are the papers' (LLM-SRT section 3, MCAT section III): tags are plain text, `<|deu|>`. A text that holds
something like a tag itself is escaped (`<|` -> `<\\|`), so that whatever was built can be parsed. A recipe may ask
in words instead (LLaST); what is answered is the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dragoman.recipe import PromptConfig
from dragoman.text.languages import LANGUAGES

_TAG_LIKE = re.compile(r"<(\\*)\|")
_TAG = re.compile(r"<\|[^|<>]*\|>")
_ESCAPED = re.compile(r"<\\(\\*)\|")


@dataclass(frozen=True)
class LanguageTags:
    """The tag of each language; `renamed` holds those a checkpoint was trained with under another code, `worded` the
    prompts of tasks that are asked in words."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    worded: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_prompt(cls, prompt: PromptConfig) -> LanguageTags:
        return cls(prompt.tags, {str(task): text for task, text in prompt.worded.items()})

    def __call__(self, *codes: str) -> str:
        return "".join(f"<|{self.renamed.get(code, code)}|>" for code in codes)

    def parted(self, output: str, *codes: str) -> list[str]:
        """An output, parted at these tags; between two that are no tokens of its own a tokenizer may write a space."""
        return re.split(r"\s*".join(re.escape(self(code)) for code in codes), output)

    def in_words(self, task: str, item: TaskItem) -> str | None:
        """The prompt of a task in words, if there is one."""
        if task not in self.worded:
            return None
        source, target = LANGUAGES[item.source].name, LANGUAGES[item.target].name
        return self.worded[task].format(source=source, target=target, transcript=escape(item.transcript))


@dataclass(frozen=True)
class TaskItem:
    """One thing to say to the model: speech in `source` with its transcript, and a translation into `target`."""

    source: str
    target: str
    transcript: str = ""
    translation: str = ""


@dataclass(frozen=True)
class ParsedOutput:
    """What a task's output says; None where the task does not say it, or the output does not keep the format."""

    transcript: str | None
    translation: str | None


class Task(Protocol):
    """`build` gives prompt and answer, which are tokenised apart; `parse` reads an answer back."""

    def prompt(self, item: TaskItem, tags: LanguageTags) -> str: ...

    def answer(self, item: TaskItem, tags: LanguageTags) -> str: ...

    def parse(self, output: str, item: TaskItem, tags: LanguageTags) -> ParsedOutput: ...


class Asr:
    """`<|eng|>` -> transcript."""

    def prompt(self, item: TaskItem, tags: LanguageTags) -> str:
        return tags.in_words("asr", item) or tags(item.source)

    def answer(self, item: TaskItem, tags: LanguageTags) -> str:
        return escape(item.transcript)

    def parse(self, output: str, item: TaskItem, tags: LanguageTags) -> ParsedOutput:
        return ParsedOutput(said(output), None)


class Smt:
    """`transcript<|eng|><|deu|>` -> translation, with the speech still at hand."""

    def prompt(self, item: TaskItem, tags: LanguageTags) -> str:
        return tags.in_words("smt", item) or escape(item.transcript) + tags(item.source, item.target)

    def answer(self, item: TaskItem, tags: LanguageTags) -> str:
        return escape(item.translation)

    def parse(self, output: str, item: TaskItem, tags: LanguageTags) -> ParsedOutput:
        return ParsedOutput(None, said(output))


class Srt:
    """`<|eng|><|deu|>` -> `transcript<|eng|><|deu|>translation`."""

    def prompt(self, item: TaskItem, tags: LanguageTags) -> str:
        return tags.in_words("srt", item) or tags(item.source, item.target)

    def answer(self, item: TaskItem, tags: LanguageTags) -> str:
        return escape(item.transcript) + tags(item.source, item.target) + escape(item.translation)

    def parse(self, output: str, item: TaskItem, tags: LanguageTags) -> ParsedOutput:
        parts = tags.parted(output, item.source, item.target)
        if len(parts) != 2:
            return ParsedOutput(None, None)
        return ParsedOutput(said(parts[0]), said(parts[1]))


class St:
    """`<|eng|><|deu|>` -> translation: the papers' baselines, without a transcript."""

    def prompt(self, item: TaskItem, tags: LanguageTags) -> str:
        return tags.in_words("st", item) or tags(item.source, item.target)

    def answer(self, item: TaskItem, tags: LanguageTags) -> str:
        return escape(item.translation)

    def parse(self, output: str, item: TaskItem, tags: LanguageTags) -> ParsedOutput:
        return ParsedOutput(None, said(output))


class Mt(Smt):
    """As SMT, without the speech: for an LLM that does not know a language yet."""

    def prompt(self, item: TaskItem, tags: LanguageTags) -> str:
        return tags.in_words("mt", item) or super().prompt(item, tags)


TASKS: dict[str, Task] = {"asr": Asr(), "smt": Smt(), "srt": Srt(), "st": St(), "mt": Mt()}


def build(task: str, item: TaskItem, tags: LanguageTags) -> tuple[str, str]:
    """Prompt and answer of a task."""
    return TASKS[task].prompt(item, tags), TASKS[task].answer(item, tags)


def answer_parts(task: str, item: TaskItem, tags: LanguageTags) -> tuple[str, ...]:
    """The answer of a task in parts that are tokenised apart, as decoding writes them: each target goes on behind the
    tags of SRT, where byte pairs of a joint text may go over the border (`|>"`)."""
    if task != "srt":
        return (TASKS[task].answer(item, tags),)
    return escape(item.transcript) + tags(item.source, item.target), escape(item.translation)


def escape(text: str) -> str:
    """Make a text hold nothing that looks like a tag: one backslash more after `<` before `|`."""
    return _TAG_LIKE.sub(r"<\\\1|", text)


def unescape(text: str) -> str:
    """The opposite of `escape`."""
    return _ESCAPED.sub(r"<\1|", text)


def said(output: str) -> str:
    """A piece of a model's output as text: tags that a task did not ask for are no text."""
    return unescape(_TAG.sub("", output))

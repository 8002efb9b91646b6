"""Phrases by hand, on tokens that are characters, and on the tokenizer of the built-in model's kind."""

from __future__ import annotations

import pytest
from toy import tokenizer

from dragoman.inference.decoding.phrases import Phrases, occurs


def characters(text: str) -> list[int]:
    return list(map(ord, text))


@pytest.mark.parametrize(
    ("written", "following"),
    [
        ("", "RTt"),  # any phrase, or one in lower case as a sentence begins
        ("T", "ao"),
        ("Tom", " "),  # on to Tom Sawyer
        ("Tomb", " "),
        ("ein", " "),
        ("ein t", "a"),
        ("ein Ro", "m"),
        ("ein XRo", " "),  # within a word no phrase begins
        ("Rom", " "),
        ("tag Tom Sawyer Rom", ""),  # all are written
        ("tag", " "),
    ],
)
def test_what_goes_on_with_a_phrase(written: str, following: str) -> None:
    phrases = Phrases(["Tom Sawyer", "tag", "Rom"], "deu", characters)
    assert "".join(map(chr, phrases.next(characters(written)))) == following


def test_a_phrase_at_its_place_begins_there_and_nowhere_else() -> None:
    phrases = Phrases(["Rom"], "deu", characters)
    for text, following in (("in", ""), ("in ", ""), ("in d", " "), ("in d Ro", "m"), ("in d Rom", "")):
        assert phrases.next(characters(text), at=4) == characters(following)


def test_without_spaces_a_phrase_begins_anywhere() -> None:
    phrases = Phrases(["东京"], "cmn", characters)
    for text, following in (("", "东"), ("我在", "东"), ("我在东", "京"), ("东京在", "")):
        assert phrases.next(characters(text)) == characters(following)


def test_the_tokens_of_a_phrase_are_those_it_has_in_a_text() -> None:
    made = tokenizer()

    def plain(text: str) -> list[int]:
        return made(text, add_special_tokens=False).input_ids

    phrases, before, whole = Phrases(["Katze"], "deu", plain), plain("die"), plain("die Katze")
    for length in range(len(before), len(whole)):
        assert phrases.next(whole[:length]) == [whole[length]]
    assert phrases.next(plain("die Katze schläft")) == []


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("cat", "The CAT sleeps.", True),
        ("cat", "A category.", False),
        ("cat", "the wildcat", False),
        ("chat", "l'chat", True),
        ("New York", "in new\nyork?", True),
        ("कल", "कला", False),  # a vowel sign goes on with the word
        ("कल", "वह कल आया", True),
        ("京", "东京", True),
        ("GPU", "我用GPU吗", True),
        ("GPU", "我用GPUX吗", False),
        ("é", "e\u0301", True),
        ("Straße", "STRASSE", True),
    ],
)
def test_where_a_phrase_occurs(phrase: str, text: str, found: bool) -> None:
    assert occurs(phrase, text) == found


@pytest.mark.parametrize(
    ("phrase", "text", "code", "found"),
    [
        ("猫", "Die Kat猫ze schläft", "deu", False),
        ("猫", "Die 猫ze schläft", "deu", False),
        ("猫", "Die 猫, die schläft", "deu", True),
        ("猫", "猫", "deu", True),
        ("แมว", "Die Katแมวze schläft", "deu", False),
        ("猫", "Die 黑猫 schläft", "deu", False),
        ("GPU", "我用GPU吗", "cmn", True),
        ("猫", "黑猫在睡觉", "cmn", True),
        ("猫", "猫が寝ている", "jpn", True),
        ("猫", "黑猫在睡觉", "eng", True),  # told as English, written in Chinese
    ],
)
def test_a_sign_stands_by_itself_where_words_do(phrase: str, text: str, code: str, found: bool) -> None:
    assert occurs(phrase, text, code) == found


def test_a_sign_begins_no_place_within_a_word_of_spaced_letters() -> None:
    phrases = Phrases(["猫"], "deu", characters)
    for text, following in (("Kat", " "), ("Kat ", "猫"), ("Kat 猫", ""), ("", "猫")):
        assert phrases.next(characters(text)) == characters(following)

"""Glossaries as people write them, and the one sentence for those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.errors import DataError
from dragoman.inference.decoding.glossary import Glossary, Term


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "terms.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "term,translation,source,target\ncat,Kater,en,German\nTom,Tom,,\n",
        "\ufeffTerm;Translation;Target;Source\r\ncat;Kater;deu;eng\r\n\r\nTom;Tom;;\r\n",
        "target\tterm\ttranslation\tsource\ndeu\t cat \tKater\teng\n\tTom\tTom\t\n",
    ],
)
def test_it_is_read_however_it_was_saved(text: str, tmp_path: Path) -> None:
    found = Glossary.read(written(tmp_path, text))
    assert found.terms == (Term("cat", "Kater", "eng", "deu"), Term("Tom", "Tom"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cat,Kater\n", "the first line must name the columns: term,translation"),
        ("term,translation,note\ncat,Kater,x\n", "the first line must name the columns"),
        ("", "the first line must name the columns"),
        ("term,translation\n", "holds no term"),
        ("term,translation\ncat,\n", "line 2: has no translation"),
        ("term,translation\ncat,Kater\n,Hund\n", "line 3: has no term"),
        (
            "term,translation\ncat,Kater, der\n",
            "line 2: has more cells than columns; put a",
        ),
        ("term,translation,target\ncat,Kater,Germn\n", "line 2: Unknown language 'Germn'"),
        ("term,translation\ncat,Kater\ncat,Katze\n", "line 3: 'cat' has another translation further up"),
        (b"term,translation\nk\xe4se,cheese\n", "is not UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: str | bytes, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=r"terms\.csv") as error:
        Glossary.read(path)
    assert says in str(error.value)
    with pytest.raises(DataError, match="No such file"):
        Glossary.read(tmp_path / "none.csv")


def test_the_longest_and_the_most_particular_term_counts() -> None:
    glossary = Glossary(
        (
            Term("bank", "Bank"),
            Term("river bank", "Ufer", "eng", "deu"),
            Term("bank", "Geldhaus", None, "deu"),
            Term("bank", "banque", "eng", "fra"),
            Term("Bank", "Sitzbank", "deu", None),
        )
    )
    assert glossary.terms_for("eng", "deu", "On the River Bank.") == ("Ufer",)
    assert glossary.terms_for("eng", "deu", "The bank on the river bank.") == ("Ufer", "Geldhaus")
    assert glossary.terms_for("eng", "fra", "On the river bank, the bank") == ("banque",)
    assert glossary.terms_for("eng", "nld", "Banks.") == ()
    assert glossary.terms_for("deu", "eng", "Die Bank.") == ("Sitzbank",)

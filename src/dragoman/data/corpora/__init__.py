"""One corpus, one file; `CORPORA` names them all."""

from __future__ import annotations

from dragoman.data.corpora import common_voice, covost2, fleurs, joined, sentences, table, tatoeba, voices
from dragoman.data.corpora.parts import Corpus

CORPORA: dict[str, Corpus] = {
    "fleurs": fleurs.CORPUS,
    "covost2": covost2.CORPUS,
    "common_voice": common_voice.CORPUS,
    "tatoeba": tatoeba.CORPUS,
    "voices": voices.CORPUS,
    "sentences": sentences.CORPUS,
    "table": table.CORPUS,
    "joined": joined.CORPUS,
}
"""By the name of the verb `dragoman prepare <name>`."""

"""Every language of ISO 639-3: codes, names, scoring rules, and the published sets.

The key everywhere in Dragoman is the ISO 639-3 code. Of the 102 of FLEURS the table knows more than a name, and their
keys are the codes that FLEURS and MCAT use: where ISO offers a macrolanguage and the member that is meant by it
(`zho`/`cmn`, `nor`/`nob`, `mon`/`khk`), the other one is an alias. People may also type a name or a 639-1 code; `find`
and `expand` turn that into codes once, at the edge.

table    Language, LANGUAGES
sets     SETS of languages, FAMILIES
names    find, expand, and what a model knows of what is asked
"""

from dragoman.text.languages.names import asked_targets, expand, find, known_source, known_targets
from dragoman.text.languages.sets import FAMILIES, SETS
from dragoman.text.languages.table import LANGUAGES, Language, is_code

__all__ = [
    "FAMILIES",
    "LANGUAGES",
    "SETS",
    "Language",
    "asked_targets",
    "expand",
    "find",
    "is_code",
    "known_source",
    "known_targets",
]

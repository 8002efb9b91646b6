"""Translators of text: the second half of a cascade."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar, Self

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from dragoman.errors import ModelError
from dragoman.inference.decoding.decoder import Translation
from dragoman.systems.pretrained import CheckpointSpec, PretrainedModel
from dragoman.text.languages import LANGUAGES, is_code


class MachineTranslator(ABC):
    """(text, language) of each -> the texts in another."""

    name: ClassVar[str]
    checkpoint: ClassVar[CheckpointSpec]

    def __init__(self, part: PretrainedModel) -> None:
        self.part = part

    @classmethod
    def from_pretrained(
        cls,
        name: str | None = None,
        *,
        device: str | None = None,
        compute_type: str = "auto",
        beam_size: int | None = None,
    ) -> Self:
        """As a System's."""
        return cls(cls.checkpoint.load(name, device, compute_type, beam_size))

    @property
    @abstractmethod
    def languages(self) -> Collection[str]:
        """Those it reads and writes, ISO 639-3."""

    @abstractmethod
    def translate(self, texts: Sequence[tuple[str, str]], target: str) -> list[Translation]:
        """The texts in `target`, which none of them is in."""


# FLORES-200's names (NLLB Team 2022, arXiv 2207.04672, table 1), in which NLLB takes source and target.
_FLORES = {
    code: f"{code}_{script}"
    for script, codes in {
        "Latn": "afr ast azj bos cat ceb ces cym dan deu eng est fin fra gle glg hau hrv hun ibo ind isl ita jav kam "
        "kea lin lit ltz lug luo mlt mri nld nob nso nya oci pol por ron slk slv sna som spa swe swh tgl tur umb vie "
        "wol xho yor zul",
        "Cyrl": "bel bul kaz kir mkd rus srp tgk ukr",
        "Beng": "asm ben",
        "Deva": "hin mar npi",
        "Arab": "ckb snd urd",
    }.items()
    for code in codes.split()
} | {
    "amh": "amh_Ethi", "ara": "arb_Arab", "cmn": "zho_Hans", "ell": "ell_Grek", "fas": "pes_Arab", "ful": "fuv_Latn",
    "guj": "guj_Gujr", "heb": "heb_Hebr", "hye": "hye_Armn", "jpn": "jpn_Jpan", "kan": "kan_Knda", "kat": "kat_Geor",
    "khm": "khm_Khmr", "kor": "kor_Hang", "lao": "lao_Laoo", "lav": "lvs_Latn", "mal": "mal_Mlym", "mon": "khk_Cyrl",
    "msa": "zsm_Latn", "mya": "mya_Mymr", "orm": "gaz_Latn", "ory": "ory_Orya", "pan": "pan_Guru", "pus": "pbt_Arab",
    "tam": "tam_Taml", "tel": "tel_Telu", "tha": "tha_Thai", "uzb": "uzn_Latn", "yue": "yue_Hant",
}  # fmt: skip
_FLORES_NAME = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


def _beyond(known: Iterable[str]) -> dict[str, str]:
    """NLLB's further languages, where it writes them in one script alone."""
    scripts: dict[str, list[str]] = defaultdict(list)
    for name in filter(_FLORES_NAME.fullmatch, set(known) - set(_FLORES.values())):
        scripts[name[:3]].append(name)
    return {code: names[0] for code, names in scripts.items() if len(names) == 1 and is_code(code)}


class Nllb(MachineTranslator):
    """NLLB-200, given the source before the text and the target as its first token. Beam 4, as in its paper."""

    name = "nllb"
    checkpoint = CheckpointSpec(AutoModelForSeq2SeqLM, "facebook/nllb-200-3.3B", beams=4, processor=AutoTokenizer)

    def __init__(self, part: PretrainedModel) -> None:
        super().__init__(part)
        known = part.processor.get_vocab()
        self._codes = dict(sorted((code, own) for code, own in (_beyond(known) | _FLORES).items() if own in known))

    @property
    def languages(self) -> list[str]:
        return list(self._codes)

    def translate(self, texts: Sequence[tuple[str, str]], target: str) -> list[Translation]:
        tokenizer = self.part.processor
        rows = []
        for text, source in texts:
            tokenizer.src_lang = self._codes[source]
            rows.append(tokenizer(text))
        inputs = tokenizer.pad(rows, padding_side="right", return_tensors="pt")
        first = tokenizer.convert_tokens_to_ids(self._codes[target])
        found = self.part.generate(inputs, forced_bos_token_id=first)
        return self.part.texts(found[:, 2:].tolist())  # after start and language


class ChatTranslator(MachineTranslator):
    """Any LLM with a chat template, asked in words. Greedy.

    The words are TowerInstruct's (its card, Unbabel/TowerInstruct-7B-v0.2); LLM-SRT does not tell its own.
    """

    name = "chat"
    checkpoint = CheckpointSpec(AutoModelForCausalLM, "Qwen/Qwen2.5-7B-Instruct", processor=AutoTokenizer)

    def __init__(self, part: PretrainedModel) -> None:
        super().__init__(part)
        if not part.processor.chat_template:
            raise ModelError(f"{part.name}: its tokenizer has no chat template; name a model that was trained to chat.")

    @property
    def languages(self) -> Collection[str]:
        """All: what it really knows, it does not tell."""
        return LANGUAGES

    def translate(self, texts: Sequence[tuple[str, str]], target: str) -> list[Translation]:
        tokenizer = self.part.processor
        chats = [[{"role": "user", "content": _asked(text, source, target)}] for text, source in texts]
        prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
        inputs = tokenizer(prompts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
        found = self.part.generate(inputs)
        return self.part.texts(found[:, inputs.input_ids.shape[1] :].tolist())


def _asked(text: str, source: str, target: str) -> str:
    spoken, wanted = LANGUAGES[source].name, LANGUAGES[target].name
    return f"Translate the following text from {spoken} into {wanted}.\n{spoken}: {text}\n{wanted}:"

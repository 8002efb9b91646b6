"""The recipes of small_studies.py, each made from the one that a run of `small` was trained by: what is asked is
changed and all else stays.

Every row trains for as many steps as the others of its study, from the finished stages of that run: `text` (the LLM can
translate, the adapter is fresh) or `align-long` (the adapter spells what it hears).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dragoman.errors import RecipeError
from dragoman.recipe import (
    DataSource,
    QFormerConfig,
    Recipe,
    StackedConfig,
    Stage,
    parse_recipe,
)

TEXT, ALIGNED = "text", "align-long"
"""Stages of the run that rows begin with."""
SHORT = "align"
"""The stage whose settings a CTC start has."""
PEOPLE = "human"
"""What the names of manifests of people's speech begin with."""
ENCODER_LORA = {"rank": 16, "alpha": 32, "targets": "all-linear"}
Q_FORMER = QFormerConfig(
    kind="q-former", queries=80, layers=2, hidden=512, heads=8, feed_forward=2048, cross_every=1, mlp_hidden=1536
)
"""The papers' at about the size of the stacked adapter; theirs has 8 layers of 768."""
HOURS = (1.0, 3.0, 6.0)


@dataclass(frozen=True)
class Budget:
    """Steps through the LLM and of CTC alone, for every row, and what is drawn by."""

    steps: int
    ctc_steps: int
    seed: int


@dataclass(frozen=True)
class StudyRow:
    """One training run: what is said of it, what the papers report of theirs, and how its recipe differs."""

    name: str
    says: str
    published: str
    begins_with: str
    stages: tuple[Stage, ...]
    adapter: QFormerConfig | StackedConfig | None = None
    """A fresh one, in the place of that which it begins with."""
    encoder_lora: bool = False
    joint_decoding: bool = True
    """Whether CTC has its say in transcripts, where a stage taught it."""


@dataclass(frozen=True)
class Study:
    """A question. `published` heads the papers' column; the first row is what the others are held against."""

    title: str
    published: str
    rows: Callable[[Recipe, Budget], list[StudyRow]]


def overlay(base: Recipe, study: str, row: StudyRow, init_from: str) -> Recipe:
    """The recipe of a row. Raises RecipeError where it is none."""
    table = base.model_dump(mode="json")
    taught = row.joint_decoding and any(stage.ctc_weight for stage in row.stages)
    decoding = {**table["decoding"], "transcript_by": "adapter", "translate_from": "speech"}
    table |= {
        "name": f"small-{study}-{row.name}",
        "about": f"A short run to compare with others: {row.says}.",
        "init_from": init_from,
        "stages": [stage.model_dump(mode="json") for stage in row.stages],
        "decoding": decoding if taught else {**decoding, "ctc_weight": 0.0},
    }
    if row.adapter is not None:
        table["adapter"] = row.adapter.model_dump(mode="json")
    if row.encoder_lora:
        table["encoder"]["lora"] = ENCODER_LORA
    return parse_recipe(table, f"{study}, {row.name}")


def curriculum(base: Recipe, budget: Budget) -> list[StudyRow]:
    """One task a stage, all stages on the same rows, which have transcripts and translations."""

    def taught(*tasks: str, ctc: bool = True) -> tuple[Stage, ...]:
        steps = [
            budget.steps * n // len(tasks) - budget.steps * (n - 1) // len(tasks) for n in range(1, len(tasks) + 1)
        ]
        stages = zip(tasks, steps, strict=True)
        over = {} if ctc else {"ctc_weight": 0.0, "ctc_sampled": None}
        return tuple(
            _stage(
                _mix(base),
                task,
                part,
                budget.seed + 10 * number,
                tasks={task: 1.0},
                data=_translated(_mix(base)),
                **over,
            )
            for number, (task, part) in enumerate(stages)
        )

    direct = "then translation without a transcript"
    aligned = [
        ("full", "asr, smt, srt", "31.0; 39.1", ("asr", "smt", "srt")),
        ("without-smt", "asr, srt", "-; 38.0", ("asr", "srt")),
        ("without-asr", "smt, srt", "0.0; 36.8", ("smt", "srt")),
        ("srt-alone", "srt alone", "", ("srt",)),
        ("without-smt-srt", f"asr, {direct}", "14.1; -", ("asr", "st")),
        ("without-srt", f"asr, smt, {direct}", "-; 34.2", ("asr", "smt", "st")),
    ]
    unaligned = [("full", "31.0; 39.1", ("asr", "smt", "srt")), ("without-asr", "0.0; 36.8", ("smt", "srt"))]
    return [
        *(StudyRow(name, says, published, ALIGNED, taught(*tasks)) for name, says, published, tasks in aligned),
        *(
            StudyRow(f"{name}-unaligned", f"{', '.join(tasks)}, no CTC", published, TEXT, taught(*tasks, ctc=False))
            for name, published, tasks in unaligned
        ),
    ]


def lora(base: Recipe, budget: Budget) -> list[StudyRow]:
    """Which weights learn beside the adapter. Where the LLM's do not, texts would teach nothing and are left out, with
    their share of the steps: each row hears as much."""
    mix = _mix(base)
    heard = sum(source.weight or 0 for source in _speech(mix)) / sum(source.weight or 0 for source in mix.data)

    def row(name: str, says: str, bleu: str, *trains: str) -> StudyRow:
        learns = "llm_lora" in trains
        steps = budget.steps if learns else round(heard * budget.steps)
        data = mix.data if learns else _speech(mix)
        stage = _stage(mix, "mix", steps, budget.seed, data=data, trains=["adapter", *trains])
        return StudyRow(name, says, bleu, ALIGNED, (stage,), encoder_lora="encoder_lora" in trains)

    return [
        row("adapter-only", "adapter", "40.5"),
        row("s-lora", "adapter, S-LoRA (in the encoder)", "41.3", "encoder_lora"),
        row("l-lora", "adapter, L-LoRA (in the LLM)", "43.6", "llm_lora"),
        row("both", "adapter, both", "44.1", "llm_lora", "encoder_lora"),
    ]


def adapters(base: Recipe, budget: Budget) -> list[StudyRow]:
    """Each adapter from nothing, with a CTC start and without; CTC has no part in what follows."""
    mix = _stage(_mix(base), "mix", budget.steps, budget.seed, ctc_weight=0.0, ctc_sampled=None)
    start = _stage(_named(base, SHORT), "ctc", budget.ctc_steps, budget.seed + 10)
    pooled = Q_FORMER.model_copy(update={"queries": 150, "pool": 5})
    kinds: list[tuple[str, str, str, QFormerConfig | StackedConfig]] = [
        ("q-former-80", "Q-Former, 80 queries", "LLM-SRT", Q_FORMER),
        ("q-former-150", "Q-Former, 150 queries, mean of 5: 30", "MCAT", pooled),
    ]
    if isinstance(base.adapter, StackedConfig):
        kinds.insert(0, ("stacked", f"{base.adapter.stack} frames stacked", "", base.adapter))
    return [
        StudyRow(f"{name}{suffix}", f"{says}, {how}", whose, TEXT, stages, adapter=kind, joint_decoding=False)
        for name, says, whose, kind in kinds
        for suffix, how, stages in (("", "with a CTC start", (start, mix)), ("-unaligned", "without", (mix,)))
    ]


def hours(base: Recipe, budget: Budget) -> list[StudyRow]:
    """How much people's speech is heard, of the alignment on; texts have the same share of the steps throughout."""
    mix, short = _mix(base), _named(base, SHORT)
    spoken = [source for source in _translated(mix) if mix.uses_speech(source)]
    people = next((source for source in spoken if _is_people(source)), None)
    if people is None:
        raise RecipeError(f"The stage {mix.name!r} of {base.name!r} has no translated speech of people ({PEOPLE}…).")
    synthetic = [source for source in spoken if source is not people]
    texts = [source for source in mix.data if not mix.uses_speech(source)]
    whole = sum(source.weight or 0 for source in spoken)

    def row(name: str, says: str, published: str, speech: Sequence[DataSource]) -> StudyRow:
        brief = [source.model_copy(update={"max_duration_s": short.data[0].max_duration_s}) for source in speech]
        align = _stage(short, "ctc", budget.ctc_steps, budget.seed + 10, data=brief)
        return StudyRow(
            name, says, published, TEXT, (align, _stage(mix, "mix", budget.steps, budget.seed, data=[*speech, *texts]))
        )

    def at_most(most: float, weight: float) -> DataSource:
        return people.model_copy(update={"max_hours": most, "weight": weight})

    published = dict.fromkeys(HOURS, "") | {HOURS[-1]: "81.7 (7.5 h)"}
    rows = [row(f"{most:g}-h", f"people, {most:g} h", published[most], [at_most(most, whole)]) for most in HOURS[::-1]]
    mixed = [at_most(HOURS[-1], people.weight or 0), *synthetic]
    return [*rows, row("synthetic", f"people, {HOURS[-1]:g} h, and synthetic voices", "", mixed)]


STUDIES: dict[str, Study] = {
    "curriculum": Study(
        "The curriculum: one task a stage.",
        "MCAT, Table IX (spBLEU, English into 11); LLM-SRT, Table 8 (BLEU, English into 3)",
        curriculum,
    ),
    "lora": Study(
        "Where LoRA is. The LLM's of the stage `text` is there in every row; what is named learns.",
        "LLaST, Table 5 (BLEU, French into English)",
        lora,
    ),
    "adapters": Study("Adapters, each from nothing.", "whose", adapters),
    "hours": Study("Hours of people's speech.", "MCAT, Table X (COMET; 85.6 with 429.6 h)", hours),
}


def _stage(like: Stage, name: str, steps: int, seed: int, **over: object) -> Stage:
    """A stage as `like`, so long, its rate rising for a tenth of that."""
    timing = {"steps": steps, "epochs": None, "seed": seed, "warmup_steps": max(1, steps // 10)}
    schedule = like.schedule.model_copy(update=timing)
    return like.model_copy(update={"name": name, "schedule": schedule, **over})


def _mix(base: Recipe) -> Stage:
    """The last stage that teaches transcripts with translations, of people's speech too where one does; the rows have
    its data."""
    found = [stage for stage in base.stages if "srt" in stage.tasks]
    if not found:
        raise RecipeError(f"The recipe {base.name!r} has no stage of srt, whose data the short runs could have.")
    return [*found, *(stage for stage in found if any(_is_people(source) for source in _translated(stage)))][-1]


def _named(base: Recipe, name: str) -> Stage:
    return next(stage for stage in base.stages if stage.name == name)


def _speech(stage: Stage) -> list[DataSource]:
    return [source for source in stage.data if stage.uses_speech(source)]


def _translated(stage: Stage) -> list[DataSource]:
    """Texts, and speech that is not there to be transcribed alone."""
    return [source for source in stage.data if source.tasks is None or "asr" not in source.tasks]


def _is_people(source: DataSource) -> bool:
    return source.name.rpartition("/")[2].startswith(PEOPLE)

"""A recipe: all that decides the result of a training run, as strict typed data, and the numbers derived from it.

A recipe is a TOML file. Unknown keys, wrong types and unknown names are errors that name file and key. Nothing of
the machine (devices, paths, micro-batch) is in it. `extends = "name"` takes another recipe beside it, one level
deep, and overrides its tables key by key (lists are replaced whole). If it names stages, it has these, in its order;
what one leaves unsaid is as in the other recipe's stage of the same name.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dragoman import languages
from dragoman.errors import RecipeError
from dragoman.languages import expand, is_code

RECIPES = Path(__file__).parent / "recipes"
MEL_FRAMES_PER_S = 100  # Whisper: a hop of 160 samples at 16 kHz
ENCODER_FRAMES_PER_S = 50  # Whisper's second convolution halves the mel frames

TaskName = Literal["asr", "smt", "srt", "st", "mt"]
Part = Literal["adapter", "llm_lora", "encoder_lora"]
Quantisation = Literal["8bit", "4bit"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Lora(Strict):
    """Low-rank weights beside the named linear layers; PEFT's terms."""

    rank: int = Field(gt=0)
    alpha: int = Field(gt=0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: list[str] | Literal["all-linear"]


class Audio(Strict):
    """What the encoder hears: mel bins, its window, and whether clips are padded to it (as Whisper and the papers
    do) or trimmed to the speech."""

    mel_bins: Literal[80, 128]
    window_s: float = Field(default=30.0, gt=0.0)
    padding: Literal["window", "trimmed"] = "window"


class Encoder(Strict):
    """`name` is a Hugging Face name or folder; "base" is the one that `[bases]` describes."""

    name: str
    revision: str | None = None
    lora: Lora | None = None


class Llm(Strict):
    """`name` as in Encoder. `scale_audio` multiplies the adapter's output by sqrt(hidden), which Gemma2's checkpoints
    of the papers expect (transformers <= 5.3 did it inside the model). `quantisation` holds its frozen weights in 8
    bits (LLM.int8) or 4 (NF4, as QLoRA and LLaST), in training and after: LoRA learns beside the weights as they are
    then."""

    name: str
    revision: str | None = None
    scale_audio: bool = False
    quantisation: Quantisation | None = None
    lora: Lora | None = None

    @field_validator("lora", mode="before")
    @classmethod
    def _toml_has_no_null(cls, value: Any) -> Any:
        return None if value == "none" else value


class QFormerAdapter(Strict):
    """Q-Former -> (mean over `pool` neighbours) -> MLP -> LayerNorm: LLM-SRT (pool 1) and MCAT (pool 5)."""

    kind: Literal["q-former"]
    queries: int = Field(gt=0)
    pool: int = Field(default=1, gt=0)
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    heads: int = Field(gt=0)
    feed_forward: int = Field(gt=0)
    cross_every: int = Field(default=2, gt=0)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    mlp_hidden: int | None = Field(default=None, gt=0)


class MlpAdapter(Strict):
    """A plain MLP on every frame, no downsampling: LLaST (there on the speech's frames only: padding "trimmed")."""

    kind: Literal["mlp"]
    layers: int = Field(default=3, gt=0)


class StackedAdapter(Strict):
    """`stack` neighbouring frames side by side -> MLP -> LayerNorm (SLAM-LLM's linear projector)."""

    kind: Literal["stacked"]
    stack: int = Field(gt=0)
    hidden: int = Field(gt=0)


Adapter = Annotated[QFormerAdapter | MlpAdapter | StackedAdapter, Field(discriminator="kind")]


class Prompt(Strict):
    """`tags` renames the tag of a language for checkpoints that were trained with another one (LLM-SRT: cmn -> zho).

    `worded` says a task's prompt in words in the place of tags, with {source}, {target} (languages by name) and
    {transcript}; `before_audio` is text in front of the audio, such as the beginning of a chat template (LLaST).
    """

    tags: dict[str, str] = Field(default_factory=dict)
    before_audio: str = ""
    worded: dict[TaskName, str] = Field(default_factory=dict)

    @field_validator("worded")
    @classmethod
    def _only_these_places(cls, value: dict[TaskName, str]) -> dict[TaskName, str]:
        for task, text in value.items():
            try:
                text.format(source="", target="", transcript="")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"{task}: only {{source}}, {{target}} and {{transcript}} are filled in") from error
        return value


class _Optimisation(Strict):
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0.0)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: int = 0

    @field_validator("betas", mode="before")
    @classmethod
    def _toml_has_no_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("clip_norm", mode="before")
    @classmethod
    def _toml_has_no_null(cls, value: Any) -> Any:
        return None if value == "none" else value


class Schedule(_Optimisation):
    """AdamW with linear warm-up, then linear decay to 0. `batch` counts utterances over all processes;
    `clip_norm = "none"` leaves gradients as they are."""

    steps: int = Field(gt=0)


class StageSchedule(_Optimisation):
    """A schedule as long as `steps`, or `epochs` of the data, which are counted when they are at hand."""

    steps: int | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_length(self) -> StageSchedule:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    def over(self, items: int) -> Schedule:
        """For a stage of so many items; a step never holds items of two epochs."""
        steps = self.steps or (self.epochs or 0) * math.ceil(items / self.batch)
        return Schedule(steps=steps, **self.model_dump(exclude={"steps", "epochs"}))


class Augment(Strict):
    """How training alters the speech: `speed` plays it up to that share faster or slower, `warp` shifts its spectrum by
    up to that share; then bands of up to `frequency_width` mel bins and stretches of up to `time_width` frames (10 ms)
    are masked."""

    speed: float = Field(default=0.0, ge=0.0, lt=0.5)
    warp: float = Field(default=0.0, ge=0.0, lt=0.5)
    frequency_masks: int = Field(default=0, ge=0)
    frequency_width: int = Field(default=0, ge=0)
    time_masks: int = Field(default=0, ge=0)
    time_width: int = Field(default=0, ge=0)


class Source(Strict):
    """One manifest (`<data>/<name>.jsonl`) with filters; languages are codes or named sets, empty means any. Where
    targets are named, an utterance without a translation into one of them is left out."""

    name: str
    sources: list[str] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    max_per_language: int | None = Field(default=None, gt=0)
    """Utterances of a spoken language, at most; drawn by seed."""
    max_per_direction: int | None = Field(default=None, gt=0)
    """Pairs of an utterance and a target language, at most, from each language to each; drawn by seed."""
    max_duration_s: float | None = Field(default=None, gt=0.0)
    weight: float | None = Field(default=None, gt=0.0)
    """Share among the stage's sources; without weights each utterance counts the same."""

    @field_validator("sources", "targets")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return list(expand(value))


class Stage(Strict):
    """One stage of the curriculum: which tasks, which parameters, which data, how long.

    `tasks = { mt = 1.0 }` leaves the speech out and teaches the LLM to translate the transcripts.
    `targets` is the number of target languages that share one utterance's encoder pass in a batch.
    `temperature` T draws a spoken language of n utterances in proportion to n^(1/T): 1 leaves the data as they are,
    more brings small languages nearer to large ones. `shards_at_once` takes the tar shards in a random order and the
    utterances of so many together, for storage that is slow out of order.
    `ctc_weight` adds a CTC loss between the adapter's outputs and the frozen embedding matrix of the LLM, which makes
    an adapter align that starts from nothing.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    tasks: dict[TaskName, float] = Field(min_length=1)
    trains: list[Part] = Field(min_length=1)
    data: list[Source] = Field(min_length=1)
    schedule: StageSchedule
    targets: int = Field(default=1, gt=0)
    temperature: float = Field(default=1.0, ge=1.0, allow_inf_nan=False)
    shards_at_once: int | None = Field(default=None, gt=0)
    augment: Augment | None = None
    ctc_weight: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _all_weights_or_none(self) -> Stage:
        if len({source.weight is None for source in self.data}) > 1:
            raise ValueError("data: some sources have a weight and some have none; weigh all or none")
        return self

    @model_validator(mode="after")
    def _text_alone(self) -> Stage:
        if "mt" in self.tasks and (
            len(self.tasks) > 1 or self.trains != ["llm_lora"] or self.ctc_weight or self.augment
        ):
            raise ValueError(
                "mt is text alone: give it a stage of its own that trains llm_lora, without ctc_weight and augment"
            )
        return self

    @property
    def hears(self) -> bool:
        """Whether its tasks have speech in them."""
        return "mt" not in self.tasks


class Decoding(Strict):
    beams: int = Field(default=1, gt=0)
    max_new_tokens: int = Field(default=400, gt=0)


class TatoebaCorpus(Strict):
    """The corpus that the bases and stages learn from: everyday sentences, narrowed to a domain and spoken by
    espeak-ng (`dragoman prepare tatoeba`)."""

    languages: tuple[str, ...]
    """ISO 639-3 codes; English and at least one more."""
    max_words: int = Field(ge=1)
    """The longest text of the domain, in words."""
    vocabulary: int = Field(ge=1)
    """How many of the most frequent words of each language the domain knows."""
    clips_per_language: int = Field(ge=0)
    """Spoken training clips of each language, at most."""
    spoken_first: tuple[str, ...] = ()
    """Languages whose sentences come first among the clips of the others too, so that these translate into them."""
    valid_sentences: int = Field(ge=0)
    """Sentences held out of training."""
    seed: int = Field(ge=0)

    @field_validator("languages", "spoken_first", mode="before")
    @classmethod
    def _toml_has_no_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("languages")
    @classmethod
    def _check_languages(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [code for code in languages if not is_code(code)]:
            raise ValueError(f"not ISO 639-3 codes that Dragoman knows: {', '.join(unknown)}")
        if "eng" not in languages or len(set(languages)) != len(languages) or len(languages) < 2:
            raise ValueError("name 'eng' and at least one other language, each once")
        return languages


class TokenizerBase(Strict):
    pieces: int = Field(gt=0)


class TransformerBase(Strict):
    """Widths and depth of a small transformer, and how it is pre-trained."""

    hidden: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    feed_forward: int = Field(gt=0)
    schedule: Schedule


class LlmBase(TransformerBase):
    """A decoder in Qwen2's shape, pre-trained on text in the task formats, with corrupted copies in the place of
    audio."""


class EncoderBase(TransformerBase):
    """A Whisper-shaped encoder pre-trained with CTC."""

    augment: Augment | None = None


class Bases(Strict):
    corpus: TatoebaCorpus
    tokenizer: TokenizerBase
    llm: LlmBase
    encoder: EncoderBase


class Recipe(Strict):
    name: str = Field(pattern=r"^[a-z0-9.-]+$")
    about: str
    licence: str
    sources: list[str] = Field(min_length=1)
    targets: list[str] = Field(min_length=1)
    audio: Audio
    encoder: Encoder
    adapter: Adapter
    llm: Llm
    prompt: Prompt = Prompt()
    start: str | None = None
    """The model whose weights the first stage goes on from: a folder, a built-in model, a name on the hub."""
    stages: list[Stage] = Field(default_factory=list)
    decoding: Decoding = Decoding()
    bases: Bases | None = None

    @field_validator("sources", "targets")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return list(expand(value))

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("stages: two stages have the same name")
        if "base" in (self.encoder.name, self.llm.name) and self.bases is None:
            raise ValueError('bases: encoder or llm is "base", but there is no [bases] table')
        if self.bases and (missing := set(self.languages) - set(self.bases.corpus.languages)):
            raise ValueError(f"bases.corpus.languages: {min(missing)!r} is a source or target, but not in the corpus")
        for stage in self.stages:
            if stage.ctc_weight and self.prompt.before_audio:
                raise ValueError(
                    f"stages.{stage.name}.ctc_weight: prompt.before_audio is not in the speech; leave one out"
                )
            for part, lora in (("llm_lora", self.llm.lora), ("encoder_lora", self.encoder.lora)):
                if part in stage.trains and lora is None:
                    raise ValueError(f"stages.{stage.name}.trains: {part} is trained, but the recipe has no such LoRA")
        unknown = [code for code in self.prompt.tags if not is_code(code)]
        if unknown:
            raise ValueError(f"prompt.tags: {unknown[0]!r} is not a language code")
        return self

    @property
    def languages(self) -> tuple[str, ...]:
        """Sources and targets, each once, in the recipe's order."""
        return tuple(dict.fromkeys([*self.sources, *self.targets]))

    @property
    def window_frames(self) -> int:
        """Mel frames of the encoder's window."""
        return round(self.audio.window_s * MEL_FRAMES_PER_S)

    @property
    def transcribes(self) -> bool:
        """Whether the finished model still answers the transcription prompt by itself (its last stage held ASR)."""
        return not self.stages or "asr" in self.stages[-1].tasks

    @property
    def translates_directly(self) -> bool:
        """Whether the finished model translates without a transcript of its own (its last stage held ST and no SRT)."""
        return bool(self.stages) and "st" in self.stages[-1].tasks and "srt" not in self.stages[-1].tasks

    @property
    def writes_speech(self) -> bool:
        """Whether the finished model writes what is said, by itself or before a translation."""
        return self.transcribes or not self.translates_directly

    @property
    def aligned_by_ctc(self) -> bool:
        """Whether the audio tokens were taught to spell the transcript by themselves."""
        return any(stage.ctc_weight for stage in self.stages)

    def known_source(self, name: str) -> str:
        """The code of a language that the model hears, see `languages.known_source`."""
        return languages.known_source(name, self.sources, self.name)

    def known_targets(self, names: str | Sequence[str], source: str | None = None) -> tuple[str, ...]:
        """The codes of languages that the model writes, see `languages.known_targets`."""
        return languages.known_targets(names, self.targets, self.name, source)

    def audio_tokens(self, mel_frames: int) -> int:
        """Number of audio embeddings that the adapter makes of a clip of so many mel frames (even)."""
        frames = (self.window_frames if self.audio.padding == "window" else mel_frames) // 2
        match self.adapter:
            case QFormerAdapter(queries=queries, pool=pool):
                return queries // pool
            case StackedAdapter(stack=stack):
                return math.ceil(frames / stack)
            case MlpAdapter():
                return frames


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by path, or by the name of one that Dragoman ships."""
    path = _locate(name)
    table = _read_toml(path)
    parent = table.pop("extends", None)
    if parent is not None:
        if not isinstance(parent, str):
            raise RecipeError(f'{path}: extends: name one recipe, as in extends = "llm-srt-3b".')
        base = _read_toml(_locate_parent(path, parent))
        if "extends" in base:
            raise RecipeError(f"{path}: extends: {parent!r} itself extends another recipe; one level is allowed.")
        table = _merge(base, table)
    return parse_recipe(table, str(path))


def parse_recipe(table: dict[str, Any], origin: str) -> Recipe:
    """Validate a recipe's table; `origin` names it in errors."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        kind = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise RecipeError(f"{origin}: {key + ': ' if key else ''}{kind}.") from error


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as JSON, as it is stored with every model."""
    return json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def read_stored_recipe(path: Path) -> Recipe:
    """The recipe that lies in a model folder."""
    try:
        return Recipe.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); is this a model folder?") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{path}: {key}: {first['msg']}; the folder was written by another version.") from error


def names() -> list[str]:
    """Names of the recipes that Dragoman ships."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def _locate(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix == ".toml":
        return path
    shipped = RECIPES / f"{name}.toml"
    if not shipped.is_file():
        raise RecipeError(f"There is no recipe {str(name)!r}; give a .toml file or one of: {', '.join(names())}.")
    return shipped


def _locate_parent(child: Path, parent: str) -> Path:
    beside = child.parent / f"{parent}.toml"
    return beside if beside.is_file() else _locate(parent)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not valid TOML ({error}).") from error


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        elif key == "stages" and _are_tables(value) and _are_tables(base.get(key)):
            stages = {str(stage.get("name")): stage for stage in base[key]}
            merged[key] = [_merge(stages.get(str(stage.get("name")), {}), stage) for stage in value]
        else:
            merged[key] = value
    return merged


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)

"""A model with random weights, small enough for every test that needs one."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch start; many tests run side by side

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is and what else it does is no property; a folder that examples share is meant to be.
settings.register_profile(
    "truths", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("truths")
# the model that needs nothing fetched, here and in what tests start
os.environ["DRAGOMAN_MODEL"] = "tiny"

RECIPE = {
    "name": "random",
    "about": "A test: random weights.",
    "licence": "Apache-2.0",
    "sources": ["eng", "deu", "fra"],
    "targets": ["eng", "deu", "fra"],
    "audio": {"mel_bins": 80, "window_s": 10.0, "padding": "trimmed"},
    "encoder": {"name": "base"},
    "adapter": {"kind": "stacked", "stack": 4, "hidden": 32},
    "llm": {"name": "base", "lora": {"rank": 2, "alpha": 4, "targets": ["q_proj"]}},
    "decoding": {"beams": 1, "max_new_tokens": 6},
    "bases": {
        "corpus": {
            "languages": ["eng", "deu", "fra"],
            "max_words": 7,
            "vocabulary": 100,
            "clips_per_language": 1,
            "valid_sentences": 1,
            "seed": 1,
        },
        "tokenizer": {"pieces": 80},
        "llm": {
            "hidden": 32,
            "layers": 1,
            "heads": 2,
            "feed_forward": 64,
            "schedule": {"steps": 1, "batch": 1, "learning_rate": 1e-3},
        },
        "encoder": {
            "hidden": 32,
            "layers": 1,
            "heads": 2,
            "feed_forward": 64,
            "schedule": {"steps": 1, "batch": 1, "learning_rate": 1e-3},
        },
    },
}
TEXTS = (
    "The cat sleeps on the table.",
    "Die Katze schläft auf dem Tisch.",
    "Le chat dort sur la table.",
    "Where is the cat? Wo ist die Katze? Où est le chat ?",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: what is left at the end is shared out more evenly among processes."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 64 kB, nor shared memory: a write fails as it does on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def no_more_files() -> Iterator[None]:
    """This process has as many files open as it may."""
    before, lowest = resource.getrlimit(resource.RLIMIT_NOFILE), os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder (eng, deu, fra in both directions) that writes nonsense; at most 6 tokens a text. Read only."""
    import torch

    from dragoman.model.build import new_model
    from dragoman.model.folder import save_model
    from dragoman.pretraining.encoder import new_whisper_encoder
    from dragoman.pretraining.llm import new_llm
    from dragoman.pretraining.tokenizer import train_tokenizer
    from dragoman.recipe import parse_recipe

    recipe = parse_recipe(RECIPE, "tests/conftest.py")
    assert recipe.bases is not None
    bases = tmp_path_factory.mktemp("bases")
    tokenizer = train_tokenizer(TEXTS, recipe.languages, recipe.bases.tokenizer.pieces)
    torch.manual_seed(0)
    tokenizer.save_pretrained(bases / "tokenizer")
    llm = new_llm(recipe.bases.llm, tokenizer)
    with torch.no_grad():  # it writes learnt pieces, never tags, bytes or the end
        llm.get_input_embeddings().weight[: len(tokenizer) - recipe.bases.tokenizer.pieces] = 0.0
    llm.save_pretrained(bases / "llm")
    new_whisper_encoder(recipe.bases.encoder, recipe).save_pretrained(bases / "encoder")
    folder = tmp_path_factory.mktemp("models") / "random"
    save_model(new_model(recipe, bases, torch.float32), folder)
    return folder

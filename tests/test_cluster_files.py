"""The job files in docs/cluster are read by the tools they are for, where those are here, and their flags exist."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from dragoman.cli import app
from dragoman.recipe import names

FOLDER = Path(__file__).parent.parent / "docs" / "cluster"


def commands() -> dict[str, list[str]]:
    """The words of `dragoman …` in each file."""
    jobset: Any = yaml.safe_load((FOLDER / "jobset.yaml").read_text(encoding="utf-8"))
    template = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    trainer = yaml.safe_load((FOLDER / "trainjob.yaml").read_text(encoding="utf-8"))["spec"]["trainer"]
    script = shlex.split((FOLDER / "slurm.sh").read_text(encoding="utf-8"), comments=True)
    found = {
        "jobset.yaml": template["containers"][0]["args"],
        "trainjob.yaml": [*trainer["command"], *trainer["args"]],
        "slurm.sh": script,
    }
    return {name: words[words.index("dragoman") + 1 :] for name, words in found.items()}


@pytest.mark.parametrize("name", commands())
def test_each_job_file_asks_for_what_there_is(name: str) -> None:
    verb, *words = commands()[name]
    group: Any = typer.main.get_command(app)
    asked = group.commands[verb].make_context(verb, words).params
    assert asked["recipe"] in names() and asked["micro_tokens"] == 16384


def test_accelerate_reads_its_configs() -> None:
    config: Any = load_config_from_file(str(FOLDER / "fsdp2.yaml"))
    assert config.distributed_type == "FSDP" and config.fsdp_config["fsdp_version"] == 2
    for stage in (2, 3):
        config = load_config_from_file(str(FOLDER / f"deepspeed-zero{stage}.yaml"))
        assert config.distributed_type == "DEEPSPEED" and config.deepspeed_config["zero_stage"] == stage


def test_bash_reads_the_slurm_script() -> None:
    assert subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=False).returncode == 0

"""What ends a command from outside, a closed stream, a file that ends too early, too many open files, is one sentence,
and neither a traceback nor "Aborted!"."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dragoman import catalogue
from dragoman.cli import main
from dragoman.files import only_run

COMMAND = [sys.executable, "-c", "from dragoman.cli import main; main()"]
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)); from dragoman.cli import main; main()"


@pytest.fixture
def hypotheses(tmp_path: Path) -> Path:
    row = {"id": "a", "source": "eng", "target": "deu", "translation": "x", "reference": "x"}
    (tmp_path / "h.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "h.jsonl"


def closed(*streams: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run with standard streams closed."""
    redirections = " ".join(f"{number}>&-" for number in streams)
    return subprocess.run(["sh", "-c", f'"$@" {redirections}', "sh", *command], capture_output=True, text=True)


def test_a_closed_stdout_is_told_where_there_was_something_to_write(hypotheses: Path) -> None:
    score = [*COMMAND, "score", str(hypotheses), "--json"]
    done = closed(1, command=score)
    assert (done.returncode, done.stderr) == (
        2, "dragoman: standard output: it is closed; open it, or send it to a file.\n",
    )  # fmt: skip
    assert closed(0, 1, 2, command=score).returncode == 2
    done = closed(0, 2, command=score)
    assert done.returncode == 0 and json.loads(done.stdout)


def test_too_many_open_files_are_not_the_fault_of_the_file(hypotheses: Path) -> None:
    command = [sys.executable, "-c", FEW_FILES, "score", str(hypotheses), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.endswith(": Too many open files; allow more open files, as by `ulimit -n 65536`.\n")
    assert done.stderr.startswith("dragoman: ") and done.stderr.count("\n") == 1


def test_a_file_that_ends_too_early_is_no_abort(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends() -> None:
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")

    monkeypatch.setattr(catalogue, "catalogue_entries", ends)
    monkeypatch.setattr(sys, "argv", ["dragoman", "models"])
    with pytest.raises(SystemExit) as end:
        main()
    said = "A file that was read ends too early (Compressed file ended before the end-of-stream marker was reached)"
    assert end.value.code == 2 and capsys.readouterr().err == f"dragoman: {said}; get it again.\n"


@pytest.mark.parametrize("verb", ["train", "encode", "bases"])
def test_a_second_run_into_the_same_folder_is_one_sentence(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dragoman", verb, "smoke", "--data", str(tmp_path), "--out", str(tmp_path / "o")])
    with only_run(tmp_path / "o"), pytest.raises(SystemExit) as end:
        main()
    said = f"dragoman: {tmp_path}/o: another run is writing there; wait until it is done, or choose another folder.\n"
    assert end.value.code == 2 and capsys.readouterr().err == said
    assert not (tmp_path / "o").exists()  # nothing is left of a run that wrote nothing

"""The command line as people meet it: what goes where, exit codes, and one clear sentence for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import typer
from foreign import SMALL
from safetensors.numpy import load_file, save_file

from dragoman.catalogue import EXTERNAL_SYSTEMS, OTHER_CHECKPOINTS
from dragoman.cli import app
from dragoman.cli.console import printable
from dragoman.cli.files import recordings
from dragoman.cli.options import check_model, read_targets
from dragoman.cli.training.options import CompiledRunFlags, TrainFlags
from dragoman.cli.translation import resume
from dragoman.cli.translation.output import remark
from dragoman.data.synthesis import write_flac
from dragoman.errors import DataError, ModelError
from dragoman.files import held
from dragoman.inference.result import Result, Segment
from dragoman.model.calibration import read_calibration
from dragoman.model.hub import BUILT_IN
from dragoman.recipe import load_recipe, names
from dragoman.training.options import RunOptions, TrainOptions

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "examples" / "german-mp3.mp3"
HOSTILE = ROOT.parent / "shared/data/hostile/generated"
needs_examples = pytest.mark.skipif(not SPEECH.is_file(), reason=f"{SPEECH} is absent: there is no speech to translate")
needs_hostile = pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"{HOSTILE} is absent: there are no hostile files")
COMMAND = [sys.executable, "-c", "from dragoman.cli import main; main()"]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr of a run that a user's mistake ended."""
        assert self.code == 2 and self.out == "", self
        assert self.err.startswith("dragoman: ") and self.err.count("\n") == 1, self.err
        return self.err


Call = Callable[..., Done]


def run(*arguments: object, cwd: Path | None = None, timeout: float = 120) -> Done:
    done = subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=timeout)
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """As `run`, but in this process: the model's libraries are imported once."""

    def inner(*arguments: object) -> Done:
        from dragoman.cli import main

        monkeypatch.setattr(sys, "argv", ["dragoman", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capfd.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, captured.out, captured.err)

    return inner


# ------------------------------------------------------------------------------------------------- at once


def test_help_imports_nothing_heavy() -> None:
    for verb in (
        "",
        "translate",
        "live",
        "evaluate",
        "score",
        "compare",
        "bases",
        "train",
        "prepare",
        "check",
        "shard",
        "fetch",
        "finetune",
        "convert",
    ):
        code = (
            f"import sys; sys.argv = ['dragoman', *{verb.split()}, '--help']\n"
            "from dragoman.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'transformers', 'numpy', 'av', 'sacrebleu', 'rich.progress'}\n"
            "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, (verb, done.stderr)
        assert done.stdout.startswith(f"Usage: dragoman {verb}".rstrip())


def test_version_and_usage() -> None:
    assert run("--version").out.startswith("dragoman 0.")
    assert run("translate").code == 2
    assert run("nonsense").code == 2
    assert run("translate", "a.wav", "--to", "deu", "--beam_size", 0).code == 2
    assert run("translate", "a.wav", "--to", "deu", "-f", "docx").code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["translate", "a.wav", "--to", "gibberish"], "Unknown language"),
        (["translate", "a.wav", "--to", ""], "No target language"),
        (["translate", "a.wav", "--to", "deu", "--language", "germn"], "did you mean deu (German)"),
        (["translate", "a.wav", "--to", "fr,de", "--language", "German"], "Source and target are both 'deu'"),
        (["translate", "a.wav", "--to", "deu", "--model", "nowhere"], "There is no model 'nowhere'"),
        (["translate", "empty", "--to", "deu"], "There are no recordings here"),
        (["translate", "a.wav", "--to", "deu", "-o", "file/out"], "file/out: cannot be made"),
        (["translate", "a.wav", "--to", "deu", "--bilingual"], "No subtitles would be written; add -f vtt or -f srt"),
        (["translate", "a.wav", "--to", "deu", "--max_line_width", "30", "-f", "tsv"], "No subtitles would be written"),
        (["translate", "a.wav", "--to", "deu", "--bilingual", "--max_line_count", "1", "-f", "srt"], "needs two lines"),
        (["evaluate", "nowhere.jsonl", "--to", "deu", "--out", "out"], "nowhere.jsonl: cannot be read"),
        (["evaluate", "wrong.jsonl", "--to", "deu", "--out", "out"], "wrong.jsonl:2: duration_s: "),
        (
            ["evaluate", "right.jsonl", "--to", "deu", "--out", "out", "--comet", "./no"],
            "There is no file or folder './no'",
        ),
        (
            ["evaluate", "right.jsonl", "--to", "none", "--out", "out", "--metric", "chrF"],
            "chrF is of translations; leave it out",
        ),
        (
            ["evaluate", "right.jsonl", "--to", "deu", "--out", "out", "--engine", "vllm", "--system", "whisper"],
            "--engine is",
        ),
        (
            ["evaluate", "right.jsonl", "--to", "deu", "--out", "out", "--engine", "vllm", "--text"],
            "--text is not for vLLM",
        ),
        (["translate", "a.wav", "--to", "deu", "--engine", "ray"], "takes one manifest (.jsonl) and an --output_dir"),
        (["translate", "right.jsonl", "--to", "deu", "--engine", "ray", "--language", "eng"], "leave --language out"),
        (["translate", "right.jsonl", "--to", "deu", "--engine", "ray", "--bilingual"], "leave --bilingual out"),
        (["translate", "a.wav", "--to", "deu", "--workers", "2"], "--workers are Ray's; add --engine ray"),
        (["translate", "a.wav", "--to", "none,deu"], "none says that nothing is to be translated"),
        (["translate", "a.wav", "--to", "none", "--glossary", "g.csv"], "--glossary: with --to none nothing is transl"),
        (["score", "wrong.jsonl"], "wrong.jsonl:1: source: Field required"),
        (["compare", "wrong.jsonl", "wrong.jsonl"], "wrong.jsonl:1: source: Field required"),
        (["compare", "empty", "empty"], "empty: is not a run: there is no hypotheses.jsonl"),
        (["train", "nowhere", "--data", ".", "--out", "out"], "There is no recipe 'nowhere'"),
        (["train", "wrong.toml", "--data", ".", "--out", "out"], "wrong.toml: colour: unknown key"),
        (["bases", "broken.toml", "--data", ".", "--out", "out"], "broken.toml: is not valid TOML"),
        (["convert", "nowhere.pt", "--as", "llm-srt-3b", "--out", "out"], "nowhere.pt: cannot be read (No such file"),
        (["prepare", "tatoeba", "--root", "r", "--noise", "n", "--out", "out", "--recipe", "no"], "no recipe 'no'"),
    ],
)
def test_a_mistake_is_one_sentence(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    row = {"id": "a", "audio": "a.wav", "language": "eng"}
    rows = [row, {**row, "id": "b", "duration_s": -1}]
    (tmp_path / "right.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "wrong.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    recipe = (ROOT / "src/dragoman/recipes/tiny.toml").read_text(encoding="utf-8")
    (tmp_path / "wrong.toml").write_text('colour = "red"\n' + recipe, encoding="utf-8")
    (tmp_path / "broken.toml").write_text("name = ")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert says in done.err.splitlines()[-1]
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("dragoman: ") and done.err.count("\n") <= 2
    assert sorted(tmp_path.rglob("*")) == before


def test_score_needs_no_torch_and_no_network(tmp_path: Path) -> None:
    row = {"id": "a", "source": "eng", "target": "deu", "translation": "Guten Tag, mein Freund.", "transcript": "Hi."}
    row |= {"reference": "Guten Tag, mein Freund.", "reference_transcript": "Hi."}
    path = tmp_path / "hypotheses.jsonl"
    path.write_text(json.dumps(row) + "\n")
    scores = json.loads(run("score", path, "--json").out)
    assert {(s["metric"], s["direction"]): s["value"] for s in scores}["BLEU", "eng-deu"] == pytest.approx(100)
    table = run("score", path).out
    assert "eng-deu" in table and "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in table


def test_score_takes_plain_lines_and_standard_input(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("hyp", "Guten Tag!\nJa.\n"), ("ref", "Guten Tag!\nNein.\n"), ("src", "Hello!\nNo.\n")):
        (tmp_path / name).write_text(text)
    asked = ("--ref", "ref", "--direction", "en-de", "--metric", "chrF++", "--json")
    option = call("score", "--hyp", "hyp", "--src", "src", *asked)
    assert [s["metric"] for s in json.loads(option.out)] == ["chrF++", "chrF++", "empty", "empty"]
    with open(tmp_path / "hyp", "rb") as stdin:
        piped = subprocess.run([*COMMAND, "score", "-", *asked], stdin=stdin, capture_output=True, text=True)
    assert piped.stdout == call("score", "hyp", *asked).out == option.out
    unsuited = call("score", "hyp", *asked, "--metric", "wer")
    assert unsuited.out == option.out and "WER is left out: it suits none of these directions" in unsuited.err
    assert "Name one file of hypotheses" in call("score", "hyp", "--hyp", "hyp").complaint
    assert "Unknown metric 'BLUE'; did you mean BLEU" in call("score", "hyp", "--metric", "BLUE").complaint


def test_a_closed_pipe_is_quiet_and_a_full_one_is_told(tmp_path: Path) -> None:
    row = {"id": "a", "source": "eng", "target": "deu", "translation": "x", "reference": "x"}
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps(row) + "\n")
    reading, writing = os.pipe()
    os.close(reading)
    closed = subprocess.run([*COMMAND, "score", path, "--json"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert closed.stderr == "" and closed.returncode == 1
    if not Path("/dev/full").exists():
        pytest.skip("There is no /dev/full here.")
    with open("/dev/full", "w") as out:
        for asked in (("score", path, "--json"), ("models",)):  # printed by typer, and by rich
            full = subprocess.run([*COMMAND, *asked], stdout=out, stderr=subprocess.PIPE, text=True)
            assert full.returncode == 2
            assert full.stderr.endswith("dragoman: standard output: No space left on device.\n")


# ---------------------------------------------------------------------------------------- names and folders


def test_what_would_steer_a_terminal_is_escaped() -> None:
    assert printable("a\x1b[31m\n\x9b.wav") == r"a\x1b[31m\n\x9b.wav"
    assert printable("exe\u202egpj.wav") == r"exe\u202egpj.wav"
    assert printable(os.fsdecode(b"bad\xff.wav")) == r"bad\xff.wav"
    assert printable("grün 名前 😀 می\u200cخواهم") == "grün 名前 😀 می\u200cخواهم"


def test_a_folder_is_its_regular_files_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b.MP3", "a.wav", "talk.srt", "notes.TXT", ".DS_Store", ".hidden.wav"):
        (tmp_path / name).write_bytes(b"0")
    write_flac(tmp_path / "noextension", np.zeros(1600, np.float32))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.wav").touch()
    found = recordings([tmp_path, tmp_path / "a.wav", tmp_path / "talk.srt"])
    assert [path.name for path in found] == [".hidden.wav", "a.wav", "b.MP3", "noextension", "talk.srt"]
    said = capsys.readouterr().err
    assert "2 files left out: by name no recording." in said and "1 file left out: hidden." in said
    with pytest.raises(DataError, match="no recordings"):
        recordings([])


LITTER = ["._a.wav", ".a.wav.Gx3kQ1", ".~lock.a.mp3#", "a.mp3.crdownload", "Unconfirmed 1.crdownload", "a.mp3.part",
          "a.mp4.part-Frag12", "a.f137.mp4.ytdl", "a.mp3.download", "a.wav.partial", "a.wav.filepart", "a.avi.!qB",
          "a.mkv.aria2", "a.wav~", "a.wav.tmp", "a.opdownload", "a.wav.bak", ".a.mp4.icloud"]  # fmt: skip

UNKNOWN = ["Icon\r", "LICENSE", "talk.wav.md5", "checksums.sha256", "talk.cue", "list.m3u8", "talk.wav.asd", "a.dat"]


def test_litter_and_half_downloads_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [*LITTER, *UNKNOWN, "a.wav"]:
        (tmp_path / name).write_bytes(b"0 1 2\n" * 50)
    (tmp_path / "empty.mp3").touch()
    write_flac(tmp_path / "speech", np.zeros(1600, np.float32))
    assert recordings([tmp_path]) == [tmp_path / "a.wav", tmp_path / "speech"]
    assert recordings([tmp_path / "talk.cue"]) == [tmp_path / "talk.cue"]
    said = capsys.readouterr().err
    assert "4 files left out: hidden." in said and "1 file left out: empty." in said
    assert "14 files left out: half a download, or a program's own." in said
    assert f"{len(UNKNOWN)} files left out: no recording." in said
    assert recordings([tmp_path / "a.mp3.part"]) == [tmp_path / "a.mp3.part"]  # who names one wants it


def test_a_pattern_that_no_shell_expanded(tmp_path: Path) -> None:
    for name in ("a.wav", "b[1].wav", "deep/er/c.wav", "deep/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert recordings([tmp_path / "**" / "*.wav"]) == [tmp_path / n for n in ("a.wav", "b[1].wav", "deep/er/c.wav")]
    assert recordings([tmp_path / "b[1].wav"]) == [tmp_path / "b[1].wav"]  # a file of that name is meant
    assert recordings([tmp_path / "*.mp3"]) == [tmp_path / "*.mp3"]  # reading it will say that it is missing


def test_evaluate_has_its_folder_for_itself(call: Call, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": "a", "audio": "a.wav", "language": "eng"}) + "\n")
    asked = ("evaluate", tmp_path / "rows.jsonl", "--to", "deu", "--model", "./none", "--out", tmp_path / "out")
    with held(tmp_path / "out"):
        assert f"{tmp_path / 'out'}: another run is writing there; wait until it is done" in call(*asked).complaint
    assert "There is no model './none'" in call(*asked).complaint  # free again
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------------------------- with a model


@needs_examples
def test_files_and_text(call: Call, random_model: Path, tmp_path: Path) -> None:
    done = call("translate", SPEECH, "--to", "English,fr", "--language", "de", "--model", random_model, "-o", tmp_path)
    assert done.code == 0
    assert "random: not calibrated: confidence is given, doubtful text not marked" in done.err
    lines = done.out.splitlines()
    assert lines[0] == str(SPEECH) and [line[:5] for line in lines[1:]] == ["deu: ", "eng: ", "fra: "]
    kinds = ("txt", "vtt", "srt", "tsv")
    expected = {f"german-mp3.{code}.{kind}" for code in ("deu", "eng", "fra") for kind in kinds}
    assert {path.name for path in tmp_path.iterdir()} == {*expected, "german-mp3.json", resume.NAME}
    assert json.loads((tmp_path / "german-mp3.json").read_text(encoding="utf-8"))["language"] == "deu"


@needs_examples
def test_json_lines_and_nothing_else_on_stdout(call: Call, random_model: Path, tmp_path: Path) -> None:
    names = ["-rf.mp3", "two\nlines.mp3", os.fsdecode(b"bad\xff.mp3")]
    paths = [shutil.copy(SPEECH, tmp_path / name) for name in names]
    done = call("translate", *paths, "--to", "all", "--model", random_model, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0 and [row["audio"] for row in rows] == [str(path) for path in paths]
    assert all(row["language"] not in row["targets"] and len(row["targets"]) == 2 for row in rows)
    assert "3 translated, 0 failed" in done.err and "\nlines" not in done.err


@needs_examples
def test_a_name_that_looks_like_an_option(random_model: Path, tmp_path: Path) -> None:
    shutil.copy(SPEECH, tmp_path / "-rf.mp3")
    done = run("translate", "--to", "fra", "--model", random_model, "-f", "srt", "--", "-rf.mp3", cwd=tmp_path)
    assert done.code == 0 and done.out.startswith("-rf.mp3\n")
    assert {path.suffix for path in tmp_path.iterdir()} == {".mp3", ".srt", ".jsonl"}
    assert all(line.startswith("dragoman: ") for line in done.err.splitlines()), done.err  # libraries are quiet


@needs_examples
def test_one_bad_file_does_not_stop_the_rest(call: Call, random_model: Path, tmp_path: Path) -> None:
    shutil.copy(SPEECH, tmp_path / "good.mp3")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "zero.mp3").touch()
    missing = tmp_path / "missing.wav"
    done = call("translate", tmp_path, missing, "--to", "deu,fra", "--model", random_model, "--json")
    assert done.code == 2
    assert "dragoman: 1 translated, 2 failed in " in done.err
    for name in ("broken.wav", "missing.wav"):
        assert sum(str(tmp_path / name) in line for line in done.err.splitlines()) == 1
    assert "1 file left out: empty." in done.err and "Traceback" not in done.err
    broken, good, lost = map(json.loads, done.out.splitlines())
    assert (good["audio"], broken["audio"], lost["audio"]) == tuple(
        str(tmp_path / name) for name in ("good.mp3", "broken.wav", "missing.wav")
    )
    assert broken["error"] in done.err and "is not a media file" in broken["error"]
    assert "error" not in good and lost["error"].startswith(f"{missing}: cannot be opened")


@needs_examples
def test_a_folder_with_litter_is_no_failure(call: Call, random_model: Path, tmp_path: Path) -> None:
    shutil.copy(SPEECH, tmp_path / "good.mp3")
    for name in ("._good.mp3", "next.mp3.crdownload", "other.mp4.part"):
        (tmp_path / name).write_bytes(b"\0\x05\x16\x07")
    (tmp_path / "empty.wav").touch()
    done = call("translate", tmp_path, "--to", "deu", "--model", random_model)
    assert done.code == 0 and "failed" not in done.err, done.err


@needs_examples
def test_pipes_are_read_once(random_model: Path, tmp_path: Path) -> None:
    """Standard input, and a named pipe; neither is taken for a recording that could be looked at again."""
    asked = ["--to", "deu", "--language", "eng", "--model", str(random_model), "-f", "txt"]
    os.mkfifo(tmp_path / "talk.fifo")
    with subprocess.Popen(["cp", SPEECH, tmp_path / "talk.fifo"]) as writer:
        try:
            command = [*COMMAND, "translate", *asked, "talk.fifo", "-"]
            done = subprocess.run(command, input=SPEECH.read_bytes(), cwd=tmp_path, capture_output=True, timeout=240)
        finally:
            writer.kill()
    assert done.returncode == 0, done.stderr
    texts = {path.name: path.read_text() for path in tmp_path.glob("*.txt")}
    assert set(texts) == {f"{stem}.{code}.txt" for stem in ("talk", "stdin") for code in ("eng", "deu")}
    assert texts["talk.eng.txt"] == texts["stdin.eng.txt"] != ""


@needs_examples
def test_an_unreadable_file(call: Call, random_model: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(SPEECH, tmp_path / "secret.mp3"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("This user may read everything.")
    done = call("translate", path, "--to", "deu", "--model", random_model)
    assert done.code == 2 and "secret.mp3: cannot be read (Permission denied)" in done.err


def test_no_speech_is_said(call: Call, random_model: Path, tmp_path: Path) -> None:
    import numpy as np

    from dragoman.data.synthesis import write_flac

    write_flac(tmp_path / "silence.flac", np.zeros(32_000, np.float32))
    done = call(
        "translate", tmp_path / "silence.flac", "--to", "deu", "--model", random_model, "-f", "srt", "-o", tmp_path
    )
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{tmp_path / 'silence.flac'}\nno speech\n"
    assert (tmp_path / "silence.deu.srt").read_text() == ""


@needs_examples
def test_what_is_spoken_is_left_out_of_the_targets(call: Call, random_model: Path) -> None:
    done = call("translate", SPEECH, "--to", "eng,deu,fra", "--model", random_model, "--json")
    row = json.loads(done.out)
    assert sorted([row["language"], *row["targets"]]) == ["deu", "eng", "fra"]
    assert done.err.count("so there is no translation into") == 1
    assert "the model was stopped before its end: transcript" in done.err  # six tokens are not enough


def test_a_language_that_the_model_does_not_speak(call: Call, random_model: Path) -> None:
    done = call("translate", "a.wav", "--to", "jpn", "--model", random_model)
    assert "random does not write Japanese; choose among eng (English), deu (German)" in done.complaint
    done = call("translate", "a.wav", "--to", "deu", "--language", "ja", "--model", random_model)
    assert "random does not hear Japanese" in done.complaint


def test_a_device_that_is_not_here(call: Call, random_model: Path) -> None:
    done = call("translate", "a.wav", "--to", "deu", "--model", random_model, "--device", "quantum")
    assert "The device 'quantum' cannot be used here" in done.complaint


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_checkpoint_that_does_not_fit(call: Call, random_model: Path, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_model, folder)
    path = folder / "adapter.safetensors"
    tensors = load_file(path)
    first = min(tensors)
    if change == "missing":
        del tensors[first]
    else:
        tensors["stray.weight"] = tensors[first]
    save_file(tensors, path)
    complaint = call("translate", "a.wav", "--to", "deu", "--model", folder).complaint
    assert (f"{first!r} is missing" if change == "missing" else "'stray.weight' is not in the model") in complaint


@needs_examples
def test_a_folder_that_may_not_be_written(call: Call, random_model: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("This user may write everywhere.")
    done = call("translate", SPEECH, "--to", "deu", "--model", random_model, "-o", tmp_path)
    assert f"{tmp_path}: cannot be written to" in done.complaint


@contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("Only root can mount a small disk to fill it.")
    try:
        (folder / "fill").write_bytes(bytes(8192))
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@needs_examples
@pytest.mark.skipif(shutil.which("mount") is None, reason="There is no mount here.")
def test_a_full_disk(call: Call, random_model: Path, tmp_path: Path) -> None:
    with full_disk(tmp_path):
        done = call("translate", SPEECH, "--to", "deu", "--language", "fra", "--model", random_model, "-o", tmp_path)
        left = [path.name for path in tmp_path.iterdir()]
    assert "german-mp3.fra.txt: cannot be written (No space left on device)" in done.complaint
    assert left == ["fill"]


def test_a_prompt_and_a_wrong_glossary_are_told_before_the_model_is_looked_for(call: Call, tmp_path: Path) -> None:
    (tmp_path / "terms.csv").write_text("cat,Kater\n")
    for option, value, says in (
        ("--glossary", tmp_path / "terms.csv", "terms.csv: the first line must name the columns: term,translation"),
        ("--glossary", tmp_path / "none.csv", "none.csv: cannot be read (No such file or directory); check the path"),
    ):
        assert says in call("translate", "a.wav", "--to", "deu", "--model", "none", option, value).complaint


@needs_examples
def test_words_and_terms_decide_what_is_written(call: Call, tmp_path: Path) -> None:
    (tmp_path / "terms.csv").write_text("term,translation\nUhr,timepiece\n")
    out = ("--language", "deu", "-o", tmp_path, "-f", "json")

    def again(*options: object) -> str:
        assert call("translate", SPEECH, "--to", "eng", *out, *options).code == 0
        return json.loads((tmp_path / "german-mp3.json").read_text(encoding="utf-8"))["translations"]["eng"]

    plain = again()
    asked = again("--glossary", tmp_path / "terms.csv")  # what was there was made without
    assert "timepiece" not in plain and "timepiece" in asked
    again_asked = call("translate", SPEECH, "--to", "eng", *out, "--glossary", tmp_path / "terms.csv")
    assert "1 of 1 were translated before" in again_asked.err
    assert again("--hotwords", "Regenschirm, Tom Sawyer") == plain


def test_a_stray_translation_is_said_once_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    def segment(start: float, *codes: str) -> Segment:
        return Segment(start, start + 1, "eng", "Yes.", dict.fromkeys(("deu", "fra"), "x"), 0.0, off_target=codes)

    found = [segment(0, "deu"), segment(1, "deu", "fra"), segment(2)]
    remark(Path("talk.mp3"), Result("talk.mp3", ("deu", "fra"), found), ("deu", "fra"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "talk.mp3: " in line and "German 2, French 1" in line


def test_most_segments_doubted_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = read_calibration(BUILT_IN / "tiny")

    def result(*scores: float) -> Result:
        said = ("eng", "Hello.", {"deu": "Hallo."})
        segments = [Segment(0.0, 1.0, *said, score, calibration=fitted) for score in scores]
        return Result("a.wav", ("deu",), segments)

    remark(Path("a.wav"), result(-2.0, -2.0, -0.01), ["deu"])
    assert "a.wav: most segments are doubtful (2 of 3); if more" in (said := capsys.readouterr().err)
    assert "--multilingual" in said
    remark(Path("a.wav"), result(-2.0, -2.0, -0.01), ["deu"], multilingual=True)
    remark(Path("a.wav"), result(-2.0, -0.01, -0.01), ["deu"])
    remark(Path("a.wav"), result(-2.0, -0.01), ["deu"])
    assert not capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_recording_that_is_doubted_as_a_whole_is_said(capsys: pytest.CaptureFixture[str], count: int) -> None:
    """Such as noise in which something was heard, however little."""
    segment = Segment(
        0.0, 1.0, "eng", "Hello.", {"deu": "Hallo."}, -2.0, calibration=read_calibration(BUILT_IN / "tiny")
    )
    remark(Path("a.wav"), Result("a.wav", ("deu",), [segment] * count), ["deu"], multilingual=True)
    said = f"a.wav: all segments are doubtful ({count} of {count} segments); listen before you use it.\n"
    assert capsys.readouterr().err == f"dragoman: {said}"


def test_a_doubted_language_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def said(likely: float | None) -> str:
        segment = Segment(0.0, 1.0, "nld", "Ja.", {"deu": "Ja."}, 0.0, language_confidence=likely)
        remark(Path("talk.mp3"), Result("talk.mp3", ("deu",), [segment]), ("deu",))
        return capsys.readouterr().err

    assert "talk.mp3: is taken for Dutch, 61% likely (not calibrated); if it is not" in said(0.613)
    assert said(0.8) == said(None) == ""


@needs_examples
def test_a_second_run_over_a_folder_does_what_is_left(call: Call, random_model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp3", "b.mp3"):
        shutil.copy(SPEECH, folder / name)
    (folder / "bad.mp3").write_bytes(b"no audio")

    def again(*options: object) -> Done:
        done = call("translate", folder, "--to", "deu", "--model", random_model, "-o", out, "-f", "txt", *options)
        assert done.code == 2 and "bad.mp3" in done.err  # reported each time
        return done

    assert "dragoman: 2 translated, 1 failed in " in again().err
    files = sorted(path.name for path in out.glob("*.txt"))
    second = again()
    assert "2 of 3 were translated before" in second.err and second.out == ""
    assert "dragoman: 0 translated, 1 failed in " in second.err
    (out / files[0]).unlink()
    with open(out / resume.NAME, "r+") as ledger:  # as an interrupted run leaves it
        ledger.truncate(len(ledger.read()) - 5)
    assert "dragoman: 2 translated, 1 failed in " in again().err
    assert "dragoman: 2 translated, 1 failed in " in again("--beam_size", 2).err
    shutil.copy(ROOT / "examples" / "dutch-m4a.m4a", folder / "a.mp3")
    assert "dragoman: 1 translated, 1 failed in " in again("--beam_size", 2).err
    assert sorted(path.name for path in out.glob("*.txt") if ".deu." in path.name) == ["a.deu.txt", "b.deu.txt"]


@needs_examples
def test_recordings_of_one_name_keep_their_results(call: Call, random_model: Path, tmp_path: Path) -> None:
    first, second, out = tmp_path / "day1" / "rec.mp3", tmp_path / "day2" / "rec.mp3", tmp_path / "out"
    for path, example in ((first, SPEECH), (second, ROOT / "examples" / "english-wav.wav")):
        path.parent.mkdir()
        shutil.copy(example, path)

    def again(*paths: Path) -> str:
        done = call("translate", *paths, "--to", "deu,fra", "--model", random_model, "-o", out, "-f", "json")
        assert done.code == 0
        return done.err

    def told() -> dict[str, str]:
        return {path.name: json.loads(path.read_text(encoding="utf-8"))["audio"] for path in out.glob("*.json")}

    again(first)
    assert f"{second}: rec is what the results of {first} are called in {out}; these are day2-rec." in again(second)
    assert told() == {"rec.json": str(first), "day2-rec.json": str(second)}
    assert "2 of 2 were translated before" in again(first, second)
    (out / "rec.json").write_text((out / "day2-rec.json").read_text(encoding="utf-8"), encoding="utf-8")
    again(first)  # a file is not what was written, so it does not count
    assert {name: told()[name] for name in ("rec.json", "day2-rec.json")} == {
        "rec.json": str(first),
        "day2-rec.json": str(second),
    }


# What people type today (whisper, faster-whisper's CLI), and what it is here: the same, or why it is not there.
THEIRS = {
    "--model": "--model",
    "--device": "--device",
    "--output_dir": "--output_dir",
    "-o": "-o",
    "--output_format": "--output_format",
    "-f": "-f",
    "--language": "--language",
    "--beam_size": "--beam_size",
    "--batch_size": "--batch_size",
    "--threads": "--threads",
    "--max_line_width": "--max_line_width",
    "--max_line_count": "--max_line_count",
    "--multilingual": "--multilingual",
    "--vad_threshold": "--vad_threshold",
    "--vad_min_speech_duration_ms": "--vad_min_speech_duration_ms",
    "--vad_max_speech_duration_s": "--vad_max_speech_duration_s",
    "--vad_min_silence_duration_ms": "--vad_min_silence_duration_ms",
    "--vad_speech_pad_ms": "--vad_speech_pad_ms",
    "--hotwords": "--hotwords",
    "--task": "none: --to says what is wanted, the transcript always comes",
    "--vad_filter": "none: speech is always found first",
    "--temperature": "none: decoding is greedy or by beams",
    "--word_timestamps": "none: the model gives no times of words",
    "--condition_on_previous_text": "none: each segment is decoded by itself",
}


def test_flags_are_called_as_people_know_them() -> None:
    command = typer.main.get_command(app).commands["translate"]  # type: ignore[attr-defined]
    ours = {name for parameter in command.params for name in parameter.opts}
    for theirs, here in THEIRS.items():
        assert (theirs in ours) == (theirs == here), f"{theirs}: {here}"


def test_flags_of_training_are_its_options() -> None:
    for flags, options in ((CompiledRunFlags, RunOptions), (TrainFlags, TrainOptions)):
        assert {field.name for field in fields(flags)} == {field.name for field in fields(options)}
        assert flags().read() == options()


def test_flags_are_spelt_with_underscores_and_taken_with_dashes_too(capsys: pytest.CaptureFixture[str]) -> None:
    def flags(command: typer.core.TyperCommand | typer.core.TyperGroup) -> set[str]:
        own = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
        return own.union(*map(flags, getattr(command, "commands", {}).values()))

    assert [name for name in flags(typer.main.get_command(app)) if "-" in name.lstrip("-")] == []
    for spelling in ("--per-shard", "--per_shard"):
        with pytest.raises(SystemExit):
            app(["prepare", "voices", spelling, "0"])
        assert "Invalid value for '--per_shard'" in capsys.readouterr().err


@needs_examples
def test_an_interrupt_says_so_and_leaves_whole_files(random_model: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(200):
        shutil.copy(SPEECH, inputs / f"{number:03}.mp3")
    arguments = ["translate", inputs, "--to", "all", "--model", random_model, "-o", tmp_path / "out", "-f", "json"]
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out").glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert said.rstrip().endswith("dragoman: interrupted; what is written is complete.") and "Traceback" not in said
    for path in (tmp_path / "out").glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


@needs_examples
def test_another_system_translates(call: Call, tmp_path: Path) -> None:
    video, out = ROOT / "examples" / "english-video.mp4", tmp_path / "out"
    (tmp_path / "whisper").mkdir()
    folder = SMALL["whisper"](tmp_path / "whisper")
    asked = ("translate", video, "--system", "whisper", "--model", folder, "--to", "eng", "-o", out, "-f", "all")
    first = call(*asked, "--language", "deu")
    assert first.code == 0, first.err
    found = json.loads((out / "english-video.json").read_text(encoding="utf-8"))
    assert found["language"] == "deu" and found["segments"][0]["translations"]["eng"]
    assert {path.name for path in out.glob("*.srt")} == {"english-video.deu.srt", "english-video.eng.srt"}
    again = call(*asked, "--language", "deu")
    assert again.code == 0 and "1 of 1 were translated before" in again.err
    assert call(*asked, "--language", "deu", "--beam_size", 2).code == 0  # other settings: translated anew
    assert "does not support hotwords" in call(*asked, "--language", "deu", "--hotwords", "Tom").complaint
    unable = ("translate", video, "--system", "seamless-m4t-v2-large", "--to", "eng")
    assert "seamless-m4t-v2-large cannot detect what is spoken; name the `language`" in call(*unable).complaint
    both = call(*unable, "--language", "deu", "--bilingual", "-o", out, "-f", "srt")
    assert "does not write what is said" in both.complaint
    neither = call("translate", video, "--system", "seamless-m4t-v2-large", "--to", "none", "--language", "deu")
    assert "does not write what is said; name a target instead of none" in neither.complaint
    with pytest.raises(ModelError, match="baseline-3b does not write what is said"):  # of ours, by the recipe alone
        check_model(load_recipe("baseline-3b"), read_targets(["none"]))


@needs_examples
def test_transcripts_alone(call: Call, random_model: Path, tmp_path: Path) -> None:
    asked = ("translate", SPEECH, "--language", "de", "--model", random_model, "-o", tmp_path / "both", "-f", "all")
    assert call(*asked, "--to", "eng").code == 0
    only = call(*[tmp_path / "only" if one == tmp_path / "both" else one for one in asked], "--to", "none")
    assert only.code == 0 and [line[:5] for line in only.out.splitlines()[1:]] == ["deu: "]
    files = {path.name for path in (tmp_path / "only").iterdir()} - {"german-mp3.json", resume.NAME}
    assert files == {f"german-mp3.deu.{kind}" for kind in ("txt", "vtt", "srt", "tsv")}
    for name in files:
        assert (tmp_path / "only" / name).read_bytes() == (tmp_path / "both" / name).read_bytes()

    bilingual = call(*asked, "--to", "none", "--bilingual")
    assert "--bilingual: with --to none there is no translation" in bilingual.complaint

    row = {"id": "a", "audio": str(SPEECH), "language": "deu", "text": "Diese Uhr ist kaputt."}
    (tmp_path / "cv.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    asked = ("evaluate", tmp_path / "cv.jsonl", "--model", random_model, "--out", tmp_path / "out")
    assert "transcribe alone (--to none)" in call(*asked, "--to", "all").complaint
    heard = call(*asked, "--to", "none", "--report", tmp_path / "report")
    assert heard.code == 0, heard.err
    scores = {score["metric"]: score for score in json.loads((tmp_path / "out" / "scores.json").read_text())}
    assert "BLEU" not in scores and scores["WER"]["count"] == 1
    assert call("compare", tmp_path / "out", tmp_path / "out", "--metric", "WER").code == 0
    text = call(*asked[:-1], tmp_path / "text", "--to", "none", "--text")
    assert "--text translates what was said; name a target" in text.complaint


@needs_examples
def test_evaluate_twice_and_otherwise(call: Call, random_model: Path, tmp_path: Path) -> None:
    row = {"id": "a", "audio": str(SPEECH), "language": "deu", "text": "Diese Uhr ist kaputt."}
    row |= {"translations": {"eng": "This watch is broken.", "fra": "Cette montre est cassée."}}
    manifest = tmp_path / "manifest.jsonl"
    unheard = {"id": "b", "audio": "absent.flac", "language": "jpn", "text": "x", "translations": {"eng": "x"}}
    manifest.write_text(f"{json.dumps(row)}\n{json.dumps(unheard)}\n", encoding="utf-8")
    out = tmp_path / "out"
    asked = ("evaluate", manifest, "--to", "all", "--model", random_model, "--out", out)
    first = call(*asked)
    assert first.code == 0 and "deu-eng" in first.out and "BLEU|nrefs:1" in first.out
    assert "1 of 2 utterances are references and no more: random does not hear their languages" in first.err
    written = (out / "hypotheses.jsonl").read_text(encoding="utf-8")
    assert written.count("\n") == 2 and {"WER", "BLEU"} <= {
        s["metric"] for s in json.loads((out / "scores.json").read_text())
    }
    account = json.loads((out / "run.json").read_text())
    assert account["model"] == "random" and account["hypotheses"] == 2 and account["parameters"] > 1000
    assert call(*asked).out == first.out
    assert "chrF2++|" in call(*asked, "--metric", "chrf++").out
    assert json.loads((out / "run.json").read_text()) == account  # nothing was generated, so nothing was timed
    other = call(*asked, "--beam_size", 2)
    assert other.code == 2 and "begun with another system" in other.err
    text = call(*asked[:-1], tmp_path / "text", "--text")
    assert text.code == 0 and "deu-eng" in text.out
    both = call("compare", out, tmp_path / "text")
    assert both.code == 0 and "deu-eng" in both.out and "hypotheses/s" in both.out
    assert (out / "hypotheses.jsonl").read_text(encoding="utf-8") == written


@needs_examples
def test_evaluate_with_the_transcript_at_hand(call: Call, random_model: Path, tmp_path: Path) -> None:
    """LLM-SRT's Table 6: with the true transcript nothing is misheard, with its own as much as without the task."""
    row = {"id": "a", "audio": str(SPEECH), "language": "deu", "text": "Diese Uhr ist kaputt."}
    row["translations"] = {"eng": "This watch is broken."}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(row) + "\n", encoding="utf-8")
    asked = ("evaluate", manifest, "--to", "eng", "--model", random_model, "--metric", "WER", "--metric", "BLEU")

    def errors(name: str, *options: str) -> float:
        done = call(*asked, "--out", tmp_path / name, *options)
        assert done.code == 0, done.err
        (found,) = [
            score["value"]
            for score in json.loads((tmp_path / name / "scores.json").read_text())
            if (score["metric"], score["direction"]) == ("WER", "deu")
        ]
        return float(found)

    assert errors("reference", "--task", "smt", "--transcript", "reference") == 0
    assert errors("hypothesis", "--task", "smt", "--transcript", "hypothesis") == errors("srt") > 0
    out = ("--out", tmp_path / "reference")
    assert "begun with another system" in call(*asked, *out).complaint
    for wrong, says in (
        (["--task", "smt"], "--task smt needs --transcript: reference"),
        (["--transcript", "reference"], "--transcript goes with --task smt"),
        (["--task", "smt", "--transcript", "reference", "--text"], "leave it or --text out"),
        (["--task", "smt", "--transcript", "reference", "--system", "whisper"], "--task smt is for our own models"),
    ):
        assert says in call(*asked, *out, *wrong).complaint
    manifest.write_text(json.dumps({**row, "text": ""}) + "\n", encoding="utf-8")
    lacking = call(*asked, "--out", tmp_path / "new", "--task", "smt", "--transcript", "reference")
    assert "1 utterances have no transcript ('a' first)" in lacking.complaint


@needs_examples
def test_training_is_watched_by_translating(random_model: Path) -> None:
    from dragoman.evaluation.validation import translation_scores
    from dragoman.model.folder import load_model
    from dragoman.records import Utterance

    utterance = Utterance(id="a", audio=str(SPEECH), language="deu", text="Diese Uhr ist kaputt.")
    loaded = load_model(random_model)
    assert translation_scores(loaded, [utterance.model_copy(update={"text": ""})]) == {}  # nothing to compare with
    heard = translation_scores(loaded, [utterance])
    assert "BLEU" not in heard and heard["WER"] > 0
    referenced = utterance.model_copy(update={"id": "b", "translations": {"eng": "This watch is broken."}})
    mixed = translation_scores(loaded, [utterance, referenced])
    assert mixed["BLEU"] >= 0 and mixed["WER"] == heard["WER"]  # both are heard, to the same words
    referenced = utterance.model_copy(update={"translations": {"eng": "This watch is broken."}})
    scores = translation_scores(loaded, [referenced])
    assert scores["truncated"] == 1 and 0 <= scores["BLEU"] <= 100 and scores["WER"] >= 0


@needs_hostile
@pytest.mark.slow
def test_a_folder_of_hostile_files(random_model: Path, tmp_path: Path) -> None:
    """But for ten hours of silence, which take two minutes; test_long.py has two hours of it."""
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for path in HOSTILE.iterdir():
        if path.name != "bomb_10h_silence_8k.flac":
            (hostile / path.name).symlink_to(path)
    done = run(
        "translate", hostile, "--to", "fra", "--language", "eng", "--model", random_model, "-o", tmp_path, timeout=900
    )
    told = [line for line in done.err.splitlines() if line.startswith("dragoman: ")]
    assert done.code == 2
    shown = {line for line in done.out.splitlines() if line.startswith(str(hostile))}
    inputs = set(map(str, recordings([hostile])))
    failed = {path for path in inputs - shown if sum(path in line for line in told) == 1}
    assert shown | failed == inputs
    assert len(done.err.splitlines()) == len(told) + len(inputs) + 1, done.err  # the summary: a row each, and its head
    assert told[-1].startswith(f"dragoman: {len(shown)} translated, {len(failed)} failed in ")
    must = {"ok_16k.mp3", "ok_aac.m4a", "ok_opus.webm", "video_with_speech.mp4", "chained_two_streams.ogg", "rf64.wav"}
    assert {str(hostile / name) for name in must} <= shown
    assert {str(hostile / name) for name in ("video_no_audio.mp4", "playlist_named.wav")} <= failed
    for name in ("silence_60s.flac", "tone_440_20s.flac", "white_noise_20s.flac"):
        assert json.loads((tmp_path / f"{Path(name).stem}.json").read_text(encoding="utf-8"))["segments"] == []


def test_models_lists_every_recipe_and_system_with_its_memory(call: Call) -> None:
    done = call("models", "--json")
    found = {entry["name"]: entry for entry in json.loads(done.out)}
    assert set(found) == {*names(), *EXTERNAL_SYSTEMS, *map(" ".join, OTHER_CHECKPOINTS)} and done.code == 0
    assert 55e9 < found["mcat-large-27b"]["memory_bytes"] < 56e9
    assert len(found["mcat-large-27b"]["sources"]) == 70 and found["tiny"]["parameters"] > 1e6
    both = found["whisper+nllb"]
    assert (both["hears"], both["get"], both["licence"]) == (100, "--system whisper+nllb", "Apache-2.0; CC-BY-NC-4.0")
    assert found["llast-2b-mhubert"]["encoder"] == "voidful/mhubert-base" and both["encoder"] is None
    table = call("models").out
    assert (
        all(name in table for name in found) and "FLEURS 9x69: COMET 81.5" in table and "hub: yxdu/mcat-large" in table
    )

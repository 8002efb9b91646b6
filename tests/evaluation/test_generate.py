"""Generating hypotheses: what is asked of the system, references, and going on after an interruption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from toy import write_corpus

from dragoman.errors import DataError, LanguageError
from dragoman.evaluation.generate import GenerationSummary, Translate, generate
from dragoman.evaluation.score import score
from dragoman.records import Hypothesis, Utterance, read_hypotheses, read_manifest, to_json_line

TARGETS = ("deu", "fra")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


class System:
    """Answers with what it was asked, the number of utterances in its batch included; may break off."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.calls: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self._breaks_at = breaks_at

    def __call__(self, utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        if len(self.calls) == self._breaks_at:
            raise RuntimeError("power cut")
        self.calls.append((tuple(u.id for u in utterances), tuple(targets)))
        return [
            Hypothesis(id=u.id, source=u.language, target=t, translation=f"{u.text}>{t}/{len(utterances)}")
            for t in reversed(targets)
            for u in utterances
            if t != u.language
        ]


def sentences(count: int) -> list[Utterance]:
    return [
        Utterance(id=f"{n}-{code}", audio="x.wav", language=code, text=f"{code} {n}", sentence=str(n))
        for n in range(count)
        for code in ("deu", "eng", "fra")
    ]


def part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def test_every_pair_once_with_its_references(tmp_path: Path) -> None:
    out = tmp_path / "new" / "hypotheses.jsonl"
    system, progress = System(), list[tuple[int, int]]()
    summary = generate(
        sentences(2), TARGETS, system, out, batch_size=4, on_progress=lambda *numbers: progress.append(numbers)
    )
    assert summary == GenerationSummary(total=8, kept=0, without_reference=0)
    assert system.calls == [
        (("0-deu", "0-eng", "0-fra", "1-deu"), TARGETS),
        (("1-eng", "1-fra"), TARGETS),
    ]
    assert progress == [(5, 8), (8, 8)]
    rows = read_hypotheses(out)
    assert [(row.id, row.target) for row in rows] == [
        ("0-deu", "fra"),
        ("0-eng", "deu"),
        ("0-eng", "fra"),
        ("0-fra", "deu"),
        ("1-deu", "fra"),
        ("1-eng", "deu"),
        ("1-eng", "fra"),
        ("1-fra", "deu"),
    ]
    assert rows[1].reference == "deu 0" and rows[1].reference_transcript == "eng 0"
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name, out.name + ".request.json"]


def test_resumed_twice_equals_uninterrupted(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    uninterrupted, first, second, last = System(), System(breaks_at=2), System(breaks_at=3), System()
    generate(sentences(9), TARGETS, uninterrupted, whole, batch_size=4)
    for system in (first, second):
        with pytest.raises(RuntimeError, match="power cut"):
            generate(sentences(9), TARGETS, system, broken, batch_size=4)
        assert not broken.exists()
    summary = generate(sentences(9), TARGETS, last, broken, batch_size=4)
    assert broken.read_bytes() == whole.read_bytes()
    assert first.calls + second.calls + last.calls == uninterrupted.calls
    assert [len(system.calls) for system in (first, second, last)] == [2, 3, 2]
    # Two batches of 4 and 3 utterances were left; the two English ones among them go to two targets.
    assert summary == GenerationSummary(total=36, kept=36 - 7 - 2, without_reference=0)
    assert not part(broken).exists()


def test_a_cut_anywhere_is_mended(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    generate(sentences(2), TARGETS, System(), out, batch_size=2)
    whole = out.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({*range(0, len(whole), 37), *ends, *(end + 1 for end in ends)}):
        part(out).write_bytes(whole[:cut])
        out.unlink()
        generate(sentences(2), TARGETS, System(), out, batch_size=2)
        assert out.read_bytes() == whole, cut


def test_what_is_not_ours_in_the_part_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    generate(sentences(2), TARGETS, System(), out, batch_size=2)
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    strange = to_json_line(Hypothesis(id="other", source="eng", target="deu")).encode()
    for middle in (strange, b"\0\0\0\n", b"\n", b"{}\n"):
        part(out).write_bytes(b"".join([*lines[:3], middle, *lines[4:]]))
        out.unlink(missing_ok=True)
        assert (
            generate(sentences(2), TARGETS, System(), out, batch_size=2).kept == 6
        )  # of 8: the batch with it is asked again
        assert out.read_bytes() == whole


def share(out: Path, processes: int, systems: Sequence[System], count: int = 9) -> list[GenerationSummary]:
    """Each process after the other; None where it broke off."""
    found = []
    for rank, system in enumerate(systems):
        try:
            found.append(generate(sentences(count), TARGETS, system, out, batch_size=4, rank=rank, processes=processes))
        except RuntimeError:
            continue
    return found


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_processes_share_the_work(tmp_path: Path, processes: int) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "shared" / "out.jsonl"
    alone, systems = System(), [System() for _ in range(processes)]
    generate(sentences(9), TARGETS, alone, whole, batch_size=4)
    done = share(out, processes, systems)
    assert [system.calls for system in systems] == [alone.calls[rank::processes] for rank in range(processes)]
    assert out.read_bytes() == whole.read_bytes()
    assert sum(summary.total - summary.kept for summary in done) == 36
    last = min(processes, len(alone.calls)) - 1  # more processes than batches: the rest come to a finished file
    assert [summary.joined for summary in done] == [rank == last for rank in range(processes)]
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name, out.name + ".request.json"]
    assert [summary.joined for summary in share(out, processes, systems)] == [True] + [False] * (processes - 1)


@pytest.mark.parametrize(("first", "then"), [(3, 2), (2, 5), (1, 2), (3, 1)])
def test_another_number_of_processes_goes_on(tmp_path: Path, first: int, then: int) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    alone = System()
    generate(sentences(9), TARGETS, alone, whole, batch_size=4)
    broken, again = [System(breaks_at=1) for _ in range(first)], [System() for _ in range(then)]
    assert share(out, first, broken) == [] and not out.exists()
    assert [summary.joined for summary in share(out, then, again)].count(True) == 1
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(call for system in broken + again for call in system.calls) == sorted(alone.calls)


def test_what_is_done_but_not_joined_is_joined(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    generate(sentences(9), TARGETS, System(), out, batch_size=4)
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.unlink()
    part(out).write_bytes(b"".join(lines[12:]))
    out.with_name(out.name + ".part7").write_bytes(b"".join(lines[:12]) + lines[12][:20])
    system = System()
    progress = list[tuple[int, int]]()
    summary = generate(
        sentences(9), TARGETS, system, out, batch_size=4, on_progress=lambda *numbers: progress.append(numbers)
    )
    written = sum(len(batch) for batch, _ in system.calls)
    assert out.read_bytes() == whole and summary.joined and written <= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, out.name + ".request.json"]


def test_progress_counts_what_other_processes_write(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    progress = list[tuple[int, int]]()
    other = System()

    def with_another(utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        if not other.calls:
            generate(sentences(9), TARGETS, other, out, batch_size=4, rank=1, processes=2)
        return System()(utterances, targets)

    generate(
        sentences(9), TARGETS, with_another, out, batch_size=4, on_progress=lambda *n: progress.append(n), processes=2
    )
    theirs = sum(t != u.split("-")[1] for ids, targets in other.calls for u in ids for t in targets)
    assert progress[0] == (theirs + 5, 36) and progress[-1] == (36, 36)


@pytest.mark.slow
def test_two_real_processes_write_what_one_writes(random_model: Path, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "data")
    assert len(manifest) == 12
    asked = ["-m", "dragoman", "evaluate", str(tmp_path / "data/train.jsonl"), "--to", "all", "--batch_size", "2"]
    asked += ["--model", str(random_model)]
    outputs = {}
    for name, launcher in {"one": [], "two": TORCHRUN}.items():
        done = subprocess.run(
            [sys.executable, *launcher, *asked, "--out", str(tmp_path / name)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        outputs[name] = done.stdout
    for file in ("hypotheses.jsonl", "hypotheses.jsonl.request.json", "scores.json"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
    assert outputs["two"] == outputs["one"] != ""  # one of the two scores and prints
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_a_finished_request_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    generate(sentences(2), TARGETS, System(), out)
    system = System()
    assert generate(sentences(2), TARGETS, system, out) == GenerationSummary(total=8, kept=8, without_reference=0)
    assert system.calls == []


@pytest.mark.parametrize("finished", [True, False])
def test_another_request_under_the_same_name_is_an_error(tmp_path: Path, finished: bool) -> None:
    out = tmp_path / "out.jsonl"
    if finished:
        generate(sentences(2), TARGETS, System(), out, system="a")
    else:
        with pytest.raises(RuntimeError):
            generate(sentences(2), TARGETS, System(breaks_at=1), out, system="a", batch_size=1)
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    with pytest.raises(DataError, match="another system; choose another name"):
        generate(sentences(2), TARGETS, System(), out, system="b")
    with pytest.raises(DataError, match="another targets, hypotheses"):
        generate(sentences(2), ["deu"], System(), out, system="a")
    changed = [u.model_copy(update={"audio": "noisy.wav"}) for u in sentences(2)]
    with pytest.raises(DataError, match="another manifest;"):
        generate(changed, TARGETS, System(), out, system="a")
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_files_of_unknown_origin_are_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for path in (out, part(out)):
        path.write_text("precious")
        with pytest.raises(DataError, match=r"exists, but not out\.jsonl\.request\.json"):
            generate(sentences(1), TARGETS, System(), out)
        assert path.read_text() == "precious"
        path.unlink()
    for broken in ("{", "[]"):
        out.with_name(out.name + ".request.json").write_text(broken)
        with pytest.raises(DataError, match="not readable"):
            generate(sentences(1), TARGETS, System(), out)


def test_only_pairs_with_a_reference(tmp_path: Path) -> None:
    utterances = [
        Utterance(id="both", audio="x", language="eng", text="a", translations={"deu": "A", "fra": "Á"}),
        Utterance(id="one", audio="x", language="eng", text="b", translations={"deu": "B", "fra": ""}),
        Utterance(id="none", audio="x", language="eng", text="c", sentence="alone"),
        Utterance(id="also both", audio="x", language="eng", translations={"deu": "D", "fra": "Đ"}),
    ]
    system = System()
    summary = generate(utterances, TARGETS, system, tmp_path / "some.jsonl")
    assert summary == GenerationSummary(total=5, kept=0, without_reference=3)
    assert system.calls == [(("both", "also both"), TARGETS), (("one",), ("deu",))]
    rows = {(row.id, row.target): row for row in read_hypotheses(tmp_path / "some.jsonl")}
    assert rows["one", "deu"].reference == "B"
    assert rows["also both", "deu"].reference_transcript is None

    every = generate(utterances, TARGETS, System(), tmp_path / "all.jsonl", only_with_reference=False)
    assert every == GenerationSummary(total=8, kept=0, without_reference=3)
    without = [(r.id, r.target) for r in read_hypotheses(tmp_path / "all.jsonl") if r.reference is None]
    assert without == [("one", "fra"), ("none", "deu"), ("none", "fra")]


def test_an_utterance_without_speech_has_an_empty_reference(tmp_path: Path) -> None:
    rows = [
        {"id": "noise", "audio": "x", "language": "eng", "text": ""},
        {"id": "music", "audio": "x", "language": "eng", "translations": {"deu": ""}},
        {"id": "unknown", "audio": "x", "language": "eng"},
        {"id": "said", "audio": "x", "language": "eng", "text": "a", "translations": {"deu": "A"}},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    utterances = read_manifest(tmp_path / "m.jsonl")
    assert generate(utterances, ["deu"], System(), tmp_path / "o.jsonl") == GenerationSummary(3, 0, without_reference=1)
    found = [(row.id, row.reference_transcript, row.reference) for row in read_hypotheses(tmp_path / "o.jsonl")]
    assert found == [("noise", "", ""), ("music", "", ""), ("said", "a", "A")]


def test_what_is_in_a_language_that_is_not_heard_is_a_reference(tmp_path: Path) -> None:
    system = System()
    summary = generate(sentences(2), TARGETS, system, tmp_path / "heard.jsonl", sources=["eng"])
    assert summary == GenerationSummary(total=4, kept=0, without_reference=0, unheard=4)
    assert system.calls == [(("0-eng", "1-eng"), TARGETS)]
    rows = read_hypotheses(tmp_path / "heard.jsonl")
    assert [row.reference for row in rows] == ["deu 0", "fra 0", "deu 1", "fra 1"]
    with pytest.raises(DataError, match="every utterance is in a language that is not heard"):
        generate(sentences(2), TARGETS, system, tmp_path / "none.jsonl", sources=["nld"])
    assert not list(tmp_path.glob("none*"))


def test_without_targets_all_is_transcribed(tmp_path: Path) -> None:
    def transcribe(utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        assert not targets
        return [Hypothesis(id=u.id, source=u.language, target=u.language, transcript=f"{u.text}?") for u in utterances]

    out = tmp_path / "out.jsonl"
    silent = Utterance(id="c", audio="x.wav", language="deu")
    summary = generate([*sentences(2), silent], (), transcribe, out, batch_size=4)
    assert summary == GenerationSummary(total=6, kept=0, without_reference=1)
    rows = read_hypotheses(out)
    assert [(row.source, row.target, row.transcript, row.reference) for row in rows[:2]] == [
        ("deu", "deu", "deu 0?", None),
        ("eng", "eng", "eng 0?", None),
    ]
    assert {row.metric for row in score(rows)} == {"WER", "empty", "truncated"}
    whole = out.read_bytes()
    part(out).write_bytes(whole[: len(whole) - 5])
    out.unlink()
    assert generate([*sentences(2), silent], (), transcribe, out, batch_size=4).kept == 4
    assert out.read_bytes() == whole
    with pytest.raises(DataError, match="nothing to transcribe: no utterance has a transcript"):
        generate([silent], (), transcribe, tmp_path / "none.jsonl")


def test_its_own_translation_comes_before_another_recording(tmp_path: Path) -> None:
    utterances = [
        Utterance(id="1", audio="x", language="eng", text="a", sentence="s", translations={"deu": "own"}),
        Utterance(id="2", audio="x", language="deu", text="other", sentence="s"),
        Utterance(id="3", audio="x", language="fra", text="tiers", sentence="s"),
    ]
    generate(utterances, ["deu"], System(), tmp_path / "out.jsonl")
    assert {row.id: row.reference for row in read_hypotheses(tmp_path / "out.jsonl")} == {"1": "own", "3": "other"}


def test_an_empty_translation_is_none(tmp_path: Path) -> None:
    utterances = [
        Utterance(id="1", audio="x", language="eng", text="a", sentence="s", translations={"deu": ""}),
        Utterance(id="2", audio="x", language="deu", text="other", sentence="s"),
    ]
    generate(utterances, ["deu"], System(), tmp_path / "out.jsonl")
    assert [row.reference for row in read_hypotheses(tmp_path / "out.jsonl")] == ["other"]


def test_source_languages_share_batches_without_parallel_recordings(tmp_path: Path) -> None:
    texts = {"deu": "A", "eng": "B", "fra": "C"}
    utterances = [
        Utterance(id=code, audio="x", language=code, translations={c: t for c, t in texts.items() if c != code})
        for code in texts
    ]
    system = System()
    generate(utterances, list(texts), system, tmp_path / "out.jsonl")
    assert system.calls == [(tuple(texts), tuple(texts))]


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="nothing to translate"):
        generate(sentences(2), ["jpn"], System(), out)
    with pytest.raises(DataError, match="nothing to translate"):
        generate([], TARGETS, System(), out)
    with pytest.raises(DataError, match="Two utterances have the id '0-deu'"):
        generate([*sentences(1), *sentences(1)], TARGETS, System(), out)
    with pytest.raises(LanguageError):
        generate(sentences(1), ["gibberish"], System(), out)
    assert list(tmp_path.iterdir()) == []


def test_targets_may_be_names_and_sets(tmp_path: Path) -> None:
    system = System()
    generate(sentences(1), ["German", "fr,de"], system, tmp_path / "out.jsonl")
    assert system.calls[0][1] == ("deu", "fra")


def test_a_system_that_answers_otherwise_is_a_bug(tmp_path: Path) -> None:
    def forgets(utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        return System()(utterances, targets)[1:]

    def repeats(utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        return System()(utterances, targets)[:1] * 4

    def doubles(utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        return System()(utterances, targets) * 2

    wrong: list[Translate] = [forgets, repeats, doubles]
    for number, system in enumerate(wrong):
        with pytest.raises(ValueError, match="the system returned"):
            generate(sentences(1), TARGETS, system, tmp_path / f"{number}.jsonl")

"""The bench: alternating measurements, counted operations, and one line for each rival that is missing."""

import importlib
import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from attune.encoding.encoders import TorchEncoder, load_torch
from attune.errors import BadInput
from bench import texts
from bench.alternating import Run, Spread, alternate, rates, ratios, timed
from bench.parts import large_encoder, pipeline, rehearsal, train
from bench.parts.ceilings import Shape
from bench.parts.startup import Cost
from bench.ranked import Task, run_of
from bench.results import PARTS, explained, page, sections
from bench.section import ROOT, Section, Target, table
from bench.texts import cut
from bench.workers import Gone, Worker


@pytest.mark.parametrize(
    "part",
    [
        *(*PARTS, "encode_worker", "large_encoder_worker", "train_worker"),
        *("int8", "recipe", "passages", "holes", "forecast", "tuned_labels", "first_report", "first_calls"),
    ],
)
def test_every_part_finds_what_it_imports(part: str) -> None:
    """From attune and from each other."""
    importlib.import_module(f"bench.parts.{part}")


def test_attunes_encoder_is_measured_as_stage_embed_loads_it(tiny_encoder: Path) -> None:
    """In either precision; rows of length 1."""
    from bench.parts.encode_worker import attune_torch

    for precision in ("fp32", "bf16"):
        vectors = attune_torch(tiny_encoder, 1, precision)(["stack the arrays", "sort"])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_systems_are_measured_alternately() -> None:
    """Two rounds that count after one that does not; the order turns round each time."""
    calls: list[str] = []
    times = {"one": iter([9.0, 1.0, 2.0]), "two": iter([9.0, 4.0, 6.0])}

    def run_of(name: str) -> Run:
        def run() -> float:
            calls.append(name)
            return next(times[name])

        return run

    seconds = alternate({name: run_of(name) for name in times}, rounds=2, warm=1)
    assert calls == ["one", "two", "two", "one", "one", "two"]
    assert seconds == {"one": [1.0, 2.0], "two": [4.0, 6.0]}


def test_ratios_are_of_rounds_and_not_of_medians() -> None:
    """A slow minute slows both: 8 s against 4 s is the same ratio as 2 s against 1 s."""
    assert ratios([2.0, 8.0, 3.0], [1.0, 4.0, 1.0]) == Spread(2.0, 2.0, 3.0)
    assert rates(10, [1.0, 2.0, 5.0]) == Spread(2.0, 5.0, 10.0)


def test_work_is_timed_by_the_clock_around_it() -> None:
    """A run returns the seconds between its start and its end."""
    ticks, done = iter([10.0, 12.5]), []
    assert timed(lambda: done.append(1), lambda: next(ticks))() == 2.5
    assert done == [1]


def test_a_spread_reads_minimum_median_maximum() -> None:
    """Cells show minimum, median and maximum in this order, the median in bold."""
    assert Spread.of([3.0, 1.0, 1234.5]).cell(1) == "1.0 / **3.0** / 1,234.5"
    assert Spread.of([1.0, 2.0]).median == 1.5


def test_operations_by_hand() -> None:
    """One layer of dimension 2, 3 wide, texts of 1 and 2 tokens; each token meets 4 x 2 x 2 and 2 x 2 x 3 weights."""
    shape = Shape(n_layers=1, dim=2, wide=3)
    weights = 4 * 4 + 2 * 6  # 28 numbers
    assert shape.layer_flop(3) == 2 * weights * 3 == 168
    # queries by keys, and weights by values: of each text length x length x dim, twice, times two operations
    attention = 2 * 2 * (1 * 1 * 2) + 2 * 2 * (2 * 2 * 2)
    assert shape.flop([1, 2]) == 168 + attention == 208
    assert Shape(6, 2, 3).flop([1, 2]) == 6 * 208


def test_the_default_encoder_needs_what_the_design_says() -> None:
    """all-MiniLM-L6-v2 at 97 tokens: 6 x 97 x 2 x (4 x 384² + 2 x 384 x 1536) and attention, 2.15 GFLOP."""
    assert Shape(6, 384, 1536).flop([97]) == pytest.approx(2.15e9, rel=0.005)


def test_a_table_has_numbers_to_the_right_and_no_ragged_row() -> None:
    """All columns but the first are aligned to the right; a row of another length is refused."""
    assert table(["system", "s"], [["a", "1"]]) == "| system | s |\n| --- | ---: |\n| a | 1 |"
    with pytest.raises(ValueError, match="row .* has 1 cells, expected 2"):
        table(["system", "s"], [["a"]])


def test_a_section_is_read_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its Markdown, its targets, and what was left out; the latter is said at once, in one line."""
    section = Section("Encode", "python -m bench.parts.encode", "2026-01-02", machine="2 CPU threads.")
    section.add("some words")
    section.leave_out("fastembed is not here")
    section.targets.append(
        Target("encode", ">= 2", "1 / **2** / 3", is_met=cast(bool, np.True_))
    )  # as a comparison of NumPy's numbers says it
    section.write(tmp_path / "kept" / "encode.json")
    assert Section.read(tmp_path / "kept" / "encode.json") == section
    page = section.markdown()
    assert page.startswith(
        "## Encode\n\n`python -m bench.parts.encode`, 2026-01-02; 2 CPU threads.\n\nsome words\n\nLeft out: fastembed"
    )
    assert section.targets[0].cells() == ["encode", ">= 2", "yes", "1 / **2** / 3", ""]
    assert capsys.readouterr().err == "attune bench: left out: fastembed is not here\n"


def test_who_lacks_a_data_set_does_not_wipe_what_was_measured_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kept figures stay, byte for byte; with nothing missing, or no more than before, they are replaced."""
    file = tmp_path / "encode.json"
    whole = Section("Encode", "python x", "2026-01-02", ["short", "long"])
    whole.targets.append(Target("encode, long texts", ">= 2", "1 / **2** / 3", is_met=True))
    whole.write(file)
    kept = file.read_bytes()
    poorer = Section("Encode", "python x", "2026-01-03", ["short"], left_out=["no medquad"])
    poorer.write(file)
    assert "encode.json stays as it was; missing now: encode, long texts; no medquad" in capsys.readouterr().err
    some = Section("Encode", "python x", "2026-01-03", ["short"])  # as with --kinds short
    some.write(file)
    assert "missing now: encode, long texts" in capsys.readouterr().err
    assert file.read_bytes() == kept
    file.unlink()
    poorer.write(file)
    poorer.write(file)
    Section("Encode", "python x", "2026-01-04", ["short", "long"]).write(file)
    assert Section.read(file).date == "2026-01-04"


def script(folder: Path, body: str, name: str = "worker.py") -> Path:
    """A worker."""
    file = folder / name
    root = Path(__file__).resolve().parents[2]
    file.write_text(f"import sys\nsys.path.insert(0, {str(root)!r})\nfrom bench.workers import obey\n{body}\n")
    return file


def test_a_worker_times_itself_whatever_it_prints(tmp_path: Path) -> None:
    """Each request is answered with seconds, memory and facts, and prints do not disturb the line."""
    body = "def work(n):\n    print('noise')\n    return {'twice': 2 * n}\nobey(lambda: work)"
    with Worker("double", [str(script(tmp_path, body))], python=sys.executable) as worker:
        assert worker.ready() >= 0
        assert 0 <= worker.ask(n=21) < 60
        assert worker.facts == {"twice": 42} and worker.peak_bytes > 1_000_000


def test_a_worker_that_fails_is_missed_and_not_waited_for(tmp_path: Path) -> None:
    """A worker that ends early raises Gone with its exit code, at once and again when asked."""
    with Worker("broken", [str(script(tmp_path, "raise SystemExit(3)"))]) as worker:
        with pytest.raises(Gone, match="broken ended with exit code 3, see above"):
            worker.ready()
        with pytest.raises(Gone):
            worker.ask()


def test_the_page_has_every_target_first_and_every_part_under_its_own_date() -> None:
    """Targets of all parts come first; each part keeps its command, date and machine."""
    first = Section("Encode", "python -m bench.parts.encode", "2026-01-02", machine="2 CPU threads.")
    second = Section("Train", "python x", "2026-01-03", machine="8 CPU threads.")
    second.targets.append(Target("train", ">= 2", "1 / **1** / 1", is_met=False, note="busy"))
    shown = page([first, second])
    targets = shown.partition("## Targets")[2].partition("## Encode")[0]
    assert "| train | >= 2 | **no** | 1 / **1** / 1 | busy |" in targets
    assert shown.index("encode`, 2026-01-02; 2 CPU threads.") < shown.index("x`, 2026-01-03; 8 CPU threads.")


def test_every_stage_and_module_in_saved_results_is_there_or_explained() -> None:
    """Figures outlive names: the line below a table says what a stage, key or module of it is called now."""
    named = 0
    for section in sections():
        text, _, former = explained(section).partition("Names changed since: ")
        for stage, module in re.findall(r"\| stage (\w+)|import (attune[\w.]*)", text):
            path = f"attune/stages/{stage}" if stage else module.replace(".", "/")
            is_there = (ROOT / "src" / f"{path}.py").is_file() or (ROOT / "src" / path / "__init__.py").is_file()
            assert is_there or f"{module or f'stage {stage}'} is " in former, path
            named += 1
    assert named > 20


def test_the_rehearsal_is_measured_by_the_stages_own_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds with it less those without, by round; a file that has other bytes in one run is counted."""
    outs = {"base/model.safetensors": "weights", "base_exported/onnx/model.onnx": "graph"}

    def write(folder: Path, changed: str = "") -> None:
        for name, text in outs.items():
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(text + (changed if name.endswith("onnx") else ""))

    seconds = iter([9.0, 2.0, 30.0, 3.0, 12.0, 4.0])
    runs: list[list[str]] = []

    def run(command: list[str]) -> tuple[Cost, str]:
        runs.append(command)
        write(Path(command[command.index("--out") + 1]).parent, "!" if len(runs) == 4 else "")
        return Cost(next(seconds), 1.0), ""

    monkeypatch.setattr(rehearsal, "ROOT", tmp_path)
    monkeypatch.setattr(rehearsal, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(rehearsal, "run", run)
    write(tmp_path / "models")
    section = Section("Rehearsal", "", "2026-01-02")
    rehearsal.measure(section, Namespace(rounds=3))
    assert [command[1] for command in runs] == ["-m", "-c"] * 3
    time, files = section.targets
    assert (time.is_met, time.found) == (True, "7.0 / **8.0** / 27.0 s")
    assert (files.is_met, files.found) == (False, "1 of 2")
    options = " ".join(runs[0][3:9])
    assert f"attune.stages.base {options} --out" in " ".join((ROOT / "dvc.yaml").read_text().split())


def test_every_part_of_the_bench_is_a_program() -> None:
    """Each part that `make bench` runs is a module of bench/parts."""
    assert [part for part in PARTS if not (ROOT / "bench" / "parts" / f"{part}.py").is_file()] == []


def test_an_encoder_is_cut_wherever_a_program_looks_for_its_length(tmp_path: Path) -> None:
    """The original keeps its own; files that a folder lacks are no fault."""
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "modules.json").write_text("[]")
    (whole / "sentence_bert_config.json").write_text('{"max_seq_length": 96}')
    (whole / "tokenizer.json").write_text('{"truncation": {"max_length": 96, "stride": 0}}')
    copy = cut(whole, 256, tmp_path / "copy")
    assert json.loads((copy / "sentence_bert_config.json").read_text()) == {"max_seq_length": 256}
    assert json.loads((copy / "tokenizer.json").read_text()) == {"truncation": {"max_length": 256, "stride": 0}}
    assert "96" in (whole / "tokenizer.json").read_text()
    with pytest.raises(BadInput, match="no encoder; run `make repro`"):
        cut(tmp_path / "none", 256, tmp_path / "other")


def test_pairs_and_documents_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Titles come first, judgments of 0 are no answers, and the same seed draws the same."""
    folder = tmp_path / "nl2bash"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "t", "text": "x"}\n{"_id": "d2", "title": "", "text": "y"}'
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n{"_id": "q2", "text": "b"}')
    (folder / "qrels" / "all.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t0\n")
    monkeypatch.setattr(texts, "DATASETS", tmp_path)
    assert sorted(texts.documents(texts.KINDS["short"], 9)) == ["t\nx", "y"]
    assert texts.pairs(texts.KINDS["short"], 1) == (["a"], ["t\nx"])
    with pytest.raises(BadInput, match="short texts: 1 queries, expected 2"):
        texts.pairs(texts.KINDS["short"], 2)
    assert texts.present(texts.KINDS["long"]) == "long texts: $ATTUNE_DATASETS has no medquad"


def test_a_part_without_what_it_needs_says_so_in_one_line(tmp_path: Path) -> None:
    """No traceback, exit code 1, so that the bench goes on with the next part."""
    command = [sys.executable, "-m", "bench.parts.ceilings", "--model", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("attune bench: ") and done.stderr.count("\n") == 1


def test_random_embeddings_make_a_task_that_others_read_alike() -> None:
    """One to three answers for each query, no document twice, unit vectors; a ranking keeps its scores and order."""
    task = Task.drawn(20, 50)
    assert all(1 <= len(answers) <= 3 for answers in task.qrels().values()) and len(task.qrels()) == 20
    assert sum(map(len, task.qrels().values())) == len(task.judgments)
    assert task.queries.dtype == np.float32
    assert np.linalg.norm(task.queries, axis=1) == pytest.approx(np.ones(20), abs=1e-6)
    ranking = run_of(np.array([[0.5, 0.25]], dtype=np.float32), np.array([[7, 3]]))
    assert ranking == {"q0": {"d7": 0.5, "d3": 0.25}}


def test_training_compares_turns_with_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trainers that say they take 4, 2, 3, 1 and 8 s for a turn of 6 steps of 2 pairs; who fails is left out."""
    body = "from bench.workers import Line\nline = Line()\nline.tell(0.0)\nwhile line.wait() is not None: line.tell({})"
    seconds = dict(zip(train.NAMES, (4.0, 2.0, 3.0, 1.0, 8.0), strict=True))
    scripts = {name: script(tmp_path, body.format(taken), f"{taken}.py") for name, taken in seconds.items()}
    scripts[train.NAMES[-1]] = script(tmp_path, "raise SystemExit(3)", "broken.py")
    monkeypatch.setattr(train, "cut", lambda *_: tmp_path)
    monkeypatch.setattr(train, "start", lambda *_: {name: Worker(name, [str(file)]) for name, file in scripts.items()})
    section = Section("Train", "python x", "2026-01-03")
    train.measure_kind(section, texts.KINDS["short"], Namespace(model=tmp_path, rounds=2, batch_size=2, threads=1))
    assert f"| {train.OURS} | 12.0 / **12.0** / 12.0 | 4.00 / **4.00** / 4.00 | 4.00 |" in section.body[-1]
    assert "| plain trainer, bf16 | 6.0 / **6.0** / 6.0 | 2.00 / **2.00** / 2.00 | 2.00 |" in section.body[-1]
    assert [target.is_met for target in section.targets] == [True]
    assert "whole recipe ended with exit code 3" in section.left_out[0] and "left out" in capsys.readouterr().err


def test_the_pipelines_edits_change_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each edit changes one file of the miniature, so that DVC has something to wake for; no-op comes first."""
    folder = tmp_path / "miniature"
    pipeline.miniature.make(folder)
    seen: list[dict[str, bytes]] = []

    def repro(where: Path) -> tuple[float, list[str]]:
        watched = ("params.yaml", "advanced.yaml", "src/attune/evaluation/scoring/measures.py")
        seen.append({name: (where / name).read_bytes() for name in watched})
        return 1.0, ["evaluate@base", "report"]

    monkeypatch.setattr(pipeline, "repro", repro)
    section = Section("Pipeline", "python x", "2026-01-03")
    pipeline.measure(section, Namespace(folder=folder, cold=False, rounds=2))
    before, *after = seen[3:]  # cold, warm, two that are timed, then an edit each
    changed = [[name for name in one if one[name] != other[name]] for one, other in pairwise([before, *after])]
    code = "src/attune/evaluation/scoring/measures.py"
    assert changed == [["advanced.yaml"], [code], ["advanced.yaml"], ["params.yaml"], ["advanced.yaml"]]
    assert "| a measure's code (measures.py) | 2 | evaluate@base, report | 1.0 |" in section.body[-1]
    assert section.body[0] == "Cold, 300 documents: 2 stages in 1 s."


@pytest.mark.parametrize("name", [name for name in large_encoder.ENCODERS if name != large_encoder.DEFAULT])
def test_a_large_encoder_is_built_in_its_shape(tiny_encoder: Path, tmp_path: Path, name: str) -> None:
    """Smaller ones of each kind load as stage train loads them, and give finite vectors of their width."""
    small = large_encoder.ENCODERS[name]
    shape = replace(small.shape, layers=1, width=96, inner=64, vocabulary=2000)
    built = large_encoder.build(small._replace(shape=shape), tiny_encoder, tmp_path / name)
    embeddings = TorchEncoder(load_torch(built), "fp32", 64).encode_document(["sort an array", "plot"])
    assert embeddings.shape == (2, 96) and np.isfinite(embeddings).all()

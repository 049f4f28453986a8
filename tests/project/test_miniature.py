"""The whole pipeline, run for real on a few hundred documents: what it leaves, what an edit wakes, what it repeats."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import miniature
import networkx
import pytest
import warm_python
from branches import attune
from dvc.repo import Repo
from ruamel.yaml import YAML
from shipped_params import make_shipped

ROOT = miniature.ROOT
pytestmark = pytest.mark.usefixtures("yaml_is_parsed_once")
SYSTEMS = (
    *("bm25", "base", "adapter", "static_base", "static_tuned", "hybrid_base", "hybrid_adapter", "hybrid_tuned"),
    *("tuned", "tuned_int8"),
)
AFTER_TRAIN = {
    "train@r1",
    "merge",
    "export",
    "seeds",
    "probe@tuned",
    "drift",
    "storage",
    "report",
    "release",
    *(f"{s}@{x}" for s in ("embed", "evaluate") for x in ("tuned", "tuned_int8")),
    *("evaluate@hybrid_tuned", "static@tuned", "evaluate@static_tuned", "calibrate"),
}
PROBED = {"probe@base", "probe@tuned", "drift"}
AFTER_REPORT = {"report", "release"}
AFTER_EVALUATE = {*AFTER_REPORT, "seeds", "calibrate", *(f"evaluate@{system}" for system in SYSTEMS)}


def copy_or_link(source: str, target: str) -> None:
    """Copies a small file; links a large one, of which there is a gigabyte. Stages replace them; DVC edits dvc.lock."""
    if Path(source).stat().st_size > 100_000 and Path(source).name != "dvc.lock":
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def copied(finished: Path, folder: Path) -> Path:
    """Copies the pipeline but for DVC's locks, which another process of the suite may hold."""
    ignore = shutil.ignore_patterns("tmp")
    return Path(shutil.copytree(finished, folder, ignore=ignore, symlinks=True, copy_function=copy_or_link))


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished pipeline, to be changed."""
    return copied(finished, tmp_path / "copy")


@pytest.fixture(scope="module")
def watched(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy for all edits that are undone: DVC hashes the outputs in each new place."""
    return copied(finished, tmp_path_factory.mktemp("watched") / "copy")


@pytest.fixture
def restored(watched: Path) -> Iterator[Path]:
    """The finished pipeline, to be edited; parameters and sources are put back."""
    files = {path: path.read_bytes() for path in (*watched.glob("*.yaml"), *watched.glob("src/**/*")) if path.is_file()}
    yield watched
    for path, content in files.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def name_of(address: str) -> str:
    """A stage's name; seen from another folder, DVC puts the path of its dvc.yaml before it."""
    return address.rpartition(":")[2]


def woken(folder: Path) -> set[str]:
    """The stages that the next repro may run: those whose dependencies changed, and all that come after them.

    Nothing comes after base, which only rehearses training and export again and leaves the same bytes.
    """
    with Repo(str(folder)) as repo:
        changed = {name_of(address) for address in repo.status()}
        graph = repo.index.graph  # from a stage to what it depends on
        stages = {name_of(stage.addressing): stage for stage in graph}
        after = {
            name_of(stage.addressing)
            for name in changed - {"base"}
            for stage in networkx.ancestors(graph, stages[name])
        }
    return changed | after


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "\n# edited\n")


def test_every_stage_leaves_its_outputs_and_its_receipt(finished: Path) -> None:
    """Data, three models, ten systems, a curve, a report; figures are scalars, as DVC reads them."""
    report = json.loads((finished / "metrics" / "report.json").read_text())
    assert list(report)[:4] == ["baseline_recall@10", "tuned_recall@10", "mrr", "delta"]
    assert report["delta"][0] in "+-" and 0 < report["baseline_recall@10"] <= 1
    for system in SYSTEMS:
        figures = json.loads((finished / "metrics" / f"{system}.json").read_text())
        assert 0 < figures["recall@1"] <= figures["recall@10"] <= figures["recall@100"] <= 1
        assert all(isinstance(value, int | float | str) for value in figures.values())
    assert (finished / "metrics" / "plots" / "training.csv").read_text().startswith("seed,step,loss,dev_ndcg@10\n")
    choices = json.loads((finished / "metrics" / "choices.json").read_text())
    assert choices["named"] in SYSTEMS and all(choices[system]["recall@10"] > 0 for system in SYSTEMS)
    assert json.loads((finished / "metrics" / "curve.json").read_text())["n_queries"] > 0
    stored, tuned = (json.loads((finished / "metrics" / f"{name}.json").read_text()) for name in ("storage", "tuned"))
    assert stored["tuned.float32.ndcg@10"] == tuned["ndcg@10"]  # two stages, one figure
    assert "# Base against tuned" in (finished / "metrics" / "report.md").read_text()
    assert not list(finished.rglob("*.partial"))


def test_the_split_leaks_nothing(finished: Path) -> None:
    """The audit counts zero of everything."""
    split = json.loads((finished / "metrics" / "split.json").read_text())
    assert {value for key, value in split.items() if "leaks" in key} == {0}


def test_a_healthy_run_passes_the_gate(finished: Path) -> None:
    """No check of `attune gate` stops the miniature."""
    done = attune(finished, "gate")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_ruined_run_is_overfitted_drifted_and_stopped_by_the_gate(copy: Path) -> None:
    """140 times the learning rate, on fewer than 200 pairs, and the last encoder whatever dev says."""
    miniature.change(copy, {"train": {"learning_rate": 1.4e-2, "epochs": 3}, "merge": {"keep": "last"}})
    miniature.dvc(copy, "repro")
    report, drift = (json.loads((copy / "metrics" / f"{name}.json").read_text()) for name in ("report", "drift"))
    page = (copy / "metrics" / "report.md").read_text()
    assert report["overfitting"]["is_overfitted"] and "**Overfitted." in page
    assert drift["is_drifted"] and "**Drifted." in page
    done = attune(copy, "gate")
    assert done.returncode == 1
    lines = [line.split() for line in done.stdout.splitlines()]
    # shipped encoder below base, overfitting, drift
    assert {"ATT007", "ATT010", "ATT011"} <= {code for code, status, *_ in lines if status == "FAILED"}


def test_the_released_encoder_as_champion_equals_tuned(copy: Path) -> None:
    """Only champion, report and release run; it was not trained on test, so no query is left out."""
    shutil.copytree(copy / "models" / "onnx", copy / "models" / "champions" / "v1")
    miniature.change(copy, {"evaluate": {"champion": "v1"}})
    assert woken(copy) == {"champion", "report", "release"}
    miniature.dvc(copy, "repro", "report")
    report = json.loads((copy / "metrics" / "report.json").read_text())
    champion = report["champion"]
    assert (champion["name"], champion["n_queries"], champion["n_left_out"]) == ("v1", report["n_test_queries"], 0)
    assert champion["is_training_known"]
    assert {one["delta"] for one in champion["paired"].values()} == {0.0}
    assert "Against the champion v1" in (copy / "metrics" / "report.md").read_text()
    assert "<h2>Champion</h2>" in (copy / "metrics" / "report.html").read_text()
    assert report["checks"]["ATT046"]["status"] != "failed"


def test_a_second_run_runs_nothing(finished: Path) -> None:
    """Everything is up to date."""
    done = miniature.dvc(finished, "repro")
    assert "Running stage" not in done.stdout
    assert "up to date" in done.stdout


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"release": {"name": "mine"}}, AFTER_REPORT),
        ({"report": {"n_examples": 2}}, AFTER_REPORT),
        ({"evaluate": {"bm25_k1": 1.5}}, AFTER_EVALUATE),
        ({"train": {"learning_rate": 2e-5}}, AFTER_TRAIN),
        ({"mine": {"n_negatives": 2}}, AFTER_TRAIN | {"mine@r1"}),
        ({"merge": {"min_retention": 0.5}}, AFTER_TRAIN - {"train@r1"}),
        ({"export": {"int8_smoothing": 0.5}}, AFTER_TRAIN - {"train@r1", "merge"} | {"base"}),
        ({"train": {"lora_rank": 2}}, AFTER_TRAIN | {"base"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, Mapping) else "",
)
def test_a_parameter_wakes_its_stage_and_what_comes_after(
    restored: Path, changes: Mapping[str, Mapping[str, Any]], expected: set[str]
) -> None:
    """Never more: train.* leaves mining and the base embeddings alone, evaluate.* every encoder."""
    miniature.change(restored, changes)
    assert woken(restored) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("src/attune/cli/main.py", set()),
        ("src/attune/cli/demo/app.py", set()),
        ("src/attune/evaluation/scoring/measures.py", AFTER_EVALUATE | PROBED | {"champion", "curve", "storage"}),
        ("src/attune/tuning/training/fit.py", AFTER_TRAIN | {"base"}),
        ("src/attune/evaluation/report/templates/report.md.j2", AFTER_REPORT),
        ("src/attune/evaluation/page/templates/page.css", AFTER_REPORT),
        ("src/attune/evaluation/page/charts.py", AFTER_REPORT),
    ],
)
def test_a_source_file_wakes_the_stages_that_import_it(restored: Path, file: str, expected: set[str]) -> None:
    """A file outside every closure wakes nothing."""
    edit(restored / file)
    assert woken(restored) == expected


def test_a_change_in_the_named_reranker_wakes_mining(copy: Path) -> None:
    """DVC watches the folder that mine.reranker names, and no other; without a name all of models/rerankers."""
    for name in ("judge", "another"):
        (copy / "models" / "rerankers" / name).mkdir()
        (copy / "models" / "rerankers" / name / "config.json").write_text("{}")
    assert "mine@r1" in woken(copy)
    miniature.change(copy, {"mine": {"reranker": "judge"}})
    miniature.dvc(copy, "commit", "-f", "mine@r1")
    assert "mine@r1" not in woken(copy)
    edit(copy / "models" / "rerankers" / "another" / "config.json")
    assert "mine@r1" not in woken(copy)
    edit(copy / "models" / "rerankers" / "judge" / "config.json")
    assert woken(copy) == AFTER_TRAIN | {"mine@r1"}


@pytest.mark.slow
def test_changing_an_evaluation_costs_no_encoding(copy: Path) -> None:
    """For real: the evaluations and the report run, nothing else does."""
    miniature.change(copy, {"evaluate": {"bm25_b": 0.5}})
    done = miniature.dvc(copy, "repro")
    ran = {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}
    assert "evaluate@bm25" in ran <= AFTER_EVALUATE


def test_training_never_has_a_test_row_among_its_inputs() -> None:
    """Inputs of mine, train, adapter and static hold nothing of test: no whole data/splits, no test embeddings.

    Documents, their passages and forms are the whole corpus, which every encoder may read.
    """
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    of_adapter = [dep for dep in stages["adapter"]["deps"] if not dep.startswith("src/")]
    assert set(of_adapter) == {
        *(f"data/embeddings/base/{name}.npy" for name in ("corpus", "dev", "train")),
        *("data/prepared/corpus.parquet", "data/prepared/passages.parquet", "data/splits/dev", "data/splits/train"),
        "models/base_exported",
    }
    of_static = [dep for dep in stages["static"]["do"]["deps"] if not dep.startswith("src/")]
    assert set(of_static) == {
        *(f"data/embeddings/${{key}}/{name}.npy" for name in ("corpus", "dev", "train")),
        *("data/prepared/corpus.parquet", "data/prepared/passages.parquet", "data/splits/dev", "data/splits/train"),
        *("${item.model}", "${item.exported}"),
    }
    data = [dep for name in ("mine", "train") for dep in stages[name]["do"]["deps"] if not dep.startswith("src/")]
    assert set(data) == {
        "data/prepared/corpus.parquet",
        "data/prepared/forms.parquet",
        "data/prepared/passages.parquet",
        "data/splits/train",
        "data/splits/train/documents.parquet",
        "data/splits/train/own_texts.parquet",
        "data/splits/train/qrels.parquet",
        "data/splits/dev",
        "data/embeddings/${item.embeddings}/corpus.npy",
        "data/embeddings/${item.embeddings}/train.npy",
        "data/mined/${key}/triplets.parquet",
        "data/mined/${key}/passages.parquet",
        "${train.general}",  # general text, of no split
        "metrics/audit.json",  # counts alone: the audit's gate comes before training
        "models/base",
        "${item.start}",
        "models/rerankers/${mine.reranker}",
    }


def files_of(folder: Path) -> dict[str, bytes]:
    """Files of a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_round_leaves_the_first_alone(copy: Path) -> None:
    """A second round mines with the first one's encoder and trains on from it; merge.round chooses it."""
    first = files_of(copy / "models" / "rounds" / "r1")
    seed = YAML(typ="safe").load((copy / "params.yaml").read_text())["train"]["seeds"][0]
    of_round = {"system": "round", "splits": "data/splits/train"}
    added = {
        "encoders": {"r2": dict.fromkeys(("model", "exported"), f"models/rounds/r1/{seed}") | of_round},
        "rounds": {"r2": {"embeddings": "r2", "start": "models/rounds/r1", "ending": "_r2"}},
    }
    miniature.change(copy, added | {"merge": {"round": "r2"}})
    done = miniature.dvc(copy, "repro", "merge")
    ran = {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}
    assert ran == {"embed@r2", "mine@r2", "train@r2", "merge"}
    assert files_of(copy / "models" / "rounds" / "r1") == first
    second = files_of(copy / "models" / "rounds" / "r2")
    assert second.keys() == first.keys()  # the bytes are equal where dev never rises: the start is kept
    steps = {int(file.stem) for file in (copy / f"models/rounds/r2/candidates/{seed}").glob("*.safetensors")}
    assert json.loads((copy / "metrics" / "merge.json").read_text())["step"] in steps
    mined = [(copy / "data" / "mined" / name / "triplets.parquet").read_bytes() for name in ("r1", "r2")]
    assert mined[0] != mined[1]
    curves = [(copy / "metrics" / "plots" / f"training{suffix}.csv").read_text() for suffix in ("", "_r2")]
    assert curves[0] != curves[1] and len({curve.split("\n")[0] for curve in curves}) == 1
    assert {path.name for path in (copy / "data" / "embeddings" / "r2").iterdir()} == {"corpus.npy", "train.npy"}


def test_without_epochs_tuned_is_base(copy: Path) -> None:
    """The baseline run: every figure of tuned equals base's exactly."""
    miniature.change(copy, {"train": {"epochs": 0}})
    miniature.dvc(copy, "repro", "evaluate@tuned")
    tuned, base = ((copy / "metrics" / f"{name}.json").read_text() for name in ("tuned", "base"))
    assert tuned == base


@pytest.mark.slow
def test_another_folder_gives_the_same_bytes(
    finished: Path, quick: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, embeddings, triplets, model and ONNX: what a second run elsewhere locks is the same, hash by hash."""
    monkeypatch.delenv(warm_python.GRAPHS)  # the graphs are exported again
    make_shipped(tmp_path / "two", quick)
    miniature.dvc(tmp_path / "two", "repro", "export")
    locked = [
        YAML(typ="safe").load((folder / "dvc.lock").read_text())["stages"] for folder in (tmp_path / "two", finished)
    ]
    assert {"embed@base", "mine@r1", "train@r1", "merge", "export"} <= set(locked[0])
    assert {name: locked[1][name] for name in locked[0]} == locked[0]


def test_a_bad_parameter_stops_the_pipeline_with_one_line(copy: Path) -> None:
    """The line names parameter, value and range; the outputs of other stages stay."""
    miniature.change(copy, {"mine": {"n_negatives": 99}})
    done = miniature.dvc(copy, "repro", check=False)
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("attune")]
    assert len(lines) == 1
    assert "mine.n_negatives: got 99" in lines[0]
    assert "Traceback" not in done.stderr
    assert (copy / "models" / "tuned").is_dir()


def test_a_damaged_model_is_refused_by_verify(copy: Path) -> None:
    """One byte of the shipped graph changed: `attune verify` names the file."""
    from attune.errors import BadInput
    from attune.runtime import verify

    verify(copy / "models" / "onnx")
    graph = copy / "models" / "onnx" / "onnx" / "model.onnx"
    damaged = bytearray(graph.read_bytes())
    damaged[-1] ^= 1
    graph.unlink()
    graph.write_bytes(damaged)
    with pytest.raises(BadInput, match="model.onnx"):
        verify(copy / "models" / "onnx")

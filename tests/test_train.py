"""Training learns, repeats itself to the byte, survives being killed, keeps the best on dev and reads no test row."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.batches import ClusterBatchSampler, Rows
from attune.stage import call
from attune.stages.train import TrainParams, curve, train
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, QRELS, TRIPLETS, write

WORDS = (
    "array graph matrix mean sum sort tree edge node vector signal spline table column index query filter root".split()
)


def params(**changes: object) -> TrainParams:
    values = {
        "seed": 5, "epochs": 3, "batch_size": 8, "learning_rate": 2e-3, "warmup_share": 0.1, "weight_decay": 0.01,
        "scale": 20.0, "symmetric": False, "n_evaluations": 3, "patience": 3, "dropout": 0.1,
        "precision": "fp32", "threads": 1,
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


def task(folder: Path, base: Path) -> dict[str, Path]:
    """Pairs of words asked for in reverse order: something a random encoder can learn; every fourth query is dev's."""
    pairs = [(one, other) for one in WORDS for other in WORDS if one < other][:96]
    ids = [f"d{i:02}" for i in range(len(pairs))]
    texts = [f"{one} {other} of the data" for one, other in pairs]
    columns = {"document_id": ids, "title": [""] * len(ids), "text": texts, "duplicate_of": ids, "cluster_id": ids}
    write(pl.DataFrame(columns, schema=CORPUS), folder / "prepared" / "corpus.parquet", CORPUS)
    asked = [f"find {other} and {one}" for one, other in pairs]
    rows = {"query_id": ids, "text": asked, "cluster_id": ids, "document_id": ids}
    negatives = pl.Series(
        "negative_ids", [[ids[(i + 1) % len(ids)]] for i in range(len(ids))], TRIPLETS["negative_ids"]
    )
    triplets = pl.DataFrame(rows).with_columns(negatives)
    is_dev = pl.Series([i % 4 == 0 for i in range(len(ids))])
    write(triplets.filter(~is_dev), folder / "mined" / "triplets.parquet", TRIPLETS)
    held_out = triplets.filter(is_dev)
    dev = folder / "dev_split"
    write(
        held_out.select("query_id", "text", "cluster_id", given_split=pl.lit(""), stratum=pl.lit("")),
        dev / "queries.parquet",
        CLUSTERED_QUERIES,
    )
    write(held_out.select("query_id", "document_id", relevance=pl.lit(1, pl.Int64)), dev / "qrels.parquet", QRELS)
    write(held_out.select("document_id"), dev / "documents.parquet", DOCUMENT_IDS)
    shutil.copytree(base, folder / "base")
    (folder / "base" / "attune.json").write_text("{}\n")
    return {"base": folder / "base", "prepared": folder / "prepared", "mined": folder / "mined", "dev_split": dev}


def trained(folder: Path, inputs: dict[str, Path], settings_: TrainParams, name: str) -> tuple[str, dict[str, float]]:
    """Runs the stage; the sha256 of everything in the model folder, and the receipt."""
    out = folder / name
    call(train, settings_, folder / f"{name}.json", **inputs, out=out, curve_file=folder / f"{name}.csv")
    digest = hashlib.sha256()
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        digest.update(file.relative_to(out).as_posix().encode() + file.read_bytes())
    return digest.hexdigest(), json.loads((folder / f"{name}.json").read_text())


@pytest.fixture
def inputs(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    return task(tmp_path, tiny_encoder)


def test_training_improves_dev_and_repeats_itself_to_the_byte(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Two runs give the same files; the score rises; scratch space is gone; the curve starts at step 0."""
    first, receipt = trained(tmp_path, inputs, params(), "one")
    second, again = trained(tmp_path, inputs, params(), "two")
    assert (first, receipt) == (second, again)
    assert receipt["best_dev_ndcg@10"] > receipt["base_dev_ndcg@10"] + 0.1
    assert receipt["n_steps"] == 27
    assert not list((tmp_path / "scratch" / "train").iterdir())
    points = pl.read_csv(tmp_path / "one.csv")
    assert points["step"].to_list() == sorted(points["step"].to_list())
    assert points.row(0, named=True)["dev_ndcg@10"] == pytest.approx(receipt["base_dev_ndcg@10"], abs=1e-6)
    assert trained(tmp_path, inputs, params(seed=6), "three")[0] != first


def test_no_epochs_leave_the_base_encoder_exactly_as_it_is(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The baseline run: weights equal bit by bit."""
    from safetensors.torch import load_file

    _, receipt = trained(tmp_path, inputs, params(epochs=0), "same")
    before, after = (load_file(folder / "model.safetensors") for folder in (inputs["base"], tmp_path / "same"))
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)
    assert receipt["n_steps"] == receipt["best_step"] == 0


def test_a_run_that_only_gets_worse_returns_the_base_and_stops_early(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """After a run that learned the task, a wrecking learning rate: dev falls, patience ends it, step 0 is kept."""
    from safetensors.torch import load_file

    trained(tmp_path, inputs, params(epochs=6), "good")
    wreck = params(learning_rate=0.5, epochs=20, n_evaluations=20, patience=2)
    _, receipt = trained(tmp_path, inputs | {"base": tmp_path / "good"}, wreck, "wrecked")
    assert receipt["best_step"] == 0
    assert receipt["n_steps"] < 20 * 9
    good, kept = (load_file(tmp_path / name / "model.safetensors") for name in ("good", "wrecked"))
    assert all(good[name].equal(kept[name]) for name in good)


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_train import params, trained
from transformers import TrainerCallback
from attune import fitting

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == {step}:
            os.kill(os.getpid(), signal.SIGKILL)

trainer = fitting.SentenceTransformerTrainer
fitting.SentenceTransformerTrainer = lambda *a, callbacks, **k: trainer(*a, callbacks=[*callbacks, Kill()], **k)
folder = Path({folder!r})
trained(folder, {{name: folder / name for name in ("base", "prepared", "mined", "dev_split")}}, params(**{changes}), "killed")
"""  # noqa: E501


def killed(folder: Path, step: int, changes: dict[str, object]) -> Path:
    """Starts a run that SIGKILLs itself after a step; its scratch folder."""
    program = PROGRAM.format(tests=str(Path(__file__).parent), step=step, folder=str(folder), changes=changes)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (folder / "killed").exists()
    (scratch,) = (folder / "scratch" / "train").iterdir()
    return scratch


@pytest.mark.parametrize(
    "changes", [{}, {"patience": 1, "epochs": 6, "n_evaluations": 6}], ids=["default", "impatient"]
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Path], changes: dict[str, object]
) -> None:
    """SIGKILL after step 13, checkpoint at 9: then the same model, receipt and curve as without, patience included."""
    assert (killed(tmp_path, 13, changes) / "checkpoint-9").is_dir()
    resumed = trained(tmp_path, inputs, params(**changes), "killed")
    assert resumed == trained(tmp_path, inputs, params(**changes), "whole")
    assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()


@pytest.mark.parametrize("missing", ["trainer_state.json", "optimizer.pt", "rng_state.pth"])
def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path, inputs: dict[str, Path], missing: str) -> None:
    """A checkpoint that a kill or a full disk cut short is removed, and the one before it continued."""
    scratch = killed(tmp_path, 19, {})
    (scratch / "checkpoint-18" / missing).unlink()
    resumed = trained(tmp_path, inputs, params(), "killed")
    assert resumed == trained(tmp_path, inputs, params(), "whole")


def test_a_full_disk_while_writing_a_checkpoint_is_one_line(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """torch raises RuntimeError there; the user gets scratch's name and what to do (a file-size limit stands in)."""
    size = (inputs["base"] / "model.safetensors").stat().st_size * 3 // 2
    program = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    program += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    program += PROGRAM.format(tests=str(Path(__file__).parent), step=0, folder=str(tmp_path), changes={})
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "BadInput" in last and "a checkpoint cannot be written" in last and "free some disk space" in last
    assert not (tmp_path / "killed").exists()


def test_a_checkpoint_of_another_run_is_never_continued(inputs: dict[str, Path]) -> None:
    """The scratch folder's name changes with every knob, the threads, and every input byte."""
    from attune.fitting import Recipe
    from attune.stages.train import fingerprint

    def recipe(**changes: object) -> Recipe:
        return Recipe(**params(**changes).model_dump(include=set(Recipe.__dataclass_fields__)))

    files = [inputs["mined"] / "triplets.parquet"]
    names = {fingerprint(recipe(**change), 1, files) for change in ({}, {"learning_rate": 3e-3}, {"seed": 6})}
    names.add(fingerprint(recipe(), 2, files))
    files[0].write_bytes(files[0].read_bytes() + b" ")
    assert len(names | {fingerprint(recipe(), 1, files)}) == 5


def sampler(
    clusters: list[str], batch_size: int, seed: int = 0, negatives: list[list[str]] | None = None
) -> ClusterBatchSampler:
    rows = Rows(clusters, negatives or [[] for _ in clusters], [len(cluster) for cluster in clusters])
    return ClusterBatchSampler(range(len(clusters)), rows, batch_size=batch_size, drop_last=False, seed=seed)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=2)), min_size=1),
    st.integers(2, 9),
    st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_every_other_row_of_a_batch_is_a_true_negative(
    rows: list[tuple[str, list[str]]], batch_size: int, epoch: int
) -> None:
    """As many batches as announced; no row twice, no cluster twice, no row's negative in another row's cluster."""
    batches = sampler([own for own, _ in rows], batch_size, negatives=[negative for _, negative in rows])
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert max(Counter(row for batch in drawn for row in batch).values()) == 1
    for batch in drawn:
        assert len({rows[row][0] for row in batch}) == len(batch) <= batch_size
        for row in batch:
            assert all(rows[row][0] not in rows[other][1] for other in batch if other != row)


def test_epochs_are_shuffled_anew_and_seeds_decide() -> None:
    """Another epoch or seed is another order, the same ones the same; over epochs every row is seen."""
    clusters = [str(i) for i in range(103)]
    batches = sampler(clusters, 8)
    orders = []
    for epoch in range(6):
        batches.set_epoch(epoch)
        orders.append(list(batches))
        assert orders[-1] == list(batches)
    assert orders[0] != orders[1]
    assert orders[0] != list(sampler(clusters, 8, seed=1))
    assert {row for order in orders for batch in order for row in batch} == set(range(103))


def test_the_curve_has_loss_and_dev_score_by_step() -> None:
    """Log entries of one step are one row; the trainer's closing summary is not a point."""
    log = [
        {"step": 0, "eval_dev_cosine_ndcg@10": 0.5},
        {"step": 4, "loss": 1.5},
        {"step": 8, "loss": 1.0},
        {"step": 8, "eval_dev_cosine_ndcg@10": 0.7},
        {"step": 8, "train_runtime": 9.0},
    ]
    assert curve(log).rows() == [(0, None, 0.5), (4, 1.5, None), (8, 1.0, 0.7)]

"""Stage train: it learns, repeats itself to the byte, once per seed, stops by dev, and reads no test row."""

import json
import shutil
import weakref
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
import pytest
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from training import params, run_params, sha256, task, trained

from attune.encoding import encoders
from attune.errors import BadInput
from attune.stages.train import scratch_of
from attune.tables import CORPUS, DOCUMENT_FORMS, DOCUMENT_IDS, read, write
from attune.tuning.curve import Evaluation, TrainingResult
from attune.tuning.training import fit
from attune.tuning.training.fit import Schedule
from attune.tuning.training.recipe import TrainParams


@pytest.fixture
def inputs(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    return task(tmp_path, tiny_encoder)


def test_training_improves_dev_and_repeats_itself_to_the_byte(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Two runs give the same files; the score rises; scratch space is gone; the curve starts at step 0."""
    first, receipt = trained(tmp_path, inputs, params(), "one")
    second, again = trained(tmp_path, inputs, params(), "two")
    assert (first, receipt) == (second, again)
    assert receipt["kept_dev_ndcg@10"] > receipt["start_dev_ndcg@10"] + 0.1
    assert receipt["n_steps"] == 27
    assert (receipt["n_rows"], receipt["n_general_rows"], receipt["n_rows_per_epoch"]) == (72, 0, 72)
    assert (receipt["mean_batch_fill"], receipt["n_unfilled_batches"]) == (1, 0)
    assert not list((tmp_path / "scratch" / "train").iterdir())
    points = pl.read_csv(tmp_path / "one.csv")
    assert points.columns == ["seed", "step", "loss", "dev_ndcg@10"]
    assert points["step"].to_list() == sorted(points["step"].to_list())
    assert points.row(0, named=True)["dev_ndcg@10"] == pytest.approx(receipt["start_dev_ndcg@10"], abs=1e-6)


def test_each_seed_gives_the_encoder_that_it_gives_alone(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Two seeds in one run: two folders, two curves; the first seed's figures lead the receipt, each has its own."""
    _, alone = trained(tmp_path, inputs, params(seeds=[6]), "alone")
    _, both = trained(tmp_path, inputs, params(seeds=[5, 6]), "both")
    assert sha256(tmp_path / "both" / "6") == sha256(tmp_path / "alone" / "6") != sha256(tmp_path / "both" / "5")
    for name in ("n_steps", "kept_step", "start_dev_ndcg@10", "kept_dev_ndcg@10"):
        assert both[f"seed_6.{name}"] == alone[name]
        assert both[f"seed_5.{name}"] == both[name]
    assert not any(name.startswith("seed_") for name in alone)
    curves = pl.read_csv(tmp_path / "both.csv")
    assert curves.filter(seed=6).equals(pl.read_csv(tmp_path / "alone.csv"))
    assert curves["seed"].unique(maintain_order=True).to_list() == [5, 6]


def test_a_later_round_starts_each_seed_from_its_own_encoder(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Start is a folder of seeds: step 0 scores base and what the round before reached; another seed is one line."""
    _, first = trained(tmp_path, inputs, params(seeds=[5, 6]), "r1")
    _, second = trained(tmp_path, inputs | {"start": tmp_path / "r1"}, params(seeds=[6, 5], epochs=0), "r2")
    for seed in (5, 6):
        kept = first[f"seed_{seed}.kept_dev_ndcg@10"]
        assert second[f"seed_{seed}.start_dev_ndcg@10"] == pytest.approx(kept, abs=1e-3)
        scores = pl.read_parquet(tmp_path / "r2" / "candidates" / str(seed) / "scores.parquet")
        assert scores["step"].unique().to_list() == [0]
        assert sorted(scores["share"].unique()) == [0.0, 0.5, 1.0]
        if second[f"seed_{seed}.kept_share"] == 1:
            first_weights, second_weights = (
                (tmp_path / name / str(seed) / "model.safetensors").read_bytes() for name in ("r1", "r2")
            )
            assert first_weights == second_weights
    with pytest.raises(BadInput, match="neither an encoder nor a round that trained seed 7"):
        trained(tmp_path, inputs | {"start": tmp_path / "r1"}, params(seeds=[7]), "r3")


@pytest.mark.parametrize(("loss", "expected"), [("mnrl", 1), ("gist", 2)])
def test_a_teacher_leaves_memory_before_the_first_step(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, loss: str, expected: int
) -> None:
    """Its embeddings are all that distillation needs, so only the encoder in training stays; a guide stays, too."""
    loaded: list[weakref.ref[SentenceTransformer]] = []
    alive: list[int] = []
    load, train_on = encoders.load_torch, fit._train

    def noted(folder: Path) -> SentenceTransformer:
        model = load(folder)
        loaded.append(weakref.ref(model))
        return model

    def counted(*arguments: Any) -> None:
        alive.append(sum(model() is not None for model in loaded))
        train_on(*arguments)

    monkeypatch.setattr(encoders, "load_torch", noted)
    monkeypatch.setattr(fit, "_train", counted)
    general = str(tmp_path / "practice.jsonl")
    trained(tmp_path, inputs, params(max_steps=1, loss=loss, distill_weight=1.0, general=general), "out")
    assert (len(loaded), alive) == (2, [expected])


def test_no_epochs_leave_the_base_encoder_exactly_as_it_is(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Weights are equal bit by bit, with adapters too: the baseline run."""
    before = (inputs["base"] / "model.safetensors").read_bytes()
    for name, changes in (("same", {}), ("lora", {"lora_rank": 2})):
        _, receipt = trained(tmp_path, inputs, params(epochs=0, **changes), name)
        assert (tmp_path / name / "5" / "model.safetensors").read_bytes() == before
        assert receipt["n_steps"] == receipt["kept_step"] == 0


def test_a_run_that_gets_worse_stops_early_and_returns_its_start(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """From an encoder that has learned the task, at a wrecking rate: dev falls, patience ends the run, base is best."""
    trained(tmp_path, inputs, params(epochs=6), "good")
    good = tmp_path / "good" / "5"
    wreck = params(learning_rate=0.5, epochs=20, n_evaluations=20, patience=2, shares=[])
    _, receipt = trained(tmp_path, inputs | {"base": good, "start": good}, wreck, "wrecked")
    assert (receipt["kept_step"], receipt["kept_share"], receipt["n_restarts"]) == (0, 0, 0)
    assert receipt["n_steps"] < 20 * 9
    weights, kept = (load_file(folder / "model.safetensors") for folder in (good, tmp_path / "wrecked" / "5"))
    assert all(weights[name].equal(kept[name]) for name in weights)


def test_rows_are_read_in_their_other_forms(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Share 1 is training on a corpus of these texts; share 0 is training without them. Dev's documents have none."""
    corpus = read(inputs["prepared"] / "corpus.parquet", CORPUS)
    own = read(inputs["train"] / "documents.parquet", DOCUMENT_IDS)
    forms = corpus.join(own, on="document_id", how="semi").select(
        "document_id", text=pl.lit("indexed ") + pl.col("text")
    )
    plain, _ = trained(tmp_path, inputs, params(epochs=1, other_form_share=1.0), "plain")
    write(forms, inputs["forms"], DOCUMENT_FORMS)
    assert trained(tmp_path, inputs, params(epochs=1), "share-0")[0] == plain
    other, _ = trained(tmp_path, inputs, params(epochs=1, other_form_share=1.0), "share-1")
    replaced = corpus.update(forms, on="document_id", how="left")
    write(replaced, inputs["prepared"] / "corpus.parquet", CORPUS)
    assert plain != other == trained(tmp_path, inputs, params(epochs=1), "corpus")[0]


def poison(prepared: Path, ids: set[str]) -> None:
    """Replaces the texts of some documents."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    poisoned = pl.when(pl.col("document_id").is_in(ids)).then(pl.lit("poison")).otherwise(pl.col("text")).alias("text")
    write(corpus.with_columns(poisoned), prepared / "corpus.parquet", CORPUS)


GUIDED = {"loss": "gist", "general_share": 0.2, "distill_weight": 1.0}


@pytest.mark.parametrize("changes", [{}, GUIDED], ids=["default", "all"])
def test_training_never_reads_a_test_row(tmp_path: Path, inputs: dict[str, Path], changes: dict[str, object]) -> None:
    """Test queries and judgments that are garbage, test documents' texts replaced: same models, receipt and curve."""
    clean = trained(tmp_path, inputs, params(epochs=1, **changes), "clean")
    for file in ("splits/test/queries.parquet", "splits/test/qrels.parquet", "prepared/queries.parquet"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"poison")
    shutil.copytree(inputs["dev_split"], tmp_path / "splits" / "dev")
    poison(inputs["prepared"], {f"x{i}" for i in range(10)})
    moved = inputs | {"dev_split": tmp_path / "splits" / "dev"}
    assert trained(tmp_path, moved, params(epochs=1, **changes), "poisoned") == clean
    assert (tmp_path / "clean.csv").read_text() == (tmp_path / "poisoned.csv").read_text()


def test_the_poison_test_can_fail(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """One train document's text replaced, and the model is another."""
    clean = trained(tmp_path, inputs, params(epochs=1), "clean")
    poison(inputs["prepared"], {"d01"})
    assert trained(tmp_path, inputs, params(epochs=1), "poisoned")[0] != clean[0]


REFUSED = [
    ({"loss": "cached_mnrl"}, 1, "mini_batch_size: got 0"),
    ({"mini_batch_size": 4}, 1, "mini_batch_size: got 4"),
    ({"loss": "triplet", "mini_batch_size": 4}, 1, "mini_batch_size: got 4"),
    ({"loss": "gist", "symmetric": True}, 1, "symmetric: got true"),
    ({"loss": "contrastive", "symmetric": True}, 1, "symmetric: got true"),
    ({"loss": "triplet"}, 0, "loss: got triplet, but the rows have no negatives"),
    ({"loss": "contrastive"}, 0, "loss: got contrastive, but the rows have no negatives"),
    ({"loss": "gist"}, 2, "loss: got gist, but the rows have 2 negatives"),
    ({"processes": 9}, 1, "train.processes: got 9, expected at most train.batch_size (8)"),
    ({"general_share": 0.5, "general": "none.jsonl"}, 1, "none.jsonl: not found"),
    ({"distill_weight": 1.0, "general": "none.jsonl"}, 1, "none.jsonl: not found"),
]


@pytest.mark.parametrize(("changes", "n_negatives", "line"), REFUSED, ids=lambda value: str(value)[:40])
def test_combinations_that_cannot_work_are_refused_in_one_line(
    tmp_path: Path,
    inputs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    n_negatives: int,
    line: str,
) -> None:
    """Before any encoder is loaded; nothing is written."""

    def load(_: Path) -> NoReturn:
        raise AssertionError("an encoder was loaded")

    monkeypatch.setattr(encoders, "load_torch", load)
    triplets = pl.read_parquet(inputs["mined"] / "triplets.parquet")
    negatives = pl.concat_list([pl.col("negative_ids").list.first()] * n_negatives) if n_negatives else []
    empty = pl.lit([], dtype=pl.List(pl.String))
    triplets.with_columns(negative_ids=negatives if n_negatives else empty).write_parquet(
        inputs["mined"] / "triplets.parquet"
    )
    with pytest.raises(BadInput) as refused:
        trained(tmp_path, inputs, params(**changes), "refused")
    assert len(refused.value.args) == 1 and line in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "refused").exists() and not (tmp_path / "scratch").exists()


def test_matryoshka_dimensions_of_a_smaller_encoder_are_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The whole dimension is trained anyway, so it counts as too large."""
    with pytest.raises(BadInput, match="matryoshka_dims: got 32, expected less than the encoder's 32"):
        trained(tmp_path, inputs, params(matryoshka_dims=[8, 32]), "refused")


@pytest.mark.parametrize("changes", [{"seeds": [1, 2, 1]}, {"seeds": []}, {"seeds": [-1]}, {"matryoshka_dims": [8, 8]}])
def test_seeds_and_dimensions_are_lists_without_doubles(changes: dict[str, object]) -> None:
    """At least one seed, none negative, none twice."""
    with pytest.raises(ValueError, match="seeds|matryoshka_dims"):
        params(**changes)


def test_a_checkpoint_of_another_run_is_never_continued(inputs: dict[str, Path]) -> None:
    """The scratch folder's name changes with every parameter, the machine's included, and every input byte."""
    files = [inputs["mined"] / "triplets.parquet"]
    other = {
        "loss": "triplet", "epochs": 4, "batch_size": 9, "hard_negatives": "batch", "mini_batch_size": 1,
        "learning_rate": 3e-3, "warmup_share": 0.2, "weight_decay": 0.02, "scale": 21.0, "symmetric": True,
        "guide_margin": 0.1, "guide_same_side": False, "triplet_margin": 0.3, "contrastive_margin": 0.6,
        "matryoshka_dims": [8], "lora_rank": 2, "lora_alpha": 17.0, "dropout": 0.2, "max_steps": 9,
        "max_pairs_per_query": 1,
        "typed_query_share": 0.1, "other_form_share": 0.1, "n_dev_documents": 5, "general_share": 0.3,
        "distill_weight": 0.5, "distill_batch_size": 5, "n_evaluations": 4, "patience": 4, "shares": [1.0],
        "seeds": [6], "general": "other.jsonl", "processes": 2,
        "machine": {"threads": 2, "precision": "fp32", "batch_tokens": 4096},
    }  # fmt: skip
    assert other.keys() == TrainParams.model_fields.keys()
    names = {scratch_of(run_params(**{name: value}), files) for name, value in other.items()}
    names |= {scratch_of(run_params(), files)}
    files[0].write_bytes(files[0].read_bytes() + b" ")
    names |= {scratch_of(run_params(), files)}
    assert len(names) == len(other) + 2


def test_each_seed_has_a_run_with_its_own_seed_and_a_resolved_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs differ in nothing else, so a seed more leaves the others' scratch folders as they are."""
    monkeypatch.setattr(encoders, "best_precision", lambda: "bf16")
    machine = {"threads": 1, "precision": "auto", "batch_tokens": 4096}
    runs = params(seeds=[5, 6], machine=machine).runs(Path("base"))
    assert {seed: (run.seed, run.precision) for seed, run in runs.items()} == {5: (5, "bf16"), 6: (6, "bf16")}
    assert runs[6] == params(seeds=[6], machine=machine | {"precision": "bf16"})
    assert run_params().precision == "fp32"


def test_the_curve_has_loss_and_dev_score_by_step() -> None:
    """Dev is that of all weights, at step 0 of the start; a step with a loss alone has no dev score."""
    evaluations = [
        Evaluation(0, [0.0], [[0.4, 0.6]]),
        Evaluation(8, [0.5, 1.0], [[0.9, 0.9], [0.6, 0.8]]),
    ]
    result = TrainingResult({4: 1.5, 8: 1.0}, evaluations, 8, 1e-4, 2)
    assert result.curve() == [(0, None, 0.5), (4, 1.5, None), (8, 1.0, pytest.approx(0.7))]
    assert result.kept == (8, 0.5)
    assert TrainingResult.from_json(json.loads(json.dumps(result.to_json()))) == result


# by hand, at least 60 steps and at most 2000: 15 is the most epochs, 4 the usual number, and 1 the least
@pytest.mark.parametrize(
    ("n_batches", "epochs"), [(1, 15), (4, 15), (5, 12), (15, 4), (121, 4), (225, 4), (500, 4), (700, 2), (3000, 1)]
)
def test_auto_epochs_suit_the_number_of_batches(n_batches: int, epochs: int) -> None:
    """Few rows are passed more often, many less often; a number is taken as it is, and max_steps bounds both."""
    auto = params(epochs="auto")
    assert (auto.n_epochs(n_batches), auto.n_steps(n_batches)) == (epochs, epochs * n_batches)
    assert params(epochs=7).n_epochs(n_batches) == 7
    assert params(epochs="auto", max_steps=3).n_steps(n_batches) == min(3, epochs * n_batches)


# by hand, batches of 32 rows and .4 documents per row: 45 steps hold 1,440 rows, 68 hold 2,176, 160 hold 5,120
@pytest.mark.parametrize(("n_batches", "n_documents"), [(3, 576), (17, 870), (40, 2000), (500, 2000)])
def test_few_pairs_are_judged_among_fewer_documents(n_batches: int, n_documents: int) -> None:
    """An evaluation costs no more than training can pay for: 500 documents at least, 2,000 at most; a number stays."""
    auto = params(epochs="auto", batch_size=32, n_dev_documents="auto")
    assert auto.n_sampled_documents(n_batches) == n_documents
    assert auto.model_copy(update={"epochs": 0}).n_sampled_documents(n_batches) == 500
    assert params(n_dev_documents=7).n_sampled_documents(n_batches) == 7


@pytest.mark.parametrize(
    ("n_steps", "n_evaluations", "every"),
    [(1, 1, 1), (39, 1, 39), (45, 2, 23), (68, 3, 23), (80, 4, 20), (480, 4, 120)],
)
def test_auto_evaluates_short_runs_less_often(n_steps: int, n_evaluations: int, every: int) -> None:
    """Four evaluations, or as many as lie 20 steps apart, one at least; the last one comes after the last step."""
    assert params(n_evaluations="auto").n_evaluations_in(n_steps) == n_evaluations
    assert params(n_evaluations=3).n_evaluations_in(n_steps) == 3
    assert Schedule(1e-4, 1, n_steps, n_evaluations).steps_between == every

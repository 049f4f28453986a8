"""Writes a small training task, builds parameters of stage train for it, and runs the stage."""

import hashlib
import json
import os
import shutil
from functools import cache
from pathlib import Path

import polars as pl
import quick_libraries
from prepared_tables import write_corpus

from attune.retrieval.passages import READ_PASSAGES
from attune.stage import call
from attune.stages import train as stage
from attune.stages.train import train
from attune.tables import CORPUS, DOCUMENT_FORMS, DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, TRIPLETS, read, write
from attune.tuning.training.recipe import TrainParams

WORDS = (
    "array graph matrix mean sum sort tree edge node vector signal spline table column index query filter root".split()
)

GENERAL = "animal bread river house garden dog door bird mother boat".split()


# attune's loaded files are listed once: looking through thousands of modules takes half a second
stage.code_files = cache(stage.code_files)
quick_libraries.write_no_model_cards()

TESTS = Path(__file__).resolve().parent
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{TESTS.parent / 'src'}{os.pathsep}{TESTS}"}  # of programs beside the tests
MACHINE = {"threads": 1, "precision": "fp32", "batch_tokens": 4096}


def params(**changes: object) -> TrainParams:
    """Returns parameters for the small task, some of them changed."""
    values = {
        "seeds": [5], "loss": "mnrl", "epochs": 3, "batch_size": 8, "hard_negatives": "rows", "mini_batch_size": 0,
        "learning_rate": 2e-3, "warmup_share": 0.1, "weight_decay": 0.01, "scale": 20.0, "symmetric": False,
        "guide_margin": 0.05, "guide_same_side": True, "triplet_margin": 0.2, "contrastive_margin": 0.5,
        "matryoshka_dims": [], "max_steps": 0, "max_pairs_per_query": 0, "typed_query_share": 0.0,
        "other_form_share": 0.0, "n_dev_documents": 0,
        "lora_rank": 0, "lora_alpha": 16.0, "dropout": 0.1, "general": "practice.jsonl", "general_share": 0.0,
        "distill_weight": 0.0, "distill_batch_size": 4, "n_evaluations": 3, "patience": 3, "shares": [0.5, 1.0],
        "processes": 1, "machine": MACHINE,
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


def run_params(**changes: object) -> TrainParams:
    """Returns the parameters of one seed's run, some of them changed."""
    (run,) = params(**changes).runs(Path("base")).values()
    return run


def task(folder: Path, base: Path) -> dict[str, Path]:
    """Writes a task that a random encoder can learn: a query has the two words of its document in reverse order.

    Every fourth query belongs to dev. Documents x0 to x9 stand for the test split: training must not use them.
    Returns the paths of the inputs of stage train.
    """
    pairs = [(one, other) for one in WORDS for other in WORDS if one < other][:96]
    ids = [f"d{i:02}" for i in range(len(pairs))]
    texts = [f"{one} {other} of the data" for one, other in pairs]
    unseen = [f"x{i}" for i in range(10)]
    all_ids, all_texts = ids + unseen, texts + [f"{word} of the test" for word in WORDS[:10]]
    columns = {"document_id": all_ids, "title": [""] * len(all_ids), "text": all_texts}
    columns |= {"duplicate_of": all_ids, "cluster_id": all_ids}
    write_corpus(pl.DataFrame(columns, schema=CORPUS), folder / "prepared")
    queries = [f"find {other} and {one}" for one, other in pairs]
    rows = {"query_id": ids, "text": queries, "near_group": ids, "document_id": ids}
    negatives = pl.Series(
        "negative_ids", [[ids[(i + 1) % len(ids)]] for i in range(len(ids))], TRIPLETS["negative_ids"]
    )
    triplets = pl.DataFrame(rows).with_columns(pl.lit(1, pl.Int64).alias("relevance"), negatives)
    is_dev = pl.Series([i % 4 == 0 for i in range(len(ids))])
    write(triplets.filter(~is_dev), folder / "mined" / "triplets.parquet", TRIPLETS)
    write(pl.DataFrame(schema=dict(READ_PASSAGES)), folder / "mined" / "passages.parquet", READ_PASSAGES)
    forms = pl.DataFrame(schema=dict(DOCUMENT_FORMS))
    write(forms, folder / "prepared" / "forms.parquet", DOCUMENT_FORMS)
    for name, own in (("dev_split", triplets.filter(is_dev)), ("train_split", triplets.filter(~is_dev))):
        split = folder / name
        unset = {"given_split": pl.lit(""), "stratum": pl.lit("")}
        split_queries = own.select("query_id", "text", "near_group", cluster_id="query_id", **unset)
        write(split_queries.select(list(SPLIT_QUERIES)), split / "queries.parquet", SPLIT_QUERIES)
        write(own.select(list(QRELS)), split / "qrels.parquet", QRELS)
        write(own.select("document_id"), split / "documents.parquet", DOCUMENT_IDS)
        write(pl.DataFrame(schema=dict(OWN_TEXTS)), split / "own_texts.parquet", OWN_TEXTS)
    shutil.copytree(base, folder / "base")
    (folder / "base" / "attune.json").write_text("{}\n")
    # other words in another order, so that gradients of general text differ from those of the task
    general = [f"{one} and a {other} by the river" for one in GENERAL for other in GENERAL if one < other]
    pairs = [{"query": f"where is the {text}", "passage": f"the {text} is here"} for text in general]
    (folder / "practice.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return inputs_of(folder)


def add_answers(inputs: dict[str, Path], n: int) -> None:
    """Makes each train query's next n documents relevant to it, too, less so than its own."""
    file = inputs["mined"] / "triplets.parquet"
    rows = read(file, TRIPLETS).to_dicts()
    answers = [
        row | {"document_id": rows[(place + step) % len(rows)]["document_id"], "relevance": 1 if step else 2}
        for place, row in enumerate(rows)
        for step in range(n + 1)
    ]
    triplets = pl.DataFrame(answers, schema=dict(TRIPLETS))
    write(triplets, file, TRIPLETS)
    write(triplets.select(list(QRELS)), inputs["train"] / "qrels.parquet", QRELS)


def inputs_of(folder: Path) -> dict[str, Path]:
    """Returns the paths of the inputs of stage train for a task in a folder."""
    names = {"train": "train_split", "forms": "prepared/forms.parquet", "start": "base"}
    names |= {name: name for name in ("base", "prepared", "mined", "dev_split")}
    return {argument: folder / name for argument, name in names.items()}


def sha256(folder: Path) -> str:
    """Returns the sha256 of all files in a folder, names included."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def arguments(folder: Path, name: str) -> dict[str, Path]:
    """Returns the arguments of stage train for a task in a folder."""
    files = {"curve_file": folder / f"{name}.csv", "rates_file": folder / f"{name}-rates.csv"}
    return inputs_of(folder) | {"out": folder / name} | files


def trained(folder: Path, inputs: dict[str, Path], settings: TrainParams, name: str) -> tuple[str, dict[str, float]]:
    """Runs the stage; returns the sha256 of all models, and the receipt."""
    call(train, settings, folder / f"{name}.json", **arguments(folder, name) | inputs)
    return sha256(folder / name), json.loads((folder / f"{name}.json").read_text())

"""What the page is made of, small enough to check by hand: eight queries over twenty documents, on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ruamel.yaml import YAML

from attune.evaluation.scoring.measures import MEASURES, measure
from attune.stage import call
from attune.stages.page import SYSTEMS, PageParams, page
from attune.tables import CLUSTERED_QUERIES, CORPUS, NEGATIVE_SAMPLE, QRELS, RUN, Columns, scores_columns, write

PARAMS = PageParams(n_examples=2, seed=0, max_characters=140)
# The rank of each query's one relevant document (0: not ranked), among ten documents; query i wants document i.
BASE = [1, 2, 2, 0, 0, 5, 3, 4]
TUNED = [1, 1, 1, 1, 3, 1, 2, 0]
WITHOUT_ANY = {"n_queries": 6, "baseline": 0.7, "tuned": 0.8, "delta": 0.1, "ci_low": -0.2, "ci_high": 0.4}
NASTY = "<script>planted = 1</script><img src=x onerror='planted = 2'> & \"$x$\" {{ 7 * 6 }}"
COMPARISONS = "task,measure,n,base,tuned,delta,low,high,p,p_holm,wins,ties,losses,smallest_detectable"
SLICES = "slice,bin,n,base,tuned,delta,low,high,p_holm"


def ranking(relevant: int, rank: int) -> list[int]:
    """Ten documents other than the relevant one, which takes the given rank (0: none)."""
    others = [document for document in range(19, 8, -1) if document != relevant][:10]
    return [*others[: rank - 1], relevant, *others[rank - 1 : 9]] if rank else others


def filled(columns: dict[str, Any], schema: Columns) -> pl.DataFrame:
    """A frame of this schema whose other columns are empty strings."""
    missing = [pl.lit("").alias(name) for name in schema if name not in columns]
    return pl.DataFrame(columns).with_columns(missing).select(list(schema))


def write_json(folder: Path, name: str, content: dict[str, Any]) -> None:
    """A receipt."""
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_system(folder: Path, system: str, ranks: list[int]) -> dict[str, float]:
    """A system's run and its scores on test, as evaluate leaves them; the mean of each measure."""
    n = len(ranks)
    rows = np.array([ranking(i, rank) for i, rank in enumerate(ranks)])
    values = measure(rows, np.array([(i, i, 1) for i in range(n)]))
    ids = [f"q{i}" for i in range(n)]
    scores = pl.DataFrame({"query_id": ids, "split": ["test"] * n} | values)
    dev = scores.with_columns(query_id="dev" + pl.col("query_id"), split=pl.lit("dev"))
    write(pl.concat([dev, scores]), folder / f"data/runs/{system}/scores.parquet", scores_columns(MEASURES))
    run = [(ids[i], rank + 1, f"d{d}", 1 - rank / 16) for i, row in enumerate(rows) for rank, d in enumerate(row)]
    run += [("devq0", 1, "d0", 0.5)]
    write(pl.DataFrame(run, schema=RUN, orient="row"), folder / f"data/runs/{system}/run.parquet", RUN)
    return {name: float(column.mean()) for name, column in values.items()}


def write_receipts(folder: Path) -> None:
    """The receipts of all stages."""
    metrics, paired, systems = folder / "metrics", {}, {}
    for system in SYSTEMS:
        is_base = system in ("bm25", "base")
        systems[system] = write_system(folder, system, BASE if is_base else TUNED)
        others = {"dev_ndcg@10": 0.4 if is_base else 0.6, "dev_recall@10": 0.5, "train_ndcg@10": 0.5}
        write_json(metrics, system, systems[system] | {"n_queries": 8, "n_documents": 20} | others)
    for name in MEASURES:
        paired[name] = {
            "delta": 0.125,
            "ci_low": -0.1,
            "ci_high": 0.3,
            "p_value": 0.2,
            "wins": 5,
            "ties": 2,
            "losses": 1,
        }
    report = {"verdict": "No clear change: recall@10 went from 0.750 to 0.875.", "paired": paired, "systems": systems}
    report |= {
        "paired_without_leaks": {},
        "without_leaks": {"any": WITHOUT_ANY},
        "ndcg@10_kept_share": {"onnx": 1.0, "onnx_int8": 0.985},
    }
    gains = {"train_gain": 0.4, "dev_gain": 0.2, "test_gain": 0.1, "is_overfitted": False}
    write_json(
        metrics, "report", report | {"overfitting": gains | {"verdict": "Not overfitted. Dev was best at the end."}}
    )
    leaks = {f"{split}_leaks.{kind}": 0 for split in ("dev", "test") for kind in ("exact_queries", "near_documents")}
    write_json(metrics, "split", {f"n_{split}_queries": 8 for split in ("train", "dev", "test")} | leaks)
    held_out = {f"n_{split}_{what}": 8 for what in ("queries", "documents") for split in ("dev", "test")}
    semantic = {f"{split}_leaks.semantic_queries": 1 for split in ("dev", "test")}
    write_json(metrics, "audit", held_out | semantic)
    cost = {"largest_cost": 0.05, "largest_cost_of": "general.spearman", "is_drifted": False, "is_reindex_needed": True}
    moved = {"domain.cka": 0.7, "general.cka": 0.9}
    write_json(metrics, "drift", cost | moved | {"verdict": "Not drifted. The space moved."})
    write_json(metrics, "base_encoder", {"model": "some/encoder", "revision": "0123abcd"})
    write_json(metrics, "prepare", {"n_documents": 20})
    write_json(metrics, "mine", {"n_triplets": 9, "scored_by": "cosine"})
    write_json(metrics, "train", {"n_steps": 20, "kept_step": 10})
    write_json(metrics, "merge", {"share": 0.8, "retention": 0.97, "is_retention_met": True})
    write_json(metrics, "seeds", {"n_seeds": 1})
    write_json(metrics, "export", {"fp32_min_cosine": 0.999999})
    for system, score in (("base", 0.8), ("tuned", 0.85)):
        task = {"general.spearman": score, "general.n": 330, "general.is_counted": True}
        write_json(metrics / "probe", system, task)


def write_plots(folder: Path) -> None:
    """The csv files of metrics/plots."""
    plots = folder / "metrics/plots"
    plots.mkdir(parents=True, exist_ok=True)
    (plots / "training.csv").write_text("seed,step,loss,dev_ndcg@10\n13,0,,0.5\n13,10,0.9,0.7\n13,20,0.8,0.6\n")
    head = "share,dev_ndcg@10,general_ndcg@10,is_chosen"
    (plots / "merge.csv").write_text(f"{head}\n0.0,0.5,0.9,false\n0.8,0.7,0.89,true\n1.0,0.71,0.8,false\n")
    rows = [f"test,{name},8,0.5,0.625,0.125,-0.1,0.3,0.2,0.9,5,2,1,0.4" for name in MEASURES]
    rows += ["general,spearman,330,0.8,0.85,0.05,,,,,,,,"]
    (plots / "comparisons.csv").write_text("\n".join([COMPARISONS, *rows]) + "\n")
    slices = [
        "query_length,1 to 3,5,0.6,0.9,0.3,0.1,0.5,0.01",
        f'source,"{NASTY[:28]} $a$",3,0.6,0.5,-0.1,-0.3,0.1,1.0',
    ]
    (plots / "slices.csv").write_text("\n".join([SLICES, *slices]) + "\n")


def write_tables(folder: Path) -> None:
    """The data: documents and queries that are not what they should be, judgments, mined negatives."""
    titles = [NASTY if i == 3 else "" if i == 5 else f"title_{i}" for i in range(20)]
    texts = [f"body of {i} {NASTY if i in (3, 5) else ''}\u202e" for i in range(20)]
    documents = {"document_id": [f"d{i}" for i in range(20)], "title": titles, "text": texts}
    write(filled(documents, CORPUS), folder / "data/prepared/corpus.parquet", CORPUS)
    queries = {"query_id": [f"q{i}" for i in range(8)], "text": [f"query {i} {NASTY}" for i in range(8)]}
    write(filled(queries, CLUSTERED_QUERIES), folder / "data/splits/test/queries.parquet", CLUSTERED_QUERIES)
    qrels = pl.DataFrame([(f"q{i}", f"d{i}", 1) for i in range(8)], schema=QRELS, orient="row")
    write(qrels, folder / "data/splits/test/qrels.parquet", QRELS)
    sample = {name: [NASTY] for name, kind in NEGATIVE_SAMPLE.items() if kind == pl.String}
    sample |= {"source": ["dense"], "positive_score": [0.61], "negative_score": [0.52]}
    frame = pl.DataFrame(sample).select(list(NEGATIVE_SAMPLE))
    write(frame, folder / "data/mined/sample.parquet", NEGATIVE_SAMPLE)


def write_inputs(folder: Path) -> None:
    """All of it."""
    write_receipts(folder)
    write_plots(folder)
    write_tables(folder)
    graph = {"onnx/model.onnx": {"sha256": "ab" * 32, "size": 90_322_828}, "config.json": {"sha256": "cd", "size": 3}}
    write_json(folder / "models/onnx", "manifest", {"base": {"model": "some/encoder"}, "files": graph})
    settings = {
        "report": {"confidence": 0.95, "n_resamples": 10_000, "power": 0.8},
        "collect": {"prompt": NASTY},
        "gate": {"min_delta": 0.0},
        "rounds": {},
    }
    with (folder / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(settings, file)
    (folder / "libraries.yaml").write_text("numpy: 2.4.6\n")


def make_page(folder: Path, round: str = "r1") -> str:
    """The page made of a folder's inputs."""
    out = folder / "metrics/report.html"
    data = {name: folder / "data" / name for name in ("runs", "prepared", "splits", "mined")}
    files = {"settings": folder / "params.yaml", "libraries": folder / "libraries.yaml"}
    metrics, onnx = folder / "metrics", folder / "models/onnx"
    call(page, PARAMS, None, round=round, metrics=metrics, onnx=onnx, out=out, **data, **files)
    return out.read_text(encoding="utf-8")

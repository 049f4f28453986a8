"""Builds results for tests of the page, small enough to check by hand: eight queries, twenty documents."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from prepared_tables import filled
from shipped_params import PANEL

from attune.evaluation.checks.catalogue import by_code, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.holes.figures import holes_of
from attune.evaluation.label_points import LABELS
from attune.evaluation.page.contents import page
from attune.evaluation.report.choice import ships
from attune.evaluation.report.choices import cells, columns
from attune.evaluation.report.examples import Rankings, examples
from attune.evaluation.report.panels import by_checkpoint, interpolation_points, rate_probes
from attune.evaluation.report.results import Results
from attune.evaluation.report.sizes import sizes_of
from attune.evaluation.report.summary import Paired, Rule, headline_result
from attune.evaluation.report.ways import OTHERS, SCORED, SYSTEMS
from attune.evaluation.report.what_to_ship import Choice, Decision
from attune.evaluation.scoring.measures import MEASURES, measure
from attune.evaluation.statistics.significance import Interval, compare
from attune.plots import read_csv
from attune.stage import load_params
from attune.tables import CORPUS, NEGATIVES, QRELS, RUN, SPLIT_QUERIES, write
from attune.tuning.curve import Point

STATISTICS: dict[str, Any] = {"rule": Rule(confidence=0.95, margin=0.02, power=0.8), "max_characters": 140}
# ranks of the relevant document of each query among ten (0: not ranked); query i is answered by document i
BASE = [1, 2, 2, 0, 0, 5, 3, 4]
TUNED = [1, 1, 1, 1, 3, 1, 2, 0]
NASTY = "<script>planted = 1</script><img src=x onerror='planted = 2'> & \"$x$\" {{ 7 * 6 }}"
COMPARISONS = "task,measure,n,base,tuned,delta,low,high,p,p_holm,wins,ties,losses,smallest_detectable"
TRAINED = {"n_steps": 20, "kept_step": 10, "epochs": 2, "learning_rate": 5e-5, "n_restarts": 0}
# receipt and candidates of stage merge, in which step 10 at share .5 ships
MERGED = {"step": 10, "n_averaged": 1, "share": 0.5, "dev_ndcg@10": 0.72, "base_dev_ndcg@10": 0.5, "retention": 0.98}
MERGED |= {"gain_standard_error": 0.01, "n_candidates": 6, "next_step": 20, "next_n_averaged": 2, "next_share": 0.5}
MERGED |= {"next_dev_ndcg@10": 0.71, "next_standard_error": 0.011, "next_reason": "near domain"}
MERGED |= {"keep": "best", "retention_standard_error": 0.005, "min_retention": 0.95}
ADAPTED = {"learning_rate": 1e-3, "n_steps": 30, "kept_step": 15, "is_identity": False, "base_dev_ndcg@10": 0.5}
ADAPTED |= {"dev_ndcg@10": 0.6, "gain_standard_error": 0.01, "n_pairs": 8, "n_train_passages": 20}
MERGE_CSV = """step,n_averaged,share,dev_ndcg@10,se,general_ndcg@10,near_domain_ndcg@10,is_chosen,is_next
0,1,0.0,0.5,0.0,0.9,0.59,false,false
10,1,0.5,0.72,0.01,0.89,0.6,true,false
10,1,1.0,0.7,0.012,,,false,false
20,1,0.5,0.69,0.013,,,false,false
20,1,1.0,0.6,0.02,,,false,false
20,2,0.5,0.71,0.011,0.88,0.58,false,true
"""
RATES_CSV = """learning_rate,n_steps,share,dev_ndcg@10,is_chosen
2e-05,4,0.5,0.51,false
2e-05,4,1.0,0.52,false
5e-05,4,0.5,0.56,true
5e-05,4,1.0,0.55,true
"""
STORED = {
    f"{system}.{storage}.{key}": value
    for system in ("base", "tuned")
    for storage, n_bytes, kept in (("float32", 128, 1.0), ("int8", 32, 0.99))
    for key, value in (
        *(("bytes", n_bytes), ("recall@10", 0.8), ("ndcg@10", 0.7 * kept)),
        *(("kept_share", kept), ("kept_low", kept - 0.005), ("kept_high", kept)),
    )
}
LABELS_CSV = """draw,share,n_queries,n_pairs,dev_recall@10,dev_ndcg@10,test_recall@10,test_ndcg@10
0,0.5,100,110,0.5,0.4,0.55,0.45
0,1.0,200,220,0.6,0.5,0.65,0.55
"""
CURVED = {"n_queries": 200, "test_recall@10": 0.65, "test_recall@10.twice.value": 0.7, "test_recall@10.twice.low": 0.66}
CURVED |= {"test_recall@10.twice.high": 0.74, "test_recall@10.four_times.value": 0.75}
CURVED |= {"test_recall@10.four_times.low": 0.68, "test_recall@10.four_times.high": 0.82}
CURVED |= {"test_recall@10.check.low": 0.6, "test_recall@10.check.high": 0.7, "test_recall@10.check.is_within": True}
PROVENANCE = {
    "encoder": {"model": "some/encoder"},
    "files": [{"path": "models/exported/onnx/model.onnx", "n_bytes": 90_322_828, "sha256": "ab" * 32}],
    "parameters": {"report": {"confidence": 0.95}, "collect": {"prompt": NASTY}, "rounds": {}},
    "versions": {"numpy": "2.4.6"},
    "cpu": "AMD AVX2",
}


def choice(system: str, headline: float, is_reindexed: bool) -> Choice:
    """Returns a choice whose gain over .750 has an interval of .1 on either side."""
    gain = Interval(headline - 0.75, headline - 0.85, headline - 0.65)
    scores = {"recall@10": headline, "ndcg@10": headline - 0.1}
    known = {"query": "fp32 encoder", "bytes_per_vector": 128, "general_cost": None, "general_words": ""} | {
        **{"near_cost": None, "is_too_costly": False}
    }
    times = {"seconds": 1080.0, "milliseconds": 2.5, "embedding_milliseconds": 2.25, "model_bytes": 23_000_000}
    return Choice(system, headline, scores, gain, gain, headline > 0.8, is_reindexed, **known, **times)


DECISION = Decision(
    [choice("base", 0.75, False), choice("tuned_int8", 0.875, True), choice("tuned", 0.875, True)],
    *("recall@10", "tuned_int8", "tuned", "base", 0.02, 0.95, 8, 0.05),
)


def ranking(relevant: int, rank: int) -> list[int]:
    """Returns a ranking of ten documents with the relevant one at this rank (0: absent)."""
    others = [document for document in range(19, 8, -1) if document != relevant][:10]
    return [*others[: rank - 1], relevant, *others[rank - 1 : 9]] if rank else others


def run_of(ranks: list[int]) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """Returns a run of ten documents with document i at the given rank for query i, and its scores by measure."""
    rows = np.array([ranking(i, rank) for i, rank in enumerate(ranks)])
    run = [
        (f"q{i}", rank + 1, f"d{document}", 1 - rank / 16)
        for i, row in enumerate(rows)
        for rank, document in enumerate(row)
        if document >= 0
    ]
    scores = measure(rows, np.array([(i, i, 1) for i in range(len(ranks))]))
    return pl.DataFrame(run, schema=RUN, orient="row"), scores


def ranks_of(system: str) -> list[int]:
    """Returns BASE for bm25 and base, TUNED for the other systems."""
    return BASE if system in ("bm25", "base") else TUNED


def rankings_and_corpus(folder: Path) -> tuple[Rankings, Path]:
    """Returns the runs of all systems, and the file of a corpus with malicious titles and texts."""
    titles = [NASTY if i == 3 else "" if i == 5 else f"title_{i}" for i in range(20)]
    texts = [f"body of {i} {NASTY if i in (3, 5) else ''}\u202e" for i in range(20)]
    documents = {"document_id": [f"d{i}" for i in range(20)], "title": titles, "text": texts}
    write(filled(documents, CORPUS), folder / "corpus.parquet", CORPUS)
    queries = {"query_id": [f"q{i}" for i in range(8)], "text": [f"query {i} {NASTY}" for i in range(8)]}
    qrels = pl.DataFrame([(f"q{i}", f"d{i}", 1) for i in range(8)], schema=QRELS, orient="row")
    runs = {system: run_of(ranks_of(system))[0] for system in SYSTEMS}
    return Rankings(filled(queries, SPLIT_QUERIES), qrels, runs), folder / "corpus.parquet"


def receipts() -> dict[str, dict[str, Any]]:
    """Returns the receipts of all stages, by name."""
    figures: dict[str, dict[str, Any]] = {}
    for system in SCORED:
        is_base = ranks_of(system) is BASE
        scores = {name: float(values.mean()) for name, values in run_of(ranks_of(system))[1].items()}
        others = {"dev_ndcg@10": 0.4 if is_base else 0.6, "dev_recall@10": 0.5, "train_ndcg@10": 0.5}
        figures[system] = scores | {"n_queries": 8, "n_documents": 20} | others
    leaks = {f"{split}_leaks.{kind}": 0 for split in ("dev", "test") for kind in ("exact_queries", "near_documents")}
    split_sizes = {f"n_{split}_{side}": 8 for side in ("queries", "documents") for split in ("dev", "test")}
    cost = {"largest_cost": 0.05, "largest_cost_of": "general.spearman", "is_drifted": False, "is_reindex_needed": True}
    cost |= {"is_decided": True}
    return figures | {
        "split": {f"n_{split}_queries": 8 for split in ("train", "dev", "test")} | leaks,
        "audit": split_sizes | {f"{split}_leaks.semantic_queries": 1 for split in ("dev", "test")},
        "drift": cost | {"domain.cka": 0.7, "general.cka": 0.9, "verdict": "Not drifted. The space moved."},
        "base_encoder": {"model": "some/encoder", "revision": "0123abcd"},
        "prepare": {"n_documents": 20},
        "mine": {"n_triplets": 9, "scored_by": "cosine"},
        "train": TRAINED,
        "merge": MERGED,
        "query_adapter": ADAPTED,
        "seeds": {"n_seeds": 1},
        "champion": {"name": ""},
        "export": {"fp32_min_cosine": 0.999999},
        "storage": STORED,
        "curve": CURVED,
    }


def summary(systems: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the content of report.json."""
    compared = {"delta": 0.125, "ci_low": -0.1, "ci_high": 0.3, "p_value": 0.2, "wins": 5, "ties": 2, "losses": 1}
    gains = {"train_gain": 0.4, "dev_gain": 0.2, "test_gain": 0.1, "is_overfitted": False}
    without_any = {"n_queries": 6, "baseline": 0.7, "tuned": 0.8, "delta": 0.1, "ci_low": -0.2, "ci_high": 0.4}
    return {
        "verdict": "No clear change: recall@10 went from 0.750 to 0.875.",
        "new_in_test": "new queries and new documents (split.by: cluster)",
        "slice_counts": {"n_slices": 3, "n_tested": 2, "max_slice_loss": 0.05},
        "paired": dict.fromkeys(MEASURES, compared),
        "others": dict.fromkeys(OTHERS, dict.fromkeys(("recall@10", "mrr@10", "ndcg@10"), compared | {"p_holm": 0.6})),
        "champion": {},
        "champion_sentence": "",
        "adapter": "The query adapter keeps every document embedding of base.",
        "scores": "As a probability that a hit is relevant, tuned's score is wrong by 0.380 on average.",
        "cutoff": "A cutoff of base's scores does not carry over: 0.310 keeps 90.0% of dev's relevant documents.",
        "static": "A static query encoder, a sum of token vectors without a transformer, keeps 0.700 of 0.713.",
        "systems": systems,
        "headline": "recall@10",
        "what_to_ship": {
            "sentence": "Ship tuned int8.",
            "rule": "The best has the highest recall@10.",
            "named": "tuned_int8",
        }
        | {"times": "Nobody has measured times.", "columns": columns(DECISION), "rows": cells(DECISION)},
        "sizes": "float32 takes 128 bytes.",
        "labels": "With all 200 labelled train queries ...",
        "paired_without_leaks": {},
        "without_leaks": {"lexical": without_any | {"n_queries": 8}, "any": without_any},
        "n_test_queries": 8,
        "n_test_clusters": 8,
        "ndcg@10_kept_share": {"tuned_int8": 0.96},
        "ndcg@10_kept_interval": {"tuned_int8": {"ci_low": 0.94, "ci_high": 0.975}},
        "choice": {
            "shipped": "step 10 at share 0.5",
            "is_base_kept": False,
            "tried": "",
            "room": "",
            "sentence": ships(MERGED),
        },
        "overfitting": gains | {"status": "not overfitted", "verdict": "Not overfitted. Dev was best at the end."},
    }


def comparison(task: str, measure: str, **figures: float) -> dict[str, Any]:
    """Returns a row of comparisons.csv."""
    row = {"task": task, "measure": measure, "n": 8, "base": 0.5, "tuned": 0.625, "delta": 0.125, "low": -0.1}
    row |= {"high": 0.3, "p": 0.2, "p_holm": 0.9, "wins": 5, "ties": 2, "losses": 1, "smallest_detectable": 0.4}
    return row | figures


def sliced(trait: str, bin: str, delta: float, low: float, high: float, p_holm: float) -> dict[str, Any]:
    """Returns a slice as the page shows it."""
    row = {"slice": trait, "bin": bin, "n": 5, "base": 0.5, "tuned": 0.5 + delta, "delta": delta}
    outcome = "failed" if high < 0 and p_holm <= 0.05 else "passed" if low > -0.05 else "undecided"
    detectable = 0.25 if outcome != "undecided" else None
    return row | {"low": low, "high": high, "p_holm": p_holm, "outcome": outcome, "detectable": detectable}


def make_results(folder: Path) -> Results:
    """Returns the results of the eight queries; writes their corpus to `folder`."""
    rankings, corpus = rankings_and_corpus(folder)
    figures = receipts()
    base, tuned = (run_of(ranks)[1] for ranks in (BASE, TUNED))
    write_plots(folder)
    points = interpolation_points(folder / "metrics/plots/merge.csv")
    task = {"task": "general", "measure": "spearman", "n": 330, "base": 0.8, "tuned": 0.85, "counts_as": "general"}
    task |= {"is_counted": True, "cost": 0.05, "cost_low": -0.01, "cost_high": 0.07, "detectable_cost": 0.056}
    task |= {"p_holm": 0.14, "unmeasured": ""}
    near = {"task": "near_as_typed", "measure": "ndcg@10", "n": 8, "base": 0.589, "tuned": 0.549, "is_counted": True}
    near |= {"counts_as": "near_domain", "cost": 0.068, "cost_low": 0.03, "cost_high": 0.104, "detectable_cost": 0.05}
    near |= {"p_holm": 0.002, "unmeasured": ""}
    mined = {f"{side}_{part}": NASTY for side in ("positive", "negative") for part in ("id", "title", "text")}
    mined |= {"query_id": "q", "text": NASTY, "source": "dense", "positive_score": 0.61, "negative_score": 0.52}
    scores, unjudged = Paired([f"q{i}" for i in range(8)], np.arange(8), base, tuned), pl.DataFrame(schema=NEGATIVES)
    result = headline_result(compare(base, tuned, scores.clusters, 0.95), [], scores, [], STATISTICS["rule"])
    holes = holes_of(rankings, unjudged, scores, result, figures["split"])
    return Results(
        summary=summary({system: figures[system] for system in SCORED}) | {"holes": holes},
        receipts=figures,
        leaks="",
        comparisons=[comparison("test", name) for name in MEASURES],
        slices=[
            sliced("query_length", "1 to 3", 0.3, 0.1, 0.5, 0.01),
            sliced("source", f"{NASTY[:28]} $a$", -0.1, -0.3, 0.1, 1.0),
        ],
        scores=scores,
        rankings=rankings,
        curve=[Point(0, None, 0.5), Point(10, 0.9, 0.7), Point(20, 0.8, 0.6)],
        points=points,
        checkpoints=by_checkpoint(points),
        rates=rate_probes(folder / "metrics/plots/rates.csv"),
        tasks=[near, task],
        domain_tasks=[],
        dimensions=[],
        negatives=[mined],
        **examples(rankings, corpus, 2, 0),
        closest={},
        judged={},
        decision=DECISION,
        sizes=sizes_of(STORED),
        labels=read_csv(folder / "metrics/plots/labels.csv", LABELS).to_dicts(),
    )


def changed(results: Results, part: str, name: str | None = None, **figures: object) -> Results:
    """Returns the results with other figures in a part, or in the entry `name` of that part."""
    content: dict[str, Any] = dict(getattr(results, part))
    content |= figures if name is None else {name: content[name] | figures}
    return replace(results, **{part: content})


def checks(results: Results) -> dict[str, Any]:
    """Returns the checks of these results, as stage report writes them."""
    known = {**results.receipts, "report": results.summary, "params": {}}
    limits = load_params(GateParams, "gate", PANEL)
    return by_code(findings(Facts(known), limits, ["metrics"]))


def make_page(results: Results, **statistics: float) -> str:
    """Returns the page of these results, with their checks."""
    return page(changed(results, "summary", checks=checks(results)), PROVENANCE, **STATISTICS | statistics)


def write_plots(folder: Path) -> None:
    """Writes the csv files of metrics/plots."""
    plots = folder / "metrics/plots"
    plots.mkdir(parents=True, exist_ok=True)
    (plots / "training.csv").write_text("seed,step,loss,dev_ndcg@10\n13,0,,0.5\n13,10,0.9,0.7\n13,20,0.8,0.6\n")
    (plots / "merge.csv").write_text(MERGE_CSV)
    (plots / "rates.csv").write_text(RATES_CSV)
    (plots / "labels.csv").write_text(LABELS_CSV)
    rows = [",".join(map(str, comparison("test", name).values())) for name in MEASURES]
    (plots / "comparisons.csv").write_text("\n".join([COMPARISONS, *rows]) + "\n")
    slices = "slice,bin,n,base,tuned,delta,low,high,p_holm\nquery_length,1 to 3,5,0.6,0.9,0.3,0.1,0.5,0.01\n"
    (plots / "slices.csv").write_text(slices)
    choices = "slice,bin,delta,low,high,is_named\nbase's index,adapter,0.1,0.05,0.15,true\n"
    (plots / "choices.csv").write_text(choices)

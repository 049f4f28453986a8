"""Measures embedding drift: movement of the space, cost on general tasks, and whether old vectors still serve.

Measured on the domain's texts (a sample of the corpus, the dev queries) and on general texts (the probe's), from
embeddings that earlier stages made: no encoder runs here. No test query or judgment is read; the sample of the corpus
holds documents of every split. Losses on the probe's tasks are judged by their values per item.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from attune.errors import BadInput
from attune.evaluation import drift as space
from attune.evaluation.bridge import LEAST_DOCUMENTS, fit_bridge, kept_gain
from attune.evaluation.costs import PairedItems, least_kept, task_costs
from attune.evaluation.drift_verdict import (
    DriftParams,
    Losses,
    drift_verdict,
    is_decided,
    is_drifted,
    is_reindex_needed,
    largest,
)
from attune.evaluation.scoring.judgments import Split, load_split
from attune.evaluation.scoring.measures import measure
from attune.evaluation.scoring.receipts import read_receipts
from attune.retrieval.passages import read_passages
from attune.retrieval.ties import exact_search
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32, Int64
from attune.stage import Receipt, run
from attune.tables import CORPUS, PROBE_ITEMS, read

SYSTEMS = ("base", "tuned")
SAMPLE_SEED = 13  # of the sample of documents
# what embeds queries for the documents of base or of tuned: encoder of the documents, and file of stage probe
SIDES = {"adapter": ("base", "adapter"), "static_base": ("base", "static"), "static_tuned": ("tuned", "static")}


def load_pair(folder: Path, file: str, n_rows: int, table: str) -> tuple[Float32, Float32]:
    """Loads the embeddings of the same texts by base and tuned.

    Args:
        folder: holds a folder of each.
        file: within these.
        n_rows: number of texts.
        table: name of the texts, for errors.

    Raises:
        BadInput: a file is missing or damaged, or the shapes differ.
    """
    paths = [folder / system / file for system in SYSTEMS]
    base, tuned = (load_embeddings(path, n_rows, table) for path in paths)
    if base.shape != tuned.shape:
        raise BadInput(f"{paths[1]}: shape {tuned.shape}, expected that of {paths[0]}, {base.shape}; run `dvc repro`")
    return base, tuned


def domain_figures(
    params: DriftParams,
    documents: tuple[Float32, Float32],
    queries: tuple[Float32, Float32],
    dev: Split,
    confidence: float,
) -> dict[str, float | None]:
    """Measures the domain's space, and dev nDCG@10 of tuned queries over the tuned and over the base's documents.

    Args:
        params: of the stage.
        documents: (n_documents, dim) by base and by tuned.
        queries: (n_queries, dim) of dev, by base and by tuned.
        dev: the dev split.
        confidence: of the intervals of what decides on a re-index; their low ends are given.
    """
    random = np.random.default_rng(SAMPLE_SEED)
    n_documents = len(documents[0])
    rows = np.sort(random.choice(n_documents, size=min(params.n_sample, n_documents), replace=False))
    before, after = documents[0][rows], documents[1][rows]
    figures = space.figures("domain", before, after)
    different = space.distinct(before, after)
    figures["domain.stale_overlap@10_low"], _ = space.stale_interval(before[different], after[different], confidence)
    figures["domain.same_cosine_low"], _ = space.cosine_interval(before, after, confidence)
    positives = dev.judgments[dev.judgments[:, 2] > 0]
    for system, of_queries, of_documents in zip(SYSTEMS, queries, documents, strict=True):
        figures[f"domain.{system}_alignment"] = space.alignment(
            of_queries[positives[:, 0]], of_documents[positives[:, 1]]
        )
    for name, index in (("stale_dev_ndcg@10", documents[0]), ("dev_ndcg@10", documents[1])):
        scores, ranked = dev.ranked(exact_search(queries[1], index, params.machine.threads), 10)
        figures[name] = float(measure(ranked, dev.judgments, scores)["ndcg@10"].mean())
    return figures


def bridge_figures(
    params: DriftParams,
    documents: tuple[Float32, Float32],
    rows: Int64,
    queries: tuple[Float32, Float32],
    dev: Split,
    confidence: float,
) -> dict[str, float | None]:
    """Measures what a linear map of the base's vectors to the tuned space keeps of dev's gain; empty where none moved.

    Args:
        params: of the stage.
        documents: (n_passages, dim) by base and by tuned.
        rows: (n_passages,) document of each passage.
        queries: (n_queries, dim) of dev, by base and by tuned.
        dev: the dev split.
        confidence: of the interval.
    """
    n = min(params.n_bridge, len(rows))
    if n < LEAST_DOCUMENTS or np.array_equal(*documents):
        return {}
    sample = np.sort(np.random.default_rng(SAMPLE_SEED).choice(len(rows), size=n, replace=False))
    bridge = fit_bridge(documents[0][sample], documents[1][sample])
    kept = kept_gain(dev, queries, documents, rows, bridge, confidence, params.machine.threads)
    shares = {"share": kept.share, "share_low": kept.low, "share_high": kept.high}
    at_dev = {"base_dev_ndcg@10": kept.old, "dev_ndcg@10": kept.bridged, **shares, "n_documents": n}
    return {f"bridge.{name}": value for name, value in at_dev.items()}


def general_figures(probed: Path, receipt: Mapping[str, Any], confidence: float) -> dict[str, float | None]:
    """Measures the space of the probe's general texts, with the interval of the neighbours that they keep.

    Alignment only where general retrieval is among the tasks.
    """
    spaces = load_pair(probed, "general.npy", receipt["n_general_texts"], "the general texts")
    figures = space.figures("general", *spaces)
    different = space.distinct(*spaces)
    ends = space.neighbour_interval(spaces[0][different], spaces[1][different], confidence)
    figures |= dict(zip((f"general.neighbour_overlap@10_{end}" for end in ("low", "high")), ends, strict=True))
    pairs = load_embeddings(probed / "base" / "positives.npy", receipt["n_general_pairs"], "the general pairs")
    if len(pairs):
        for system, vectors in zip(SYSTEMS, spaces, strict=True):
            figures[f"general.{system}_alignment"] = space.alignment(vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    return figures


def read_items(probed: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads the values of base and of tuned on the items of each counted task, as PROBE_ITEMS.

    Raises:
        BadInput: a table is missing or damaged, or base and tuned were probed with different items.
    """
    base, tuned = (read(probed / system / "items.parquet", PROBE_ITEMS) for system in SYSTEMS)
    if not base.drop("value").equals(tuned.drop("value")):
        names = [set(frame["task"]) for frame in (base, tuned)]
        odd = ", ".join(sorted(names[0] ^ names[1])) or "other items"
        raise BadInput(f"drift: base and tuned were probed with different tasks ({odd}); run `dvc repro`")
    return base, tuned


def paired_items(base: pl.DataFrame, tuned: pl.DataFrame, receipt: Mapping[str, Any]) -> list[PairedItems]:
    """Returns the values of both PROBE_ITEMS on the same items, by task; the receipt of probe@base says what it is."""
    frame = base.with_columns(tuned=tuned["value"], grade=pl.col("grade").fill_null(0.0))
    return [
        PairedItems(
            task=str(task),
            measure=rows["measure"][0],
            counts_as=receipt[f"{task}.counts_as"],
            clusters=rows["cluster"].to_numpy().astype(np.str_),
            base=rows["value"].to_numpy(),
            tuned=rows["tuned"].to_numpy(),
            grades=rows["grade"].to_numpy(),
        )
        for (task,), rows in frame.group_by("task", maintain_order=True)
    ]


def side_figures(
    params: DriftParams, probed: Path, receipt: Mapping[str, Any], confidence: float, power: float
) -> dict[str, float | str]:
    """Returns what is lost by what embeds queries for the documents of base or of tuned, by system.

    The largest losses are against base; beside them stands the least share of the documents' own encoder that is kept
    on a near-domain task. Retrieval tasks have its queries, the others those of that encoder. Without a general task
    of retrieval that counts, nothing says what it loses.
    """
    base, tuned = read_items(probed)
    figures: dict[str, float | str] = {}
    for name, (system, side) in SIDES.items():
        own = read(probed / system / f"{side}.parquet", PROBE_ITEMS).select("task", "item", side="value")
        whole = base if system == "base" else tuned
        joined = whole.join(own, on=["task", "item"], how="left", maintain_order="left")
        items = joined.with_columns(value=pl.coalesce("side", "value")).select(list(PROBE_ITEMS))
        costs, unmeasured = task_costs(paired_items(base, items, receipt), confidence, power)
        losses = Losses(costs, params.max_cost, confidence, unmeasured)
        if {cost.task for cost in losses.counted} & {*own["task"]}:
            against_own = task_costs(paired_items(whole, items, receipt), confidence, power)[0]
            near = [cost for cost in against_own if cost.counts_as == "near_domain" and cost.task in {*own["task"]}]
            worst = worst_figures(losses) | least_kept(near)
            figures |= {f"{name}.{key}": value for key, value in worst.items()}
    return figures


def cost_figures(losses: Losses) -> dict[str, float | str | bool]:
    """Returns the figures of each task, then the largest losses, by key of the receipt."""
    figures: dict[str, float | str | bool] = {f"{task.task}.unmeasured": task.reason for task in losses.unmeasured}
    for cost in losses.costs:
        values: dict[str, float | str | bool] = {
            "measure": cost.measure,
            "cost": cost.cost,
            "cost_low": cost.low,
            "cost_high": cost.high,
            "p_holm": cost.p_holm,
            "detectable_cost": cost.detectable,
            "is_counted": losses.is_counted(cost),
        }
        figures |= {f"{cost.task}.{key}": value for key, value in values.items()}
    figures |= worst_figures(losses)
    counts = {
        "n_tested_tasks": len(losses.costs),
        "n_unmeasured_tasks": len(losses.unmeasured),
        "n_counted_tasks": len(losses.counted),
        "n_near_domain_tasks": len(losses.near_domain),
    }
    near: dict[str, bool | float] = {"near_domain.is_worse": bool(losses.worse_near_domain)}
    if losses.near_domain:
        near["near_domain.largest_open_cost"] = max(cost.high for cost in losses.near_domain)
    return figures | counts | near


def worst_figures(losses: Losses) -> dict[str, float | str]:
    """Returns the largest loss on general tasks that count, and near the domain, each with its task."""
    figures: dict[str, float | str] = {}
    for key, costs in (("largest_cost", losses.counted), ("largest_near_cost", losses.near_domain)):
        worst = largest(costs)
        figures |= {key: worst.cost if worst else 0.0, f"{key}_of": worst.name if worst else ""}
    return figures


def drift(
    params: DriftParams,
    prepared: Path,
    dev_split: Path,
    embeddings: Path,
    probed: Path,
    metrics: Path,
    confidence: float,
    power: float,
) -> Receipt:
    """Compares the spaces and the task scores of base and tuned; the receipt is the only output.

    A document that is read in passages stands for itself by its first one.
    """
    corpus = read(prepared / "corpus.parquet", CORPUS)
    dev = load_split(dev_split, corpus)
    passages = read_passages(prepared, corpus)
    before, after = load_pair(embeddings, "corpus.npy", len(passages), "the corpus")
    documents = (before[passages.first], after[passages.first]) if passages.is_cut else (before, after)
    queries = load_pair(embeddings, "dev.npy", len(dev.texts), "the dev queries")
    receipt = read_receipts(metrics, ("base",), ())["base"]
    costs, unmeasured = task_costs(paired_items(*read_items(probed), receipt), confidence, power)
    losses = Losses(costs, params.max_cost, confidence, unmeasured)
    figures = domain_figures(params, documents, queries, dev, confidence)
    figures |= bridge_figures(params, (before, after), passages.document_rows, queries, dev, confidence)
    figures |= general_figures(probed, receipt, confidence)
    judged = {
        "is_drifted": is_drifted(figures, losses, params),
        "is_decided": is_decided(figures, losses, params),
        "is_reindex_needed": is_reindex_needed(figures, params),
        "verdict": drift_verdict(figures, losses, params),
    }
    # the receipt may hold None (null: too few texts), which its type does not name
    sides = side_figures(params, probed, receipt, confidence, power)
    return cast("Receipt", figures | cost_figures(losses) | sides | judged)


if __name__ == "__main__":
    run(drift)

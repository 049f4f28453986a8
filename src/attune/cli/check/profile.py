"""Profiles a data set before any run: counts, lengths, duplicates, and the split with its leaks."""

import sys
import tempfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attune.cli.check.languages import language_facts, stem_facts
from attune.cli.check.peculiarities import peculiarities
from attune.cli.check.reader import Reader, endpoint_facts, reader_of
from attune.cli.check.scripts import script_facts
from attune.data.lengths import Lengths, auto_length, figures, price, sampled
from attune.data.sources.raw import RawData
from attune.data.splitting.assignment import SplitParams, assign, split_documents, strata_of, unusable_clusters
from attune.data.splitting.duplicates import merge_raw
from attune.data.splitting.kinds import audited
from attune.data.splitting.lexical_audit import audit_splits
from attune.data.splitting.shared_documents import known_answers_share
from attune.data.splitting.similarity import alike
from attune.evaluation.checks.catalogue import by_code, findings
from attune.evaluation.checks.facts import Facts as CheckedFacts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.report.protocol import new_in_test
from attune.retrieval.passages import Passages
from attune.retrieval.words import n_words
from attune.runtime.arrays import Int64
from attune.stage import all_params, load_params
from attune.stages.base import BaseParams
from attune.stages.collect import CollectParams, read_source, write_raw
from attune.stages.prepare import PrepareParams, cut, passage_figures, tables_of
from attune.tables import LEXICAL, SPLITS, full_texts

MAX_SHOWN = 120  # characters of a text that is shown
MIN_WORDS = 3  # a shorter text says little
AFFORDABLE_ROWS = 20_000  # of an epoch, which a laptop trains on in minutes

Facts = dict[str, Any]


def profile(collect: CollectParams) -> Facts:
    """Returns the facts of a data set by section, in seconds; the section `checks` has a sentence for each check.

    Raises:
        BadInput: the data cannot be read; every problem is counted, the first 20 are shown in full.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _profiled(collect, Path(folder))


def _profiled(collect: CollectParams, scratch: Path) -> Facts:
    """Returns the facts; `scratch` takes the raw data, and a tokenizer that is made from a vocabulary."""
    raw = read_source(collect)
    (scratch / "raw").mkdir()
    write_raw(raw, scratch / "raw")
    data = merge_raw(scratch / "raw")
    params, split = load_params(PrepareParams, "prepare"), load_params(SplitParams, "split")
    tables, sections = tables_of(data, params), all_params()
    unusable = unusable_clusters(tables["queries"], tables["corpus"], split)
    # where clusters cannot be split, the pairs to train on are those of the other protocol
    protocols = (split, split.model_copy(update={"by": "query"}) if unusable else split)
    queries, trained = (tables["queries"].with_columns(assign(tables["queries"], each)) for each in protocols)
    base = load_params(BaseParams, "base")
    passages = Passages(tables["corpus"], cut(tables["corpus"], params.passages))
    documents, asked = sampled(passages.texts), sampled(tables["queries"]["text"].to_list())
    reader = reader_of(base, scratch)
    lengths = reader.lengths(documents, asked, tables["qrels"].height)
    of_train = lengths_of_train(tables, passages, trained, protocols[1].by, reader) or lengths
    of_lengths = length_facts(of_train, base, reader.n_positions)
    every = tables["queries"]["text"].to_list(), passages.texts
    sent = endpoint_facts(base, reader, of_lengths["max_length"], every, sections["probe"])
    samples = {"documents": documents, "queries": asked}
    facts: Facts = {
        "data": data_facts(raw, tables),
        "documents": text_facts(documents, lengths.documents, of_lengths["max_length"]),
        "queries": text_facts(asked, lengths.queries, of_lengths["max_length"]),
        **({"passages": passage_figures(passages.table)} if passages.is_cut else {}),
        "lengths": of_lengths,
        **({"endpoint": sent} if sent else {}),
        **({"scripts": script_facts(samples, reader.tokenizer)} if reader.tokenizer else {}),
        "languages": language_facts(samples),
        "read_as": read_as(
            reader.prompts, {"query": (asked, lengths.queries), "document": (documents, lengths.documents)}
        ),
        "alike": duplicate_facts(tables, params),
        "peculiar": peculiarities(tables),
        "split": split_facts(tables, queries, params, split),
        "training": training_facts(tables["qrels"], trained, sections["train"]["max_pairs_per_query"]),
    }
    stems = stem_facts(facts["languages"], sections["release"]["languages"], sections["evaluate"]["bm25_language"])
    known = {**facts, "base_encoder": of_lengths, "params": sections, "split": facts["split"] | {"unusable": unusable}}
    known |= {"stems": stems}
    found = findings(CheckedFacts(known), load_params(GateParams, "gate"), ["data"])
    return facts | {"checks": by_code(found)}


def data_facts(raw: RawData, tables: Mapping[str, pl.DataFrame]) -> Facts:
    """Counts documents, queries and judgments, and rows left out by reason."""
    per_query = tables["qrels"].group_by("query_id").len()["len"]
    n_answers = tables["qrels"]["document_id"].n_unique()
    return {
        "n_documents": tables["corpus"].height,
        "n_queries": tables["queries"].height,
        "n_judgments": tables["qrels"].height,
        "n_own_negatives": tables["negatives"].height,
        "n_other_forms": len(raw.forms),
        "relevant_per_query_mean": float(per_query.mean()),  # type: ignore[arg-type]
        "relevant_per_query_max": int(per_query.max()),  # type: ignore[arg-type]
        "documents_nobody_asks_for_share": 1 - n_answers / tables["corpus"].height,
        **{f"n_left_out_{reason}": n for reason, n in sorted(raw.dropped.items()) if n},
    }


def lengths_of_train(
    tables: Mapping[str, pl.DataFrame],
    passages: Passages,
    queries: pl.DataFrame,
    by: str,
    reader: Reader,
) -> Lengths | None:
    """Counts the tokens of the split that trains, as stage base does; None where it is empty.

    Args:
        tables: of data/prepared.
        passages: of the documents.
        queries: with their split.
        by: protocol.
        reader: of the base encoder.
    """
    _, documents = split_documents(tables["corpus"], queries, tables["qrels"], by)
    texts = passages.of(documents["train"]["document_id"])
    train = queries.filter(pl.col("split") == "train")
    pairs = tables["qrels"].join(train, on="query_id", how="semi").filter(pl.col("relevance") > 0)
    if not (texts and pairs.height):
        return None
    return reader.lengths(sampled(texts), sampled(train["text"].to_list()), pairs.height)


def read_as(prompts: Mapping[str, str], texts: Mapping[str, tuple[Sequence[str], Int64]]) -> Facts:
    """Shows the first query and the first document as the encoder reads them: prompt, text, number of tokens.

    Args:
        prompts: by query and document.
        texts: of each kind, with the number of tokens of each, prompt and special tokens included.
    """
    shown = {}
    for kind, (several, tokens) in texts.items():
        text = prompts[kind] + several[0]
        cut = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
        shown[kind] = f"{cut!r} ({int(tokens[0]):,} tokens)"
    return shown


def length_facts(lengths: Lengths, base: BaseParams, n_positions: int) -> Facts:
    """Returns the maximum length, the one that `auto` takes, and what a length that cuts next to no text would cost."""
    run_tokens = sys.maxsize if base.endpoint.url else base.run_tokens  # of an endpoint nothing is trained
    auto = auto_length(lengths, n_positions, run_tokens)
    length = auto if base.max_length == "auto" else base.max_length
    return {
        "max_length": length,
        "is_max_length_auto": base.max_length == "auto",
        "auto_length": auto,
        **figures(lengths, length),
        **price(lengths, length, n_positions),
    }


def text_facts(texts: Sequence[str], tokens: Int64, max_length: int) -> Facts:
    """Lengths in words and in tokens of the base encoder, and the share it truncates.

    Args:
        texts: all, or a sample if they are many.
        tokens: of each, prompt included.
        max_length: from which on the encoder cuts.
    """
    words = np.array([n_words(text) for text in texts])
    return {
        "n_sampled": len(texts),
        "words_median": float(np.median(words)),
        "tokens_median": float(np.median(tokens)),
        "tokens_p95": float(np.percentile(tokens, 95)),
        "tokens_max": int(tokens.max()),
        "cut_at_max_length_share": float((tokens > max_length).mean()),
        "under_3_words_share": float((words < MIN_WORDS).mean()),
    }


def duplicate_facts(tables: Mapping[str, pl.DataFrame], params: PrepareParams) -> Facts:
    """Counts duplicates and near-duplicates, and the clusters of them that no split may cut."""
    corpus, queries = tables["corpus"], tables["queries"]
    duplicates = corpus.filter(pl.col("duplicate_of") != pl.col("document_id")).height
    sizes = pl.concat([corpus["cluster_id"], queries["cluster_id"]]).value_counts()["count"]
    of_queries = queries["query_cluster_id"].value_counts()["count"]
    near = {
        name: np.unique(alike(texts, width, threshold).edges()).size / max(1, len(texts))
        for name, texts, width, threshold in (
            ("documents", full_texts(corpus), params.document_shingle, params.similar_document),
            ("queries", queries["text"].to_list(), params.query_shingle, params.similar_query),
        )
    }
    return {
        "n_queries_merged": tables["merged_queries"].height,
        "n_identical_documents": duplicates,
        "near_duplicate_documents_share": near["documents"],
        "near_duplicate_queries_share": near["queries"],
        "n_clusters": len(sizes),
        "largest_cluster_share": int(sizes.max()) / int(sizes.sum()),  # type: ignore[arg-type]
        "largest_query_cluster_share": int(of_queries.max()) / queries.height,  # type: ignore[arg-type]
    }


def split_facts(
    tables: Mapping[str, pl.DataFrame], queries: pl.DataFrame, prepare: PrepareParams, params: SplitParams
) -> Facts:
    """Sizes and leaks of the split, as the pipeline will make it or as it was given, and what is new in its test.

    Args:
        tables: of data/prepared.
        queries: with their split.
        prepare: definition of near-duplicates.
        params: protocol.
    """
    qrels = tables["qrels"]
    corpus, documents = split_documents(tables["corpus"], queries, qrels, params.by)
    leaks, _ = audit_splits(corpus, queries, qrels, prepare.near_duplicates(), params.by)
    known = {"test_known_answers_share": known_answers_share(qrels, queries, "test")} if params.by == "query" else {}
    counts = {kind: sum((leak.split, leak.kind) == ("test", kind) for leak in leaks) for kind in LEXICAL}
    protocol = {"by": params.by, **known}
    told = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in counts.items() if n)
    return {
        "made_by": "you" if (queries["given_split"] != "").any() else "attune",
        **protocol,
        **({"new_in_test": new_in_test(protocol, told)} if (queries["split"] == "test").any() else {}),
        **{f"n_{name}_queries": queries.filter(pl.col("split") == name).height for name in SPLITS},
        **{f"n_{name}_documents": documents[name].height for name in SPLITS},
        **strata_of(queries),
        **{f"test_leaks.{kind}": counts[kind] for kind in audited(LEXICAL, params.by)},
        "allowed_leak_share": params.max_leak_share,
    }


def training_facts(qrels: pl.DataFrame, queries: pl.DataFrame, max_pairs_per_query: int) -> Facts:
    """Counts the rows of an epoch, and suggests how many pairs a query may have where they are more than affordable.

    Args:
        qrels: judgments of relevance.
        queries: with their split.
        max_pairs_per_query: parameter of stage train, 0 for all.
    """
    train = queries.filter(pl.col("split") == "train")
    n_pairs = qrels.join(train, on="query_id", how="semi").group_by("query_id").len()["len"].to_numpy()
    n_rows = int(np.minimum(n_pairs, max_pairs_per_query or n_pairs.max(initial=0)).sum())
    facts = {"n_pairs": int(n_pairs.sum()), "n_rows_per_epoch": n_rows, "affordable_rows": AFFORDABLE_ROWS}
    if n_rows <= AFFORDABLE_ROWS:
        return facts

    def rows_with(limit: int) -> int:
        return int(np.minimum(n_pairs, limit).sum())

    limit = max(1, bisect_right(range(1, int(n_pairs.max())), AFFORDABLE_ROWS, key=rows_with))
    if rows_with(limit) < n_rows:
        facts |= {"suggested_max_pairs_per_query": limit, "n_rows_per_epoch_then": rows_with(limit)}
    return facts

"""Looks at a data set before anything runs: what is in it, what will be cut, merged and split, and what to mend."""

import json
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from attune.data.sources.documents import TEXTS
from attune.data.sources.files.cells import Columns
from attune.data.sources.files.tabular import columns_of, single_file
from attune.data.sources.raw import RawData
from attune.data.splitting.duplicates import merged
from attune.data.splitting.similarity import WORD, alike
from attune.errors import BadInput, Problems
from attune.stage import load_params
from attune.stages.base import BaseParams, locate
from attune.stages.collect import CollectParams, read_source, write_raw
from attune.stages.prepare import PrepareParams, tables_of
from attune.stages.split import SplitParams, assign, assign_documents, crossing
from attune.tables import LEXICAL, SPLITS, Leak, full_texts

PLAIN = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[\w./-]*")
WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}  # no strings in YAML
SOURCES = ("beir", "pairs", "triplets", "documents")


def chosen(path: Path | None, source: str, column: Sequence[str]) -> tuple[CollectParams, list[str]]:
    """The parameters for a path, and the lines of params.yaml that say the same; without a path those of params.yaml.

    Raises:
        BadInput: the source or a column does not exist, or params.yaml is not in this folder.
    """
    params = load_params(CollectParams, "collect")
    if path is None:
        return params, []
    columns = named(params.columns, column)
    source = source or guess(path, columns)
    if source not in SOURCES:
        raise BadInput(f"--source: got {source!r}, expected one of {', '.join(SOURCES)}")
    changed = {key: value for key, value in columns.model_dump().items() if value != getattr(params.columns, key)}
    lines = [f"source: {source}", f"path: {in_yaml(str(path))}"]
    lines += ["columns:", *(f"  {key}: {in_yaml(value)}" for key, value in changed.items())] if changed else []
    return params.model_copy(update={"source": source, "path": str(path), "columns": columns}), lines


def named(columns: Columns, options: Sequence[str]) -> Columns:
    """The columns with those named on the command line (query=question; negatives=bad1,bad2) in their place."""
    changes: dict[str, str | list[str]] = {}
    for option in options:
        key, equals, name = option.partition("=")
        if not equals or key not in Columns.model_fields:
            raise BadInput(
                f"--column: got {option!r}, expected KIND=NAME such as query=question, "
                f"with KIND one of {', '.join(Columns.model_fields)}"
            )
        changes[key] = name.split(",") if key == "negatives" else name
    return columns.model_copy(update=changes)


def in_yaml(value: str | list[str]) -> str:
    """A value as it is written in params.yaml: in quotes, which YAML shares with JSON, unless it is a plain name."""
    plain = isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def guess(path: Path, columns: Columns) -> str:
    """The source that can read a path, by what lies there and by the columns it has."""
    if not path.exists():
        raise BadInput(f"{path}: not found; check the path")
    if path.is_dir() and (any(path.glob("corpus.jsonl*")) or (path / "qrels").is_dir()):
        return "beir"
    if path.is_dir() and any(file.suffix.lower() in TEXTS for file in path.rglob("*") if file.name != "README.md"):
        return "documents"
    problems = Problems()
    found = set(columns_of(single_file(path, problems), problems))
    problems.check()
    if {columns.query, columns.document} <= found:
        return "triplets" if columns.negatives and set(columns.negatives) <= found else "pairs"
    if columns.document in found:
        return "documents"
    raise BadInput(
        f"{path}: the columns are {', '.join(sorted(found))}; say which is which: "
        "--column query=NAME --column document=NAME"
    )


LETTERS = 200  # looked at per text


def script_of(text: str) -> str:
    """The most common script of a text's first letters, as Unicode names it ("latin", "cjk"); without any, "none"."""
    letters = [character for character in text[: 10 * LETTERS] if character.isalpha()][:LETTERS]
    scripts = Counter(unicodedata.name(letter, "none").partition(" ")[0].lower() for letter in letters)
    return scripts.most_common(1)[0][0] if scripts else "none"


SAMPLE = 20_000  # texts whose tokens are counted and whose scripts are told
SHORT = 3  # words; a shorter text says little
FEW = 100  # test queries; with fewer, the interval of a gain is wide

Facts = dict[str, Any]


def look(collect: CollectParams) -> Facts:
    """All that can be said of a data set in seconds, by section; `notes` says in words what deserves a thought.

    Raises:
        BadInput: the data cannot be read; every problem is named, the first 20 in full.
    """
    raw = read_source(collect)
    with tempfile.TemporaryDirectory() as folder:
        write_raw(raw, Path(folder))
        data = merged(Path(folder))
    params = load_params(PrepareParams, "prepare")
    tables = tables_of(data, params)
    facts = {
        "data": counts(raw, tables),
        "documents": of_texts(full_texts(tables["corpus"])),
        "queries": of_texts(tables["queries"]["text"].to_list()),
        "alike": likeness_of(tables, params),
        "split": of_split(tables),
    }
    return facts | {"notes": notes(facts)}


def counts(raw: RawData, tables: Mapping[str, pl.DataFrame]) -> Facts:
    """How much there is, and what was left out and why."""
    per_query = tables["qrels"].group_by("query_id").len()["len"]
    asked = tables["qrels"]["document_id"].n_unique()
    return {
        "n_documents": tables["corpus"].height,
        "n_queries": tables["queries"].height,
        "n_judgments": tables["qrels"].height,
        "n_own_negatives": tables["negatives"].height,
        "relevant_per_query_mean": float(per_query.mean()),  # type: ignore[arg-type]
        "relevant_per_query_max": int(per_query.max()),  # type: ignore[arg-type]
        "documents_nobody_asks_for_share": 1 - asked / tables["corpus"].height,
        **{f"n_left_out_{reason}": n for reason, n in sorted(raw.dropped.items()) if n},
    }


def of_texts(texts: Sequence[str]) -> Facts:
    """Lengths in words and in tokens of the chosen encoder, what it will cut, and scripts; of a sample if many."""
    base = load_params(BaseParams, "base")
    step = -(-len(texts) // SAMPLE)
    sample = texts[::step]
    words = np.array([len(WORD.findall(text)) for text in sample])
    tokens = np.array([len(encoding.ids) for encoding in _tokenizer(base).encode_batch(list(sample))])
    scripts = Counter(script_of(text) for text in sample)
    return {
        "n_sampled": len(sample),
        "words_median": float(np.median(words)),
        "tokens_median": float(np.median(tokens)),
        "tokens_p95": float(np.percentile(tokens, 95)),
        "tokens_max": int(tokens.max()),
        "cut_at_max_length_share": float((tokens > base.max_length).mean()),
        "under_3_words_share": float((words < SHORT).mean()),
        **{f"script_{name}_share": n / len(sample) for name, n in scripts.most_common(4)},
    }


def _tokenizer(base: BaseParams) -> Tokenizer:
    file = locate(base) / "tokenizer.json"
    if not file.is_file():
        raise BadInput(
            f"{file}: not found; save the encoder with its fast tokenizer, or choose another in section base"
        )
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def likeness_of(tables: Mapping[str, pl.DataFrame], params: PrepareParams) -> Facts:
    """What is said more than once, and how large the clusters are that the split may not cut."""
    corpus, queries = tables["corpus"], tables["queries"]
    duplicates = corpus.filter(pl.col("duplicate_of") != pl.col("document_id")).height
    sizes = pl.concat([corpus["cluster_id"], queries["cluster_id"]]).value_counts()["count"]
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
    }


def of_split(tables: Mapping[str, pl.DataFrame]) -> Facts:
    """The split as it will be, or as it was given, and what crosses it."""
    params = load_params(SplitParams, "split")
    queries = tables["queries"].with_columns(assign(tables["queries"], params))
    corpus = tables["corpus"].with_columns(assign_documents(tables["corpus"], queries, tables["qrels"]))
    leaks, _ = crossing(corpus, queries, tables["qrels"], params)
    return {
        "made_by": "you" if (queries["given_split"] != "").any() else "attune",
        **{f"n_{name}_queries": queries.filter(pl.col("split") == name).height for name in SPLITS},
        **{f"n_{name}_documents": corpus.filter(pl.col("split") == name).height for name in SPLITS},
        **{f"test_leaks.{kind}": _count(leaks, kind) for kind in LEXICAL},
        "allowed_leak_share": params.max_leak_share,
    }


def _count(leaks: Sequence[Leak], kind: str) -> int:
    return sum((leak.split, leak.kind) == ("test", kind) for leak in leaks)


def notes(facts: Mapping[str, Facts]) -> list[str]:
    """What deserves a thought before the first run, each with what to do."""
    split, found = facts["split"], []
    for name in ("documents", "queries"):
        if (share := facts[name]["cut_at_max_length_share"]) > 0.1:
            found.append(
                f"{share:.0%} of the {name} are longer than the encoder reads and will be cut: raise base.max_length "
                f"(95% have at most {facts[name]['tokens_p95']:.0f} tokens), or cut them into passages yourself"
            )
        if (share := facts[name]["under_3_words_share"]) > 0.1:
            found.append(f"{share:.0%} of the {name} have fewer than {SHORT} words: are these the right columns?")
    for name in SPLITS:
        if split[f"n_{name}_queries"] == 0:
            found.append(f"the {name} split is empty: add data, or change split.*_share; the pipeline will stop there")
    if 0 < split["n_test_queries"] < FEW:
        found.append(f"{split['n_test_queries']} test queries: only a large gain can be told from luck")
    leaks = {key: n for key, n in split.items() if key.startswith("test_leaks") and n}
    if leaks:
        told = ", ".join(f"{n} {key.removeprefix('test_leaks.').replace('_', ' ')}" for key, n in leaks.items())
        found.append(f"the given test split leaks ({told}): let attune split, mend it, or raise split.max_leak_share")
    if (share := facts["alike"]["largest_cluster_share"]) > 0.2:
        found.append(
            f"one cluster holds {share:.0%} of all rows and cannot be split: look for boilerplate in the documents, or "
            "raise prepare.similar_document and prepare.similar_query"
        )
    return found

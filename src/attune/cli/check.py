"""Profiles a data set before any run: counts, lengths, duplicates, the split with its leaks, and advice.

The source and its columns are guessed from the path unless they are given. The figures come from the functions of the
stages collect, prepare and split, so they are those that the pipeline will have.
"""

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
from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.files.tabular import columns_of, single_file
from attune.data.sources.raw import RawData
from attune.data.splitting.duplicates import merge_raw
from attune.data.splitting.similarity import alike
from attune.data.words import WORD
from attune.errors import BadInput, Problems
from attune.stage import load_params
from attune.stages.base import BaseParams, locate
from attune.stages.collect import CollectParams, read_source, write_raw
from attune.stages.prepare import PrepareParams, tables_of
from attune.stages.split import SplitParams, assign, assign_documents, audit_splits
from attune.tables import LEXICAL, SPLITS, Leak, full_texts

SOURCES = ("beir", "pairs", "triplets", "documents")
BARE = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[\w./-]*")  # needs no quotes in YAML ...
KEYWORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}  # ... unless it is one of these
MAX_SAMPLED = 20_000  # texts whose tokens and scripts are counted
MAX_LETTERS = 200  # per text, for its script
MIN_WORDS = 3  # a shorter text says little
MIN_TEST_QUERIES = 100  # with fewer, the interval of a gain is wide

Facts = dict[str, Any]


def source_params(path: Path | None, source: str, options: Sequence[str]) -> tuple[CollectParams, list[str]]:
    """Returns the parameters of stage collect for a path, and the lines of params.yaml that set them.

    Args:
        path: the data; None takes source, path and columns from params.yaml, and there are no lines to set.
        source: name of the source; "" guesses it.
        options: column names, such as "query=question".

    Raises:
        BadInput: the source or a column does not exist, or params.yaml is not in this folder.
    """
    params = load_params(CollectParams, "collect")
    if path is None:
        return params, []
    columns = with_names(params.columns, options)
    source = source or guess_source(path, columns)
    if source not in SOURCES:
        raise BadInput(f"--source: got {source!r}, expected one of {', '.join(SOURCES)}")
    changed = {key: value for key, value in columns.model_dump().items() if value != getattr(params.columns, key)}
    lines = [f"source: {source}", f"path: {yaml_value(str(path))}"]
    lines += ["columns:", *(f"  {key}: {yaml_value(value)}" for key, value in changed.items())] if changed else []
    return params.model_copy(update={"source": source, "path": str(path), "columns": columns}), lines


def with_names(columns: ColumnNames, options: Sequence[str]) -> ColumnNames:
    """Returns the columns under the names from the command line (query=question, negatives=bad1,bad2)."""
    changes: dict[str, str | list[str]] = {}
    for option in options:
        key, equals, name = option.partition("=")
        if not equals or key not in ColumnNames.model_fields:
            raise BadInput(
                f"--column: got {option!r}, expected KIND=NAME such as query=question, "
                f"with KIND one of {', '.join(ColumnNames.model_fields)}"
            )
        changes[key] = name.split(",") if key == "negatives" else name
    return columns.model_copy(update=changes)


def yaml_value(value: str | list[str]) -> str:
    """Returns a value as YAML: a bare name where that is a string, else in JSON's quotes, which are YAML's, too."""
    is_bare = isinstance(value, str) and BARE.fullmatch(value) and value.lower() not in KEYWORDS
    return str(value) if is_bare else json.dumps(value, ensure_ascii=False)


def guess_source(path: Path, columns: ColumnNames) -> str:
    """Returns the source that can read a path, judged by its files and their columns.

    Raises:
        BadInput: nothing there, an unreadable file, or no columns of these names.
    """
    if not path.exists():
        raise BadInput(f"{path}: not found; check the path")
    if path.is_dir() and (any(path.glob("corpus.jsonl*")) or (path / "qrels").is_dir()):
        return "beir"
    if path.is_dir() and any(file.suffix.lower() in TEXTS for file in path.rglob("*") if file.name != "README.md"):
        return "documents"
    problems = Problems()
    names = set(columns_of(single_file(path, problems), problems))
    problems.check()
    if {columns.query, columns.document} <= names:
        return "triplets" if columns.negatives and set(columns.negatives) <= names else "pairs"
    if columns.document in names:
        return "documents"
    raise BadInput(
        f"{path}: the columns are {', '.join(sorted(names))}; name those of query and document: "
        "--column query=NAME --column document=NAME"
    )


def profile(collect: CollectParams) -> Facts:
    """Returns the facts of a data set by section, in seconds; the section `notes` is advice in sentences.

    Raises:
        BadInput: the data cannot be read; every problem is counted, the first 20 are shown in full.
    """
    raw = read_source(collect)
    with tempfile.TemporaryDirectory() as folder:
        write_raw(raw, Path(folder))
        data = merge_raw(Path(folder))
    params = load_params(PrepareParams, "prepare")
    tables = tables_of(data, params)
    facts = {
        "data": data_facts(raw, tables),
        "documents": text_facts(full_texts(tables["corpus"])),
        "queries": text_facts(tables["queries"]["text"].to_list()),
        "alike": duplicate_facts(tables, params),
        "split": split_facts(tables, params),
    }
    return facts | {"notes": advice(facts)}


def data_facts(raw: RawData, tables: Mapping[str, pl.DataFrame]) -> Facts:
    """Counts documents, queries and judgments, and rows left out by reason."""
    per_query = tables["qrels"].group_by("query_id").len()["len"]
    n_answers = tables["qrels"]["document_id"].n_unique()
    return {
        "n_documents": tables["corpus"].height,
        "n_queries": tables["queries"].height,
        "n_judgments": tables["qrels"].height,
        "n_own_negatives": tables["negatives"].height,
        "relevant_per_query_mean": float(per_query.mean()),  # type: ignore[arg-type]
        "relevant_per_query_max": int(per_query.max()),  # type: ignore[arg-type]
        "documents_nobody_asks_for_share": 1 - n_answers / tables["corpus"].height,
        **{f"n_left_out_{reason}": n for reason, n in sorted(raw.dropped.items()) if n},
    }


def text_facts(texts: Sequence[str]) -> Facts:
    """Lengths in words and in tokens of the base encoder, the share it truncates, and scripts; sampled if many."""
    base = load_params(BaseParams, "base")
    step = -(-len(texts) // MAX_SAMPLED)
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
        "under_3_words_share": float((words < MIN_WORDS).mean()),
        **{f"script_{name}_share": n / len(sample) for name, n in scripts.most_common(4)},
    }


def script_of(text: str) -> str:
    """Returns the most common script of a text's first letters by its Unicode name ("latin", "cjk"), else "none"."""
    letters = [character for character in text[: 10 * MAX_LETTERS] if character.isalpha()][:MAX_LETTERS]
    scripts = Counter(unicodedata.name(letter, "none").partition(" ")[0].lower() for letter in letters)
    return scripts.most_common(1)[0][0] if scripts else "none"


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


def duplicate_facts(tables: Mapping[str, pl.DataFrame], params: PrepareParams) -> Facts:
    """Counts duplicates and near-duplicates, and the clusters of them that no split may cut."""
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


def split_facts(tables: Mapping[str, pl.DataFrame], prepare: PrepareParams) -> Facts:
    """Sizes and leaks of the split, as the pipeline will make it or as it was given."""
    params = load_params(SplitParams, "split")
    queries = tables["queries"].with_columns(assign(tables["queries"], params))
    corpus = tables["corpus"].with_columns(assign_documents(tables["corpus"], queries, tables["qrels"]))
    leaks, _ = audit_splits(corpus, queries, tables["qrels"], prepare.near_duplicates())
    return {
        "made_by": "you" if (queries["given_split"] != "").any() else "attune",
        **{f"n_{name}_queries": queries.filter(pl.col("split") == name).height for name in SPLITS},
        **{f"n_{name}_documents": corpus.filter(pl.col("split") == name).height for name in SPLITS},
        **{f"test_leaks.{kind}": _n_test_leaks(leaks, kind) for kind in LEXICAL},
        "allowed_leak_share": params.max_leak_share,
    }


def _n_test_leaks(leaks: Sequence[Leak], kind: str) -> int:
    return sum((leak.split, leak.kind) == ("test", kind) for leak in leaks)


def advice(facts: Mapping[str, Facts]) -> list[str]:
    """Sentences on what to reconsider before the first run, each with the next step."""
    split = facts["split"]
    notes: list[str] = []
    for name in ("documents", "queries"):
        if (share := facts[name]["cut_at_max_length_share"]) > 0.1:
            notes.append(
                f"{share:.0%} of the {name} are longer than the encoder reads and will be cut: raise base.max_length "
                f"(95% have at most {facts[name]['tokens_p95']:.0f} tokens), or cut them into passages yourself"
            )
        if (share := facts[name]["under_3_words_share"]) > 0.1:
            notes.append(f"{share:.0%} of the {name} have fewer than {MIN_WORDS} words: check the column names")
    for name in SPLITS:
        if split[f"n_{name}_queries"] == 0:
            notes.append(f"the {name} split is empty: add data, or change split.*_share; the pipeline will stop there")
    if 0 < split["n_test_queries"] < MIN_TEST_QUERIES:
        notes.append(f"{split['n_test_queries']} test queries: only a large gain can be told from chance")
    leaks = {key: n for key, n in split.items() if key.startswith("test_leaks") and n}
    if leaks:
        counts = ", ".join(f"{n} {key.removeprefix('test_leaks.').replace('_', ' ')}" for key, n in leaks.items())
        notes.append(f"the given test split leaks ({counts}): let attune split, mend it, or raise split.max_leak_share")
    if (share := facts["alike"]["largest_cluster_share"]) > 0.2:
        notes.append(
            f"one cluster holds {share:.0%} of all rows and cannot be split: look for boilerplate in the documents, or "
            "raise prepare.similar_document and prepare.similar_query"
        )
    return notes

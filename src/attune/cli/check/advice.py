"""Advice before the first run: sentences on what to reconsider, each with the next step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attune.stage import all_params
from attune.tables import SPLITS

MIN_TEST_QUERIES = 100  # with fewer, the interval of a gain is wide
MAX_LABEL_WORDS = 6  # labels are short ...
MIN_LABEL_QUERIES = 10  # ... and each has many queries

Facts = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The parameters that advice depends on.

    Attributes:
        by: split.by.
        leave_out_own_text: split.leave_out_own_text.
        n_negatives: mine.n_negatives.
        max_pairs_per_query: train.max_pairs_per_query.
        has_near_domain_task: whether section probe names a task that counts as near_domain.
    """

    by: str
    leave_out_own_text: bool
    n_negatives: int
    max_pairs_per_query: int
    has_near_domain_task: bool

    @staticmethod
    def read() -> "Settings":
        """Reads params.yaml and advanced.yaml in this folder."""
        params = all_params()
        tasks = params["probe"]["tasks"].values()
        return Settings(
            params["split"]["by"],
            params["split"]["leave_out_own_text"],
            params["mine"]["n_negatives"],
            params["train"]["max_pairs_per_query"],
            any(task.get("counts_as") == "near_domain" for task in tasks),
        )


def advice(facts: Mapping[str, Facts], unusable: str, settings: Settings) -> list[str]:
    """Returns all advice.

    Args:
        facts: of the data set, by section.
        unusable: why the protocol's clusters cannot be split, "" where they can.
        settings: the parameters as they are.
    """
    return [
        *_of_split(facts, unusable, settings),
        *_of_texts(facts),
        *_of_roles(facts["peculiar"], facts["data"], settings),
        *_of_training(facts, settings),
        *_of_other_queries(facts["data"], settings),
    ]


def _of_split(facts: Mapping[str, Facts], unusable: str, settings: Settings) -> Iterator[str]:
    split, alike = facts["split"], facts["alike"]
    if unusable:
        yield f"the split stage will stop: {unusable}"
    for name in SPLITS:
        if split[f"n_{name}_queries"] == 0 and not unusable:
            yield f"the {name} split is empty: add data, or change split.*_share; the pipeline will stop there"
    if 0 < split["n_test_queries"] < MIN_TEST_QUERIES and not unusable:
        yield f"{split['n_test_queries']} test queries: only a large gain can be told from chance"
    leaks = {key: n for key, n in split.items() if key.startswith("test_leaks") and n}
    if leaks:
        counts = ", ".join(f"{n} {key.removeprefix('test_leaks.').replace('_', ' ')}" for key, n in leaks.items())
        is_shared = any(key.endswith("_documents") for key in leaks)
        by_query = ", set split.by: query if documents are shared on purpose" if is_shared else ""
        yield (
            f"the given test split leaks ({counts}): let attune split, mend it{by_query}, or raise split.max_leak_share"
        )
    if (share := alike["largest_cluster_share"]) > 0.2 and not unusable and settings.by == "cluster":
        yield (
            f"one cluster holds {share:.0%} of all rows and cannot be split: look for boilerplate in the documents, "
            "raise prepare.similar_document and prepare.similar_query, or set split.by: query"
        )


def _of_texts(facts: Mapping[str, Facts]) -> Iterator[str]:
    for name in ("documents", "queries"):
        if (share := facts[name]["cut_at_max_length_share"]) > 0.1:
            yield (
                f"{share:.0%} of the {name} are longer than the encoder reads and will be cut: raise base.max_length "
                f"(95% have at most {facts[name]['tokens_p95']:.0f} tokens), or cut them into passages yourself"
            )
        is_label = name == "documents" and _are_labels(facts["peculiar"], facts["data"])
        if (share := facts[name]["under_3_words_share"]) > 0.1 and not is_label:
            yield f"{share:.0%} of the {name} have fewer than 3 words: check the column names"


def _of_roles(peculiar: Facts, data: Facts, settings: Settings) -> Iterator[str]:
    """Yields advice on texts that are no queries, on labels, and on texts that are a query and a document."""
    for name in ("queries", "documents"):
        if named := peculiar.get(f"placeholder_{name}"):
            n = peculiar[f"n_pairs_of_placeholder_{name}"]
            yield (
                f"{n:,} of {data['n_judgments']:,} pairs have {name} that read like empty cells: {named}; leave such "
                "cells empty, and their rows are left out and counted"
            )
    if _are_labels(peculiar, data):
        now = {"cluster": "the first", "query": "the second"}[settings.by]
        yield (
            f"{peculiar['n_answers']:,} documents of {peculiar['words_per_answer_median']:.0f} words answer "
            f"{data['n_queries']:,} queries: they look like labels. split.by: cluster tests labels that training never "
            f"had, split.by: query tests new queries for known labels; params.yaml has {now}"
        )
    if n := peculiar["n_pairs_in_both_directions"]:
        yield f"{n:,} pairs are given in both directions, (a, b) and (b, a): the split keeps both on one side"
    if (n := peculiar["n_queries_that_are_other_documents"]) and not settings.leave_out_own_text:
        yield (
            f"{n:,} of {data['n_queries']:,} queries are also documents, which are not judged relevant to them: each "
            "finds itself first; set split.leave_out_own_text: true"
        )


def _are_labels(peculiar: Facts, data: Facts) -> bool:
    is_short = peculiar["words_per_answer_median"] <= MAX_LABEL_WORDS
    return bool(is_short and data["n_queries"] >= MIN_LABEL_QUERIES * peculiar["n_answers"])


def _of_training(facts: Mapping[str, Facts], settings: Settings) -> Iterator[str]:
    """Yields advice on the number of pairs, and on negatives of the data's own."""
    training, peculiar = facts["training"], facts["peculiar"]
    if training["n_rows_per_epoch"] > training["affordable_rows"]:
        if n := training.get("suggested_max_pairs_per_query"):
            rows = training["n_rows_per_epoch_then"]
            yield (
                f"{training['n_rows_per_epoch']:,} pairs to train on in each epoch: set train.max_pairs_per_query: {n} "
                f"for {rows:,}; each epoch draws others"
            )
        if training.get("n_rows_per_epoch_then", training["n_rows_per_epoch"]) > training["affordable_rows"]:
            yield "an epoch has more rows than a laptop trains on in minutes: set train.max_steps, or train.epochs: 1"
    most = peculiar["own_negatives_per_query_max"]
    if most > settings.n_negatives:
        yield (
            f"{peculiar['n_queries_with_own_negatives']:,} of {facts['data']['n_queries']:,} queries bring negatives "
            f"of their own, up to {most}; a training row holds mine.n_negatives ({settings.n_negatives}), the query's "
            "own first, then mined ones: raise it to use more of them at a time"
        )


def _of_other_queries(data: Facts, settings: Settings) -> Iterator[str]:
    if not data["n_other_forms"] and not settings.has_near_domain_task:
        yield (
            "gains will be measured on queries like these only: write other people's queries over your documents (of "
            "another source, another kind of user) into data/tasks/, and name them in probe.tasks with "
            "counts_as: near_domain (data/tasks/README.md), to see what tuning costs there"
        )

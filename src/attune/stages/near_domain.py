"""Writes retrieval tasks next door to the domain, on which tuning must not lose: merge reads dev's, probe test's.

as_typed: the split's queries rewritten as people type them, over the documents as they are. as_searched, of test alone:
the same queries in a style that training never makes, as the rules of as_typed are those of training. as_indexed:
paraphrases, over the documents as people index them (packages: functions with their whole docstring). All have the
domain's own contents, so what an encoder loses there it loses by the form of texts, not by their matter. A task without
queries is left out. Beside each task stand the groups of its queries, which errors and intervals take whole. Where
split.leave_out_own_text says so, documents with the very text of a query are not searched.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl
from pydantic import Field

from attune.data.query_groups import write_groups
from attune.data.sampling import sample_ids
from attune.data.searched_queries import searched
from attune.data.sources.raw import Document, Qrel, Query, write_beir
from attune.data.splitting.paraphrases import Paraphrase, SplitQuery, n_near, usable
from attune.data.splitting.query_origins import clusters_of, groups_of, origins_of, origins_of_paraphrases
from attune.data.typed_queries import typed
from attune.stage import Out, Params, Receipt, run
from attune.tables import (
    CORPUS,
    DOCUMENT_FORMS,
    DOCUMENT_IDS,
    DOCUMENTS,
    OWN_TEXTS,
    PARAPHRASES,
    QRELS,
    SPLIT_QUERIES,
    SPLITS,
    full_texts,
    read,
)

MAX_QUERIES = 500  # per task: enough to find a loss of two points, few enough to score every share of merge

Relevant = dict[str, dict[str, int]]  # grade by query id and document id


class NearDomainParams(Params):
    """Size of the tasks.

    Attributes:
        n_documents: documents searched per task, relevant ones included, which are always there.
    """

    n_documents: int = Field(ge=0)


class TaskQueries(NamedTuple):
    """Texts of queries by id, and what is judged relevant to them."""

    texts: dict[str, str]
    relevant: Relevant


def capped(task: TaskQueries, allowed: set[str]) -> TaskQueries:
    """Returns at most MAX_QUERIES queries that have relevant documents, all of them allowed; sorted by id."""
    ids = (id_ for id_ in task.texts if id_ in task.relevant and allowed.issuperset(task.relevant[id_]))
    kept = sample_ids(list(ids), MAX_QUERIES)
    return TaskQueries({id_: task.texts[id_] for id_ in kept}, {id_: task.relevant[id_] for id_ in kept})


def document_ids(task: TaskQueries, searched: set[str], n: int) -> list[str]:
    """Returns the relevant documents and, up to n in all, others of those that may be searched; sorted by id.

    The others of dev are those that merge searches dev in, so that it encodes them once.
    """
    needed = {document_id for grades in task.relevant.values() for document_id in grades}
    return sorted(needed.union(sample_ids(searched - needed, max(0, n - len(needed)))))


def apart_from_own_texts(task: TaskQueries, own_texts: Mapping[str, set[str]]) -> tuple[TaskQueries, set[str]]:
    """Leaves out queries until no document with the very text of one is relevant to another, which needs it searched.

    BEIR's layout cannot leave a document out of one query's ranking alone, so the task is searched without all of them.
    Of two queries that are in each other's way the first stays.

    Args:
        task: its queries.
        own_texts: ids of the documents with the text of a query, by its id.

    Returns:
        The queries that stay, and the documents that must not be searched for them.
    """
    needed: set[str] = set()
    left_out: set[str] = set()
    kept = []
    for id_ in task.texts:
        relevant, own = set(task.relevant[id_]), own_texts.get(id_, set())
        if needed.isdisjoint(own) and left_out.isdisjoint(relevant):
            needed |= relevant
            left_out |= own
            kept.append(id_)
    apart = TaskQueries({id_: task.texts[id_] for id_ in kept}, {id_: task.relevant[id_] for id_ in kept})
    return apart, left_out


def as_typed(task: TaskQueries) -> TaskQueries:
    """Rewrites queries as people type them; those that read so already are left out."""
    texts = {id_: new for id_, text in task.texts.items() if (new := typed(text)) != text}
    return TaskQueries(texts, task.relevant)


def as_searched(task: TaskQueries) -> TaskQueries:
    """Rewrites queries as search logs have them; those that the rules do not fit are left out."""
    texts = {id_: new for id_, text in task.texts.items() if (new := searched(text)) is not None}
    return TaskQueries(texts, task.relevant)


def as_indexed(task: TaskQueries, forms: Mapping[str, str]) -> TaskQueries:
    """Returns the paraphrases that no relevant document's other form repeats word for word.

    None is returned where no relevant document has another form: the task would be that of the paraphrases.
    """
    texts = {
        id_: text
        for id_, text in task.texts.items()
        if not any(repeats(text, forms.get(document_id, "")) for document_id in task.relevant[id_])
    }
    has_forms = any(document_id in forms for id_ in texts for document_id in task.relevant[id_])
    return TaskQueries(texts if has_forms else {}, task.relevant)


def repeats(text: str, document: str) -> bool:
    """Says if the words of a text stand in a document in the same order, one after another."""
    return f" {_words(text)} " in f" {_words(document)} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def dev_paraphrases(
    rows: pl.DataFrame,
    queries: Mapping[str, pl.DataFrame],
    split_of: Mapping[str, str],
    texts: Mapping[str, str],
    query_shingle: int,
    similar_query: float,
) -> TaskQueries:
    """Returns the paraphrases of dev's documents that repeat no query of any split, nor their own documents.

    Args:
        rows: PARAPHRASES, of all documents.
        queries: SPLIT_QUERIES of each split.
        split_of: the split of each document.
        texts: the full text of each document.
        query_shingle: words per shingle.
        similar_query: lowest Jaccard similarity of near-identical queries.
    """
    of_dev = [
        row
        for row in (Paraphrase(*cells) for cells in rows.iter_rows())
        if all(split_of[i] == "dev" for i in row.document_ids)
    ]
    own = [
        SplitQuery(query_id, text, name)
        for name in SPLITS
        for query_id, text in queries[name].select("query_id", "text").iter_rows()
    ]
    kept, _ = usable(of_dev, own, split_of, texts, query_shingle, similar_query, "dev")
    return TaskQueries(
        {row.query_id: row.text for row in kept}, {row.query_id: dict.fromkeys(row.document_ids, 1) for row in kept}
    )


def read_queries(folder: Path) -> TaskQueries:
    """Reads the queries of a split with their judgments."""
    relevant: Relevant = {}
    for query_id, document_id, grade in read(folder / "qrels.parquet", QRELS).iter_rows():
        relevant.setdefault(query_id, {})[document_id] = grade
    texts = read(folder / "queries.parquet", SPLIT_QUERIES).select("query_id", "text")
    return TaskQueries(dict(texts.iter_rows()), relevant)


def read_own_texts(folder: Path) -> dict[str, set[str]]:
    """Reads the documents with the very text of a query of a split; none without split.leave_out_own_text."""
    own: dict[str, set[str]] = {}
    for query_id, document_id in read(folder / "own_texts.parquet", OWN_TEXTS).iter_rows():
        own.setdefault(query_id, set()).add(document_id)
    return own


def write_task(task: TaskQueries, documents: list[Document], split: str, out: Path) -> None:
    """Writes a task in BEIR's layout, with its judgments under the name of the split."""
    qrels = [Qrel(q, d, grade) for q, grades in task.relevant.items() for d, grade in sorted(grades.items())]
    write_beir(documents, [Query(id_, text) for id_, text in task.texts.items()], {split: qrels}, out)


def near_domain(
    params: NearDomainParams, prepared: Path, splits: Path, query_shingle: int, similar_query: float, out: Out
) -> Receipt:
    """Writes the near-domain tasks of dev and test, by stage prepare's definition of near-duplicates."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    documents = {row[0]: Document(*row) for row in corpus.select(list(DOCUMENTS)).iter_rows()}
    forms = dict(read(prepared / "indexed.parquet", DOCUMENT_FORMS).iter_rows())
    other_forms = {id_: row._replace(text=forms.get(id_, row.text)) for id_, row in documents.items()}
    own = {name: set(read(splits / name / "documents.parquet", DOCUMENT_IDS)["document_id"]) for name in SPLITS}
    # a document of several splits (split.by: query) counts for the last one
    split_of = {id_: name for name in SPLITS for id_ in own[name]}
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    queries = {name: read(splits / name / "queries.parquet", SPLIT_QUERIES) for name in SPLITS}
    rows = read(prepared / "paraphrases.parquet", PARAPHRASES)
    paraphrases = {
        "dev": dev_paraphrases(rows, queries, split_of, texts, query_shingle, similar_query),
        "test": read_queries(splits / "paraphrases"),
    }
    allowed = {"dev": own["train"] | own["dev"], "test": set(documents)}
    own_queries = {split: read_queries(splits / split) for split in ("dev", "test")}
    near = query_shingle, similar_query
    origins = {
        "test": origins_of(queries["test"], read(splits / "paraphrases/queries.parquet", SPLIT_QUERIES)),
        "dev": origins_of(queries["dev"])
        | origins_of_paraphrases(*paraphrases["dev"], clusters_of(own_queries["dev"].relevant, queries["dev"]), *near),
    }
    figures: dict[str, int] = {}
    for split, queries_of in own_queries.items():
        (out / split).mkdir(parents=True)
        own_texts = read_own_texts(splits / split)
        tasks = {
            "as_indexed": (as_indexed(paraphrases[split], forms), other_forms),
            "as_typed": (as_typed(queries_of), documents),
        }
        if split == "test":
            tasks["as_searched"] = as_searched(queries_of), documents
        for name, (every, read_as) in tasks.items():
            task, left_out = apart_from_own_texts(capped(every, own[split]), own_texts)
            ids = document_ids(task, allowed[split] - left_out, params.n_documents) if task.texts else []
            if task.texts:
                write_task(task, [read_as[id_] for id_ in ids], split, out / split / name)
            figures |= {f"{split}.{name}.n_queries": len(task.texts), f"{split}.{name}.n_documents": len(ids)}
            if (split, name) == ("dev", "as_indexed"):  # counted, not left out: merge would choose by other queries
                compared = [*task.texts.values()], [*paraphrases["test"].texts.values()]
                figures["dev.as_indexed.n_near_test"] = n_near(*compared, query_shingle, similar_query)
            groups = groups_of(task.texts, origins[split])
            figures[f"{split}.{name}.n_groups"] = len({*groups.values()})
            if task.texts:
                write_groups(groups, out / split / name)
    return figures


if __name__ == "__main__":
    run(near_domain)

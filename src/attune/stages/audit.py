"""Leak audit by the base encoder and by documents' other forms: what the words of queries and documents do not show.

By meaning: takes the nearest neighbour by the base encoder's cosine among the queries, and among the relevant
documents, of train (for dev) or of train and dev (for test); and across roles, a query's nearest document and a
document's nearest query, but for pairs that are judged relevant. A neighbour above the threshold may be a paraphrase or
a sibling ("return the largest", "return the smallest"), so the report also scores the test without the queries that
have such a neighbour, themselves or by a relevant document. By words: documents whose other form, which training reads
for a share of rows, is a near-duplicate of a text that training reads. Where documents are shared on purpose
(split.by: query), leaks of documents do not count. Writes these leaks and those of stage split, each with the text that
it matches.
"""

from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from attune.data.splitting.kinds import FORMS, OF_STAGE_AUDIT, audited
from attune.data.splitting.leaks import Texts, count
from attune.data.splitting.other_forms import form_leaks
from attune.retrieval.exact import top_k
from attune.retrieval.passages import read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32
from attune.stage import Machine, Out, Params, Receipt, run
from attune.tables import (
    CORPUS,
    DOCUMENT_FORMS,
    DOCUMENT_IDS,
    LEAKS,
    QRELS,
    SEEN,
    SPLIT_QUERIES,
    SPLITS,
    Leak,
    form_texts,
    full_texts,
    read,
    write,
)

Side = tuple[Texts, Float32]  # texts and their embeddings by the base encoder, (n rows, dim), of length 1


class AuditParams(Params):
    """Cosines from which on two texts count as paraphrases, and the largest share of a split that may leak so.

    Attributes:
        semantic_query: of two queries.
        semantic_document: of two documents.
        semantic_crossed: of a query and a document.
        max_leak_share: of dev or test queries or documents, by each kind of leak of this stage.
        machine: threads.
    """

    semantic_query: float = Field(gt=0, le=1)
    semantic_document: float = Field(gt=0, le=1)
    semantic_crossed: float = Field(gt=0, le=1)
    max_leak_share: float = Field(ge=0, le=1)
    machine: Machine


def query_texts(splits: Path, embeddings: Path) -> Side:
    """Returns the queries of all splits and their embeddings, (n queries, dim)."""
    tables = {name: read(splits / name / "queries.parquet", SPLIT_QUERIES) for name in SPLITS}
    vectors = [
        load_embeddings(embeddings / f"{name}.npy", table.height, f"the {name} queries")
        for name, table in tables.items()
    ]
    queries = pl.concat([table.select("query_id", "text", split=pl.lit(name)) for name, table in tables.items()])
    texts = Texts("queries", queries["split"].to_numpy(), queries["query_id"].to_list(), queries["text"].to_list())
    return texts, np.concatenate(vectors)


def document_texts(splits: Path, prepared: Path, embeddings: Path) -> Side:
    """Returns the documents that are relevant in each split (one may be so in several) and their embeddings.

    A document that is read in passages counts by its first one.
    """
    passages = read_passages(prepared, read(prepared / "corpus.parquet", CORPUS))
    corpus = passages.corpus.with_row_index("row")
    vectors = load_embeddings(embeddings / "corpus.npy", len(passages), "the corpus")
    relevant = pl.concat(
        [
            read(splits / name / "qrels.parquet", QRELS).select("document_id", split=pl.lit(name)).unique()
            for name in SPLITS
        ]
    )
    judged = corpus.join(relevant, on="document_id").sort("row", "split")
    texts = Texts("documents", judged["split"].to_numpy(), judged["document_id"].to_list(), full_texts(judged))
    return texts, vectors[passages.first[judged["row"].to_numpy()]]


def semantic_leaks(texts: Texts, vectors: Float32, threshold: float, threads: int) -> list[Leak]:
    """Finds texts of dev that have a paraphrase in train, and texts of test that have one in train or dev.

    Args:
        texts: queries or documents of all splits.
        vectors: their embeddings by the base encoder, (n rows of texts, dim), of length 1.
        threshold: the cosine from which on two texts count as paraphrases.
        threads: CPU threads of FAISS.

    Returns:
        Leaks of the kinds semantic_*, each with its nearest text of an earlier split; equal texts are among them.
    """
    leaks = []
    for split, others in SEEN.items():
        own, seen = texts.rows(split), texts.rows(*others)
        scores, nearest = top_k(vectors[own], vectors[seen], 1, threads)
        matches = {
            row: (int(seen[near[0]]), float(score[0]))
            for row, near, score in zip(own.tolist(), nearest, scores, strict=True)
            if score[0] >= threshold
        }
        leaks += texts.leaks("semantic", split, matches)
    return leaks


def semantic_crossings(
    own: Side, other: Side, judged: Mapping[str, Set[str]], threshold: float, threads: int
) -> list[Leak]:
    """Finds texts of dev and test that have a paraphrase in the other role in an earlier split.

    Args:
        own: queries, or documents.
        other: texts of the other role.
        judged: ids of the texts of the other role that are judged relevant to a text, by its id; they are passed over,
            as the pair itself may be close.
        threshold: the cosine from which on two texts count as paraphrases.
        threads: CPU threads of FAISS.

    Returns:
        Leaks of the kind semantic_crossed_queries or semantic_crossed_documents, each with its nearest text.
    """
    (texts, vectors), (others, other_vectors) = own, other
    leaks = []
    for split, earlier in SEEN.items():
        rows, seen = texts.rows(split), others.rows(*earlier)
        known = {others.ids[row] for row in seen.tolist()}
        n_judged = max((len(judged.get(texts.ids[row], set()) & known) for row in rows.tolist()), default=0)
        # one document may be relevant in train and in dev, and is then there twice
        depth = min(len(seen), 1 + n_judged * len(earlier))
        scores, nearest = top_k(vectors[rows], other_vectors[seen], depth, threads)
        matches = {}
        for row, near, cosines in zip(rows.tolist(), seen[nearest].tolist(), scores.tolist(), strict=True):
            relevant = judged.get(texts.ids[row], set())
            free = (
                (match, score) for match, score in zip(near, cosines, strict=True) if others.ids[match] not in relevant
            )
            match, score = next(free, (0, 0.0))
            if score >= threshold:
                matches[row] = match, score
        leaks += [
            Leak(split, f"semantic_crossed_{texts.what}", texts.ids[row], others.ids[match], score)
            for row, (match, score) in sorted(matches.items())
        ]
    return leaks


def read_form_leaks(prepared: Path, splits: Path, width: int, threshold: float) -> list[Leak] | None:
    """Returns the leaks through documents' other forms; None where no document has another form."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    forms = form_texts(read(prepared / "forms.parquet", DOCUMENT_FORMS), corpus)
    if not forms:
        return None
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    relevant, allowed = (
        {name: set(read(splits / name / f"{table}.parquet", columns)["document_id"]) for name in SPLITS}
        for table, columns in (("qrels", QRELS), ("documents", DOCUMENT_IDS))
    )
    return form_leaks(texts, forms, relevant, allowed, width, threshold)


def judged_pairs(splits: Path) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Returns the relevant documents of each query, and the queries of each document, of all splits."""
    documents: dict[str, set[str]] = {}
    queries: dict[str, set[str]] = {}
    for name in SPLITS:
        for query_id, document_id, _ in read(splits / name / "qrels.parquet", QRELS).iter_rows():
            documents.setdefault(query_id, set()).add(document_id)
            queries.setdefault(document_id, set()).add(query_id)
    return documents, queries


def audit(
    params: AuditParams,
    prepared: Path,
    splits: Path,
    embeddings: Path,
    document_shingle: int,
    similar_document: float,
    by: str,
    out: Out,
) -> Receipt:
    """Writes all leaks, those of stage split and those found here, that count under the protocol (split.by)."""
    queries, documents = query_texts(splits, embeddings), document_texts(splits, prepared, embeddings)
    relevant, relevant_to = judged_pairs(splits)
    threads = params.machine.threads
    kinds, sides = audited(OF_STAGE_AUDIT, by), [queries]
    leaks = semantic_leaks(*queries, params.semantic_query, threads)
    leaks += semantic_crossings(queries, documents, relevant, params.semantic_crossed, threads)
    if by == "cluster":
        sides.append(documents)
        leaks += semantic_leaks(*documents, params.semantic_document, threads)
        leaks += semantic_crossings(documents, queries, relevant_to, params.semantic_crossed, threads)
        of_forms = read_form_leaks(prepared, splits, document_shingle, similar_document)
        leaks += of_forms or []
        kinds = kinds if of_forms is not None else tuple(kind for kind in kinds if kind not in FORMS)
    table = pl.concat([read(splits / "leaks.parquet", LEAKS), pl.DataFrame(leaks, LEAKS, orient="row")])
    write(table, out / "leaks.parquet", LEAKS)
    sizes = {f"{texts.what}.{name}": len(texts.rows(name)) for texts, _ in sides for name in SPLITS}
    n_texts = {
        f"n_{name}_{texts.what}": sizes[f"{texts.what}.{name}"] for texts, _ in sides for name in ("dev", "test")
    }
    return n_texts | count(leaks, kinds, sizes, params.max_leak_share, "audit.max_leak_share")


if __name__ == "__main__":
    run(audit)

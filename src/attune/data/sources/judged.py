"""What rows of pairs and negatives say together: one judgment for each query and document, and no contradiction."""

from collections.abc import Iterator

from attune.data.sources.files.lines import shown
from attune.data.sources.pair_rows import PairRow, PairRows, made_id
from attune.data.sources.raw import Document, Qrel, RawData
from attune.problems import Problems

Pair = tuple[str, str]  # query_id, document_id
_SPLITS = ("train", "dev", "test", "")


def judged(pairs: PairRows, problems: Problems) -> RawData:
    """The data set of these rows; a negative is the document with its text, whatever id and title that has.

    A pair with two relevances, and a document that a row gives as a negative of a query and another as its answer, are
    problems. What is repeated is dropped and counted, and so are queries that no document answers.
    """
    judgments = _Judgments(pairs, problems)
    documents: dict[str, Document] = {}
    qrels: dict[Pair, Qrel] = {}
    for row in pairs.rows:
        for document, relevance in judgments.of(row):
            documents.setdefault(document.document_id, document)
            qrel = Qrel(row.query_id, document.document_id, relevance)
            qrels.setdefault(qrel[:2], qrel)
    answered = {qrel.query_id for qrel in qrels.values() if qrel.relevance}
    queries = [known.row for id_, known in pairs.queries.items() if id_ in answered]
    dropped = pairs.dropped
    dropped["query_without_relevant"] = len(pairs.queries) - len(queries)
    return RawData(list(documents.values()), queries, _by_split(pairs, qrels, answered), dropped=dropped)


def _by_split(pairs: PairRows, qrels: dict[Pair, Qrel], answered: set[str]) -> dict[str, list[Qrel]]:
    """The judgments of the answered queries in the order train, dev, test, or all of them under "all"."""
    found: dict[str, list[Qrel]] = {split: [] for split in _SPLITS}
    for qrel in qrels.values():
        if qrel.query_id in answered:
            found[pairs.queries[qrel.query_id].split].append(qrel)
    return {split or "all": judgments for split, judgments in found.items() if judgments}


class _Judgments:
    """Pairs are known before any negative is looked at, for the row that contradicts a negative may come after it."""

    def __init__(self, pairs: PairRows, problems: Problems) -> None:
        self._pairs = pairs
        self._problems = problems
        self._labels: dict[Pair, tuple[int, str]] = {}
        self._by_text: dict[str, list[Document]] = {}
        for row in pairs.rows:
            self._add_pair(row)
        if any(row.negatives for row in pairs.rows):
            for known in pairs.documents.values():
                self._by_text.setdefault(known.row.text, []).append(known.row)

    def _add_pair(self, row: PairRow) -> None:
        pair = row.query_id, row.document_id
        relevance, where = self._labels.setdefault(pair, (row.relevance, row.where))
        if relevance != row.relevance:
            what = (
                f"label conflict: relevance {row.relevance}, but {relevance} in {where} for the same query and document"
            )
            self._problems.add(row.where, f"{what}; remove one")
        elif where != row.where:
            self._pairs.dropped["pair_repeated"] += 1

    def of(self, row: PairRow) -> Iterator[tuple[Document, int]]:
        """The row's document with its relevance, and its negatives with 0."""
        yield self._pairs.documents[row.document_id].row, row.relevance
        for text in row.negatives:
            same = self._by_text.setdefault(text, [Document(made_id("", text), "", text)])
            if self._is_new(row, same):
                yield same[0], 0

    def _is_new(self, row: PairRow, same: list[Document]) -> bool:
        """Whether the negative is not judged yet; that one with its text is an answer to the query is a problem."""
        for document in same:
            relevance, where = self._labels.get((row.query_id, document.document_id), (0, ""))
            if relevance:
                what = f"label conflict: a negative is {shown(document.text)}, which answers the query in {where}"
                self._problems.add(row.where, f"{what}; remove one")
                return False
        pair = row.query_id, same[0].document_id
        if pair in self._labels:
            self._pairs.dropped["negative_repeated"] += 1
            return False
        self._labels[pair] = 0, row.where
        return True

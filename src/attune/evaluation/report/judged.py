"""Judged negatives: how many mined negatives answer their query after all, by those who judged a sample of them.

`attune judge` writes the estimates into metrics/judged.json, which stays in git; an entry is named after its sheet.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from attune.errors import BadInput
from attune.files import replacing
from attune.stage import write_json
from attune.tables import NEGATIVE_SAMPLE, read

RECEIPT = "judged.json"


@dataclass(frozen=True)
class JudgedShare:
    """Share of the mined negatives that answer their query, estimated from a simple random sample of them.

    Attributes:
        judged_by: people and models, in words.
        n_judged: negatives judged, the undecided included.
        n_answers: of these, the ones that answer their query.
        n_undecided: of these, the ones that nobody could decide.
        share: answers among the decided; None where none was decided.
        ci_low: low end of its interval.
        ci_high: high end.
        confidence: of the interval.
        sample_sha256: of the sample that the negatives were drawn in (`sample_hash`).
    """

    judged_by: str
    n_judged: int
    n_answers: int
    n_undecided: int
    share: float | None
    ci_low: float
    ci_high: float
    confidence: float
    sample_sha256: str

    @property
    def sentence(self) -> str:
        """The estimate in one sentence, judges named."""
        share = "unknown" if self.share is None else f"{self.share:.1%}"
        interval = f"{self.confidence * 100:g}% interval {self.ci_low:.1%} to {self.ci_high:.1%}"
        undecided = f", {self.n_undecided} undecided (the interval counts them either way)" if self.n_undecided else ""
        counts = f"{self.n_answers} of {self.n_judged} drawn at random answer their query"
        return f"Mined negatives that are answers: {share}, {interval}; {counts}{undecided}, by {self.judged_by}."


def sample_hash(sample: pl.DataFrame) -> str:
    """Returns the sha256 of a sample's pairs of query and document, in their order; texts and scores do not enter."""
    pairs = sample.select("query_id", "negative_id").iter_rows()
    return sha256("\n".join(f"{query}\t{document}" for query, document in pairs).encode()).hexdigest()


def read_judged(metrics: Path) -> dict[str, JudgedShare]:
    """Reads the estimates by the name of their sheet; none where no negatives were judged.

    Raises:
        BadInput: the file is not what `attune judge` writes.
    """
    path = metrics / RECEIPT
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, JudgedShare]).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        advice = f"run: git checkout -- {path}, then attune judge"
        raise BadInput(f"{path}: not what attune judge writes ({place}: {first['msg']}); {advice}") from None


def write_judged(metrics: Path, shares: Mapping[str, JudgedShare]) -> None:
    """Writes the estimates, sorted by the name of their sheet."""
    with replacing(metrics / RECEIPT) as writing:
        write_json(writing, {name: asdict(shares[name]) for name in sorted(shares)})


def judged_of(metrics: Path, mined: Path) -> dict[str, dict[str, Any]]:
    """Returns the estimates for report.json: each with its sentence, and whether this mining's sample was judged."""
    current = sample_hash(read(mined / "sample.parquet", NEGATIVE_SAMPLE))
    return {
        name: asdict(share) | {"is_current": share.sample_sha256 == current, "sentence": share.sentence}
        for name, share in read_judged(metrics).items()
    }

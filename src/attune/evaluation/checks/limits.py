"""GateParams of the checks: section `gate` of the parameters."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from attune.stage import Params

Code = Annotated[str, StringConstraints(pattern=r"^ATT\d{3}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)]


class GateParams(Params):
    """Limits beyond which a check fails.

    Attributes:
        margin: largest loss in recall@10, MRR@10 or nDCG@10 that need not be ruled out, against base or a revision.
        min_delta: least gain in recall@10.
        confidence: of all intervals, and 1 less the significance level of all tests.
        undecided: whether a check that cannot tell fails the gate or warns.
        ignore: checks that do not fail the gate, by code, each with the reason.
        allow_other_test: commits with another test that may be compared with all the same, each with the reason.
        max_leak_share: of test queries.
        min_parity_cosine: of the fp32 graph to torch.
        min_int8_kept: share of tuned nDCG@10 that the int8 file keeps.
        max_false_negative_share: of mined negatives, by those who judged a sample.
        retired: figures that may be missing although the revision has them.
    """

    margin: float = Field(ge=0, le=1)
    min_delta: float = Field(ge=-1, le=1)
    confidence: float = Field(gt=0.5, lt=1)
    undecided: Literal["fail", "warn"]
    ignore: dict[Code, Reason]
    allow_other_test: dict[Commit, Reason]
    max_leak_share: float = Field(ge=0, le=1)
    min_parity_cosine: float = Field(ge=-1, le=1)
    min_int8_kept: float = Field(ge=0, le=2)
    max_false_negative_share: float = Field(ge=0, le=1)
    retired: list[str]

    @field_validator("ignore")
    @classmethod
    def _expires(cls, value: dict[str, str]) -> dict[str, str]:
        if "ATT021" in value:
            raise ValueError("ATT021 (same test) is excused by gate.allow_other_test, which names a commit")
        return value

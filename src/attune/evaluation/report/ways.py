"""Ways to serve queries, and what each costs: the rows of *What to ship*.

A new system is one entry of WAYS. Costs are facts: what happens for a query, whether documents must be embedded again,
and the stages that make it. Times are measured by `attune times`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Encodes(IntEnum):
    """Encoder that embeds a query, cheapest first."""

    NOTHING = 0
    TOKENS = 1
    INT8 = 2
    FP32 = 3


WORDS = {
    Encodes.NOTHING: "",
    Encodes.TOKENS: "token vectors",
    Encodes.INT8: "int8 encoder",
    Encodes.FP32: "fp32 encoder",
}


BASE, TUNED = "base", "tuned"  # encoders of documents
SYSTEMS = ("bm25", "base", "adapter", "tuned", "tuned_int8")
STATIC = ("static_base", "static_tuned")  # query encoders by lookup, over base's and over tuned's documents
HYBRIDS = ("hybrid_base", "hybrid_adapter", "hybrid_tuned")
SCORED = (*SYSTEMS, *STATIC, *HYBRIDS)
OTHERS = ("adapter", *STATIC, *HYBRIDS)  # compared with base in a family of their own
EVERY_STAGE = ("mine", "train", "merge", "export", "embed@tuned")  # that a tuned encoder takes beyond the base's index


@dataclass(frozen=True)
class Way:
    """A way to serve queries.

    Attributes:
        system: name of its scores, in data/runs and metrics.
        encodes: what embeds a query.
        vectors: encoder of the documents, base or tuned; "" where no vectors are searched.
        matches_words: whether an index of words is searched, too.
        stages: that make it, beside those that embed documents with the base.
        loses: system whose loss on general tasks, as stage drift measures it, is its own; "" where there is none.
    """

    system: str
    encodes: Encodes
    vectors: str
    matches_words: bool = False
    stages: Sequence[str] = ()
    loses: str = ""

    @property
    def cost(self) -> tuple[Encodes, bool]:
        """Order of what a query costs: what embeds it, then an index of words beside."""
        return self.encodes, self.matches_words

    @property
    def loss_words(self) -> str:
        """Cell in place of a loss on general tasks that is missing for a reason; "" where it was only not measured.

        BM25 has no vectors that tuning could move. A hybrid's weight is chosen for its corpus, and would be another
        one elsewhere: what is lost is lost by its vectors.
        """
        if not self.vectors:
            return "no vectors"
        return f"as {self.encodes_as}" if self.matches_words else ""

    @property
    def encodes_as(self) -> str:
        """System that embeds queries in the same way: itself, or, of a hybrid, that of its vectors."""
        return self.system.removeprefix("hybrid_")

    @property
    def loses_as(self) -> str:
        """System whose losses on other tasks count for it: its own, or, of a hybrid, those of its vectors."""
        return self.loses or (self.encodes_as if self.vectors else "")

    @property
    def query_words(self) -> str:
        """Steps of a query, in words: the encoder that embeds it, and BM25."""
        return " and ".join(filter(None, [WORDS[self.encodes], "BM25" if self.matches_words else ""]))


WAYS = (
    Way("bm25", Encodes.NOTHING, "", matches_words=True),
    Way("base", Encodes.FP32, BASE, loses="base"),
    Way("hybrid_base", Encodes.FP32, BASE, matches_words=True),
    Way("adapter", Encodes.FP32, BASE, stages=("adapter",), loses="adapter"),
    Way("hybrid_adapter", Encodes.FP32, BASE, matches_words=True, stages=("adapter",)),
    Way("static_base", Encodes.TOKENS, BASE, stages=("static@base",), loses="static_base"),
    Way("static_tuned", Encodes.TOKENS, TUNED, stages=(*EVERY_STAGE, "static@tuned"), loses="static_tuned"),
    Way("tuned", Encodes.FP32, TUNED, stages=EVERY_STAGE, loses="tuned"),
    Way("tuned_int8", Encodes.INT8, TUNED, stages=EVERY_STAGE, loses="tuned"),
    Way("hybrid_tuned", Encodes.FP32, TUNED, matches_words=True, stages=EVERY_STAGE),
)

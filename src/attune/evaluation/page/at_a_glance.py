"""What a reader must know before anything else: one line per question, with a mark that needs no colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune.evaluation.report.markdown import number, percent, signed
from attune.evaluation.report.verdict import KEPT_BY_INT8
from attune.evaluation.scoring.measures import HEADLINE
from attune.evaluation.statistics.chance import max_p, worse

Receipt = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """To a question: in a word or two, in short, at length, and whether that is good, bad or neither ("even")."""

    question: str
    answer: str
    short: str
    tone: str
    long: str = ""

    @property
    def sentence(self) -> str:
        """What stands in the question's own section."""
        return self.long or self.short


def _tone(is_good: bool) -> str:
    return "good" if is_good else "bad"


def gain(verdict: str, compared: Sequence[Row], confidence: float, too_few: str) -> Answer:
    """Whether tuned is better, from the verdict in words and the comparisons on test.

    Args:
        verdict: in words.
        compared: all comparisons.
        confidence: at which a difference is significant.
        too_few: what to say where no comparison could have been significant, for lack of resamples; else empty.
    """
    level = max_p(confidence)
    answer = verdict.partition(": ")[0]
    rows = [row for row in compared if row["task"] == "test"]
    sure = [row["delta"] for row in rows if row["p_holm"] is not None and row["p_holm"] < level]
    gained, lost = sum(delta > 0 for delta in sure), sum(delta < 0 for delta in sure)
    told = f"On test {gained} of {len(rows)} measures gained and {lost} lost (p < {level:g} after Holm's correction)."
    tones = {"Better": "good", "Worse": "bad", "Not measurable": "bad"}
    return Answer("Is it better?", answer, too_few or told, tones.get(answer, "even"))


def for_whom(slices: Sequence[Row], confidence: float, too_few: str) -> Answer:
    """Whether a slice of the queries lost; `too_few` says that none could have been found to, or is empty."""
    if too_few:
        why = too_few.partition(": ")[2]
        return Answer("For everyone?", "Too few resamples to tell", why[:1].upper() + why[1:], "even")
    lost, level = worse(slices, confidence), max_p(confidence)
    tested = sum(row["p_holm"] is not None for row in slices)
    if not lost:
        told = (
            f"None of {tested} slices of the test queries lost significantly (p < {level:g} after Holm's correction)."
        )
        return Answer("For everyone?", "No slice lost", told, "good" if tested else "even")
    told = "; ".join(f"{row['slice']}: {row['bin']} {signed(row['delta'], 3)}" for row in lost)
    return Answer("For everyone?", f"{len(lost)} slices lost" if len(lost) > 1 else "1 slice lost", f"{told}.", "bad")


def _far(clean: Receipt | None, n: int) -> str:
    """The gain on the queries that lie far from train and dev in meaning."""
    if not clean or "delta" not in clean or clean["n_queries"] == n:
        return ""
    between = f"{signed(clean['ci_low'], 3)} to {signed(clean['ci_high'], 3)}"
    told = f"{signed(clean['delta'], 3)} ({between}) without the {number(n - clean['n_queries'])} near in meaning"
    return f"{HEADLINE} {told}, by themselves or by an answer."


def leakage(audit: Receipt, crossing: str, clean: Receipt | None) -> Answer:
    """Whether training saw the test.

    Args:
        audit: its receipt.
        crossing: what of test is in train or dev by its words, in words.
        clean: the gain on the queries that neither leak nor lie near in meaning, by themselves or by their documents.
    """
    n = number(audit["n_test_queries"])
    near = number(audit["test_leaks.semantic_queries"])
    far = _far(clean, audit["n_test_queries"])
    meaning = f"By meaning, which counts paraphrases and mere siblings alike, {near} queries lie near one."
    meaning = f"{meaning} {far}".strip()
    if crossing:
        told = f"{crossing} of test are also in train or dev."
        return Answer("Did test leak?", "Leaks", f"{told} {far}".strip(), "bad", f"{told} {meaning}")
    told = f"By words none of the {n} test queries or their documents is in train or dev, exactly or nearly."
    return Answer("Did test leak?", "No leak", f"{told} {far}".strip(), "good", f"{told} {meaning}")


def by_heart(overfitting: Receipt) -> Answer:
    """Whether the encoder learnt its rows by heart."""
    answer, _, sentence = overfitting["verdict"].partition(". ")
    gains = ", ".join(f"{overfitting[f'{split}_gain']:+.3f} on {split}" for split in ("train", "dev", "test"))
    tone = _tone(not overfitting["is_overfitted"])
    return Answer("Learnt by heart?", answer, f"nDCG@10 changed by {gains}.", tone, sentence)


def elsewhere(drift: Receipt) -> Answer:
    """Whether it lost elsewhere, and whether old vectors still serve."""
    answer, _, sentence = drift["verdict"].partition(". ")
    lost = f"{drift['largest_cost']:.1%} ({drift['largest_cost_of']})" if drift["largest_cost"] > 0 else "none"
    old = "cannot be mixed" if drift["is_reindex_needed"] else "can be mixed"
    told = f"Largest loss on a general task: {lost}. Vectors of base and tuned {old}."
    reindex = ", re-index" if drift["is_reindex_needed"] else ""
    return Answer("What did it cost?", f"{answer}{reindex}", told, _tone(not drift["is_drifted"]), sentence)


def shipping(kept: Mapping[str, float]) -> Answer:
    """Whether the files that ship are as good as the encoder that was scored."""
    share = kept["onnx_int8"]
    told = f"The fp32 file keeps {percent(kept['onnx'])} of tuned nDCG@10, the int8 file {percent(share)}; "
    told += f"{percent(KEPT_BY_INT8, 0)} is what int8 is to keep."
    return Answer("What ships?", f"int8 keeps {percent(share)}", told, _tone(share >= KEPT_BY_INT8))

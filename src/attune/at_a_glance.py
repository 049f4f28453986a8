"""What a reader must know before anything else: one line per question, with a mark that needs no colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune.markdown import number, percent, signed

PROMISED_BY_INT8 = 0.99  # the share of tuned nDCG@10 that the int8 file is said to keep

Receipt = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """To a question: in a word or two, in a sentence, and whether that is good, bad or neither ("even")."""

    question: str
    answer: str
    sentence: str
    tone: str


def _tone(is_good: bool) -> str:
    return "good" if is_good else "bad"


def gain(verdict: str) -> Answer:
    """Whether tuned is better, from the verdict in words."""
    answer, _, sentence = verdict.partition(": ")
    tones = {"Better": "good", "Worse": "bad", "Not measurable": "bad"}
    return Answer("Is it better?", answer, sentence[:1].upper() + sentence[1:], tones.get(answer, "even"))


def worse_slices(slices: Sequence[Row], max_p: float) -> list[Row]:
    """The slices that lost more than chance explains, largest loss first."""
    lost = [row for row in slices if row["delta"] < 0 and row["p_holm"] is not None and row["p_holm"] < max_p]
    return sorted(lost, key=lambda row: row["delta"])


def for_whom(slices: Sequence[Row], max_p: float) -> Answer:
    """Whether a slice of the queries lost."""
    worse = worse_slices(slices, max_p)
    tested = sum(row["p_holm"] is not None for row in slices)
    if not worse:
        told = f"None of {tested} slices of the test queries lost significantly (p < {max_p:g} after Holm's correction)."
        return Answer("For everyone?", "No slice lost", told, "good" if tested else "even")
    told = "; ".join(f"{row['slice']}: {row['bin']} {signed(row['delta'], 3)}" for row in worse)
    return Answer("For everyone?", f"{len(worse)} slices lost" if len(worse) > 1 else "1 slice lost", f"{told}.", "bad")


def leakage(audit: Receipt, crossing: str) -> Answer:
    """Whether training saw the test; `crossing` says what of it, in words, by their words."""
    n = number(audit["n_test_queries"])
    near = number(audit["test_leaks.semantic_queries"])
    meaning = f"By meaning, which counts paraphrases and mere siblings alike, {near} lie near one; scored without them below."
    if crossing:
        return Answer("Did test leak?", "Leaks", f"{crossing} of test are also in train or dev. {meaning}", "bad")
    told = f"By words none of the {n} test queries or their documents is in train or dev, exactly or nearly. {meaning}"
    return Answer("Did test leak?", "No leak", told, "good")


def by_heart(overfitting: Receipt) -> Answer:
    """Whether the encoder learnt its rows by heart."""
    answer, _, sentence = overfitting["verdict"].partition(". ")
    return Answer("Learnt by heart?", answer, sentence, _tone(not overfitting["is_overfitted"]))


def elsewhere(drift: Receipt) -> Answer:
    """Whether it lost elsewhere, and whether old vectors still serve."""
    answer, _, sentence = drift["verdict"].partition(". ")
    reindex = ", re-index" if drift.get("is_reindex_needed") else ""
    return Answer("What did it cost?", f"{answer}{reindex}", sentence, _tone(not drift["is_drifted"]))


def shipping(kept: Mapping[str, float]) -> Answer:
    """Whether the files that ship are as good as the encoder that was scored."""
    share = kept["onnx_int8"]
    told = f"The fp32 file keeps {percent(kept['onnx'])} of tuned nDCG@10, the int8 file {percent(share)}; "
    told += f"{percent(PROMISED_BY_INT8, 0)} is what int8 is to keep."
    return Answer("What ships?", f"int8 keeps {percent(share, 1)}", told, _tone(share >= PROMISED_BY_INT8))

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


def gain(verdict: str, compared: Sequence[Row], max_p: float) -> Answer:
    """Whether tuned is better, from the verdict in words and the comparisons on test."""
    answer = verdict.partition(": ")[0]
    rows = [row for row in compared if row["task"] == "test"]
    sure = [row["delta"] for row in rows if row["p_holm"] is not None and row["p_holm"] < max_p]
    gained, lost = sum(delta > 0 for delta in sure), sum(delta < 0 for delta in sure)
    told = f"On test {gained} of {len(rows)} measures gained and {lost} lost (p < {max_p:g} after Holm's correction)."
    tones = {"Better": "good", "Worse": "bad", "Not measurable": "bad"}
    return Answer("Is it better?", answer, told, tones.get(answer, "even"))


def worse_slices(slices: Sequence[Row], max_p: float) -> list[Row]:
    """The slices that lost more than chance explains, largest loss first."""
    lost = [row for row in slices if row["delta"] < 0 and row["p_holm"] is not None and row["p_holm"] < max_p]
    return sorted(lost, key=lambda row: row["delta"])


def for_whom(slices: Sequence[Row], max_p: float) -> Answer:
    """Whether a slice of the queries lost."""
    worse = worse_slices(slices, max_p)
    tested = sum(row["p_holm"] is not None for row in slices)
    if not worse:
        told = (
            f"None of {tested} slices of the test queries lost significantly (p < {max_p:g} after Holm's correction)."
        )
        return Answer("For everyone?", "No slice lost", told, "good" if tested else "even")
    told = "; ".join(f"{row['slice']}: {row['bin']} {signed(row['delta'], 3)}" for row in worse)
    return Answer("For everyone?", f"{len(worse)} slices lost" if len(worse) > 1 else "1 slice lost", f"{told}.", "bad")


def leakage(audit: Receipt, crossing: str) -> Answer:
    """Whether training saw the test; `crossing` says what of it, in words, by their words."""
    n = number(audit["n_test_queries"])
    near = number(audit["test_leaks.semantic_queries"])
    meaning = (
        f"By meaning, which counts paraphrases and mere siblings alike, {near} lie near one: scored without them, too."
    )
    if crossing:
        told = f"{crossing} of test are also in train or dev."
        return Answer("Did test leak?", "Leaks", told, "bad", f"{told} {meaning}")
    told = f"By words none of the {n} test queries or their documents is in train or dev, exactly or nearly."
    return Answer("Did test leak?", "No leak", told, "good", f"{told} {meaning}")


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
    told += f"{percent(PROMISED_BY_INT8, 0)} is what int8 is to keep."
    return Answer("What ships?", f"int8 keeps {percent(share)}", told, _tone(share >= PROMISED_BY_INT8))

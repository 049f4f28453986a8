"""Highlights: the results at the top of the page, one per topic, marked by a sign as well as by colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune.evaluation.report.markdown import number, percent, signed
from attune.evaluation.report.verdict import KEPT_BY_INT8
from attune.evaluation.scoring.measures import HEADLINE
from attune.evaluation.statistics.chance import is_significant, significance_level, significant_losses

TEXTS = "test queries or their documents"

Receipt = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Highlight:
    """A result on one topic.

    Attributes:
        topic: heading.
        result: in a word or two.
        short: one or two sentences for the top of the page.
        tone: "good", "bad" or "neutral".
        long: sentences for the topic's own section, where `short` does not serve there, too.
    """

    topic: str
    result: str
    short: str
    tone: str
    long: str = ""

    @property
    def sentence(self) -> str:
        """Sentences for the topic's own section."""
        return self.long or self.short


def _tone(is_good: bool) -> str:
    return "good" if is_good else "bad"


def gain(verdict: str, comparisons: Sequence[Row], confidence: float, too_few: str) -> Highlight:
    """Gain on test.

    Args:
        verdict: sentence of the report, which begins with the result and a colon.
        comparisons: rows of metrics/plots/comparisons.csv.
        confidence: a p-value of 1 - confidence or less is significant.
        too_few: warning that no comparison could have been significant with this number of resamples; else empty.
    """
    level = significance_level(confidence)
    result = verdict.partition(": ")[0]
    rows = [row for row in comparisons if row["task"] == "test"]
    tested = [row for row in rows if row["p_holm"] is not None]
    significant = [row["delta"] for row in tested if is_significant(row["p_holm"], confidence)]
    gained, lost = sum(delta > 0 for delta in significant), sum(delta < 0 for delta in significant)
    counts = f"{gained} of {len(rows)} measures on test improved significantly and {lost} got worse"
    tones = {"Better": "good", "Worse": "bad", "Not measurable": "bad"}
    short = too_few or f"{counts} (paired test, Holm-corrected p ≤ {level:g})."
    return Highlight("Gain on test", result, short, tones.get(result, "neutral"))


def slices(rows: Sequence[Row], confidence: float, too_few: str) -> Highlight:
    """Significantly worse slices of the test queries; the arguments are those of `gain`."""
    topic = "Slices"
    if too_few:
        reason = too_few.partition(": ")[2]
        return Highlight(topic, "Too few resamples to tell", reason[:1].upper() + reason[1:], "neutral")
    lost, level = significant_losses(rows, confidence), significance_level(confidence)
    if lost:
        deltas = "; ".join(f"{row['slice']}: {row['bin']} {signed(row['delta'], 3)}" for row in lost)
        return Highlight(topic, f"{len(lost)} slice{'s' if len(lost) > 1 else ''} worse", f"{deltas}.", "bad")
    tested = sum(row["p_holm"] is not None for row in rows)
    short = f"None of {tested} slices of the test queries got significantly worse (Holm-corrected p ≤ {level:g})."
    return Highlight(topic, "No slice worse", short, "good" if tested else "neutral")


def _without_near(clean: Receipt | None, n: int, close: str) -> str:
    """Returns a sentence on the gain without queries that are close to train or dev; "" if all remain."""
    if not clean or "delta" not in clean or clean["n_queries"] == n:
        return ""
    interval = f"{signed(clean['ci_low'], 3)} to {signed(clean['ci_high'], 3)}"
    return (
        f"Without the {number(n - clean['n_queries'])} queries that are {close}, themselves "
        f"or through a relevant document, {HEADLINE} changed by {signed(clean['delta'], 3)} ({interval})."
    )


def leakage(audit: Receipt, split: Receipt, leaks: str, clean: Receipt | None) -> Highlight:
    """Overlap of test with train and dev.

    Args:
        audit: receipt of stage audit.
        split: receipt of stage split; where split.by is query, documents are shared and are no leaks.
        leaks: test items that are also in train or dev by their words, as counts in words; empty where there are none.
        clean: gain on the queries without any leak, semantic ones included; None where it was not computed.
    """
    n = audit["n_test_queries"]
    n_forms = audit.get("test_leaks.near_forms", 0)
    close = "close to train or dev by meaning or in another form" if n_forms else "semantically close to train or dev"
    gain_without = _without_near(clean, n, close)
    near = number(audit["test_leaks.semantic_queries"])
    semantic = (
        f"By embedding similarity, {near} test queries are close to a train or dev query; this counts paraphrases "
    )
    semantic += "as well as texts that are merely on the same topic. "
    if n_forms:
        semantic += f"{number(n_forms)} test documents nearly repeat a text of train or dev in another form. "
    semantic += gain_without
    if leaks:
        lexical, result = f"{leaks} of test are also in train or dev.", "Leaks"
    else:
        texts = "test queries" if (known := split.get("test_known_answers_share")) is not None else TEXTS
        lexical = f"None of the {number(n)} {texts} is in train or dev, exactly or as a near-duplicate."
        shared = f" Documents are shared: training knew {known:.0%} of the answers from other queries." if known else ""
        lexical, result = f"{lexical}{shared}", "No leak"
    short, long = (f"{lexical} {sentence}".strip() for sentence in (gain_without, semantic))
    return Highlight("Test leakage", result, short, _tone(not leaks), long)


def overfitting(judged: Receipt) -> Highlight:
    """Overfitting; `judged` is the section `overfitting` of report.json."""
    result, _, sentence = judged["verdict"].partition(". ")
    gains = ", ".join(f"{judged[f'{split}_gain']:+.3f} on {split}" for split in ("train", "dev", "test"))
    return Highlight(
        "Overfitting", result, f"nDCG@10 changed by {gains}.", _tone(not judged["is_overfitted"]), sentence
    )


def drift(receipt: Receipt, tasks: Sequence[Row]) -> Highlight:
    """Loss on general and near-domain tasks, and need to re-index.

    Args:
        receipt: of stage drift.
        tasks: rows of the probe's tasks with what they count as.
    """
    result, _, sentence = receipt["verdict"].partition(". ")
    mixing = "cannot be mixed" if receipt["is_reindex_needed"] else "can be mixed"
    short = f"{_loss('General', tasks, 'general')} {_loss('Near-domain', tasks, 'near_domain')} "
    short += f"Embeddings of base and tuned {mixing} in one index."
    reindex = ", re-index" if receipt["is_reindex_needed"] else ""
    is_open = not receipt["is_drifted"] and not receipt.get("is_decided", True)
    tone = "neutral" if is_open else _tone(not receipt["is_drifted"])
    return Highlight("Drift", f"{result}{reindex}", short, tone, sentence)


def _loss(kind: str, tasks: Sequence[Row], counts_as: str) -> str:
    """Returns a sentence on the losses of one kind of task: the largest, and that beyond which none is possible."""
    rows = [row for row in tasks if row["counts_as"] == counts_as and "cost" in row]
    counted = [row for row in rows if row["is_counted"] or counts_as == "near_domain"]
    unmeasured = dict.fromkeys(row["task"] for row in tasks if row["counts_as"] == counts_as and row["unmeasured"])
    silent = f"not measured: {', '.join(unmeasured)}" if unmeasured else ""
    if not counted:
        none = f"none{' that can detect a loss' if rows else ''}"
        return f"{kind} tasks: {'; '.join(filter(None, [none, silent]))}."
    worst, open_to = max(counted, key=lambda row: row["cost"]), max(row["cost_high"] for row in counted)
    largest = f"largest loss {worst['cost']:.1%} ({worst['task']}.{worst['measure']})" if worst["cost"] > 0 else ""
    ceiling = f"no loss above {open_to:.1%} found" if open_to > 0 else "tuned gains on each"
    return f"{kind} tasks: {'; '.join(filter(None, [largest, ceiling, silent]))}."


def exported(kept: Mapping[str, float]) -> Highlight:
    """Share of tuned nDCG@10 that the exported files keep, by system."""
    share = kept["onnx_int8"]
    short = f"The fp32 file keeps {percent(kept['onnx'])} of tuned nDCG@10 and the int8 file {percent(share)}; "
    short += f"{percent(KEPT_BY_INT8, 0)} is required of int8."
    return Highlight("Exported model", f"int8 keeps {percent(share)}", short, _tone(share >= KEPT_BY_INT8))

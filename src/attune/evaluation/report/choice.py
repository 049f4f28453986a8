"""Choice of stage merge in words: the candidate that ships, the one that came next, what was tried, and the room left.

Where base ships although training ran, dev says which of three it is: base ranks the answers high already, it finds
them and ranks them low, or it does not find them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attune.evaluation.report.markdown import number, percent, signed
from attune.tuning.curve import BASE, Candidate

LITTLE_ROOM = 0.1  # what base's nDCG@10 on dev lacks to 1, below which little is left to gain
# figures of merge.json that every choice has
CHOICE = ("step", "n_averaged", "share", "dev_ndcg@10", "base_dev_ndcg@10", "n_candidates")
DEPTH = 100  # of recall@100
NEXT = "next_"  # prefix, in merge.json, of the candidate that came next
REASONS = {
    "": "no better on dev",
    "within noise": "its lead over base is within one standard error",
    "general text": "it keeps less than merge.min_retention of base's nDCG@10 on general text",
    "near domain": "it keeps less than merge.min_near_domain of base's nDCG@10 on a near-domain task",
}
GIVEN_UP = "a smaller share keeps merge.min_gain_kept of its gain"  # better on dev, and without a reason against it
ONE_CLUSTER = "one cluster of dev queries: cannot tell"  # where a difference has no standard error

Row = Mapping[str, Any]


def candidate_of(row: Row, prefix: str = "") -> Candidate:
    """Reads a candidate from merge.json, whose keys of the next one have a prefix, or from a row of merge.csv."""
    return Candidate(*(row[prefix + name] for name in Candidate._fields))


def checkpoint_words(candidate: Candidate) -> str:
    """Returns the checkpoint, or the average, in words."""
    step = f"step {number(candidate.step)}"
    return step if candidate.n_averaged == 1 else f"the average of {candidate.n_averaged} checkpoints up to {step}"


def candidate_words(candidate: Candidate) -> str:
    """Returns the candidate in words."""
    if candidate == BASE:
        return "base"
    share = "with all of its weights" if candidate.share == 1 else f"at share {candidate.share:g}"
    return f"{checkpoint_words(candidate)} {share}"


def ships(merge: Row) -> str:
    """Returns one sentence on the candidate that ships and one on the next, with their nDCG@10 on dev.

    Args:
        merge: receipt of stage merge.
    """
    chosen, base, n = candidate_of(merge), merge["base_dev_ndcg@10"], number(merge["n_candidates"])
    if chosen == BASE:
        words = f"Base ships, with nDCG@10 {base:.3f} on dev: no other of {n} candidates was taken"
    else:
        gain = _gain(merge["dev_ndcg@10"], base, merge.get("gain_standard_error"))
        how = "as merge.keep: last asks, unchosen" if merge.get("keep") == "last" else f"one of {n} candidates"
        words = f"{_capitalised(candidate_words(chosen))} ships, {how}: {gain}"
    return f"{words}.{_next(merge)}"


def _next(merge: Row) -> str:
    """Returns the candidate that came next, and why it was not taken, in words; "" where there is none."""
    if merge.get(f"{NEXT}step") is None:
        return ""
    dev, reason = merge[f"{NEXT}dev_ndcg@10"], merge.get(f"{NEXT}reason", "")
    error = merge.get(f"{NEXT}standard_error")
    gain = _gain(dev, merge["base_dev_ndcg@10"], error)
    why = GIVEN_UP if not reason and dev > merge["dev_ndcg@10"] else REASONS.get(reason, reason)
    if reason == "within noise" and error is None:
        why = "its lead over base may be chance"
    return f" {_capitalised(candidate_words(candidate_of(merge, NEXT)))} came next, with {gain}: {why}."


def _capitalised(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _gain(dev: float, base: float, error: float | None) -> str:
    """Returns a dev score against base's, with the standard error of the difference, None where it has none."""
    known = f"; {ONE_CLUSTER}" if error is None else f", standard error {error:.3f}"
    return f"nDCG@10 {dev:.3f} on dev against base's {base:.3f} ({signed(dev - base, 3)}{known})"


def looks_of_training(train: Row, rates: Sequence[Row]) -> int:
    """Returns how many scores on dev chose the run: of probes at each share, and of runs that do not count.

    Args:
        train: receipt of stage train.
        rates: from `panels.rate_probes`; empty where the rate was given.
    """
    return sum(len(row["dev"]) for row in rates) + int(train.get("n_discarded_scores", 0))


def tried(train: Row, rates: Sequence[Row], checkpoints: Sequence[Row]) -> str:
    """Returns which rates, steps, checkpoints and shares were tried, in words.

    Args:
        train: receipt of stage train.
        rates: from `panels.rate_probes`; empty where the rate was given.
        checkpoints: from `panels.by_checkpoint`.
    """
    probed = ", ".join(f"{number(row['learning_rate'])} ({max(row['dev'].values()):.3f})" for row in rates)
    n_steps = max((row["n_steps"] for row in rates), default=0)
    words = [f"Rates, with their best nDCG@10 on dev after {number(n_steps)} steps: {probed}."] if rates else []
    n_restarts = train.get("n_restarts", 0)
    again = f", a third of the rate before, after {number(n_restarts)} restarts" if n_restarts > 1 else ""
    again = ", a third of the rate before, after a restart" if n_restarts == 1 else again
    words.append(f"Training: {number(train['n_steps'])} steps at rate {number(train['learning_rate'])}{again}.")
    if train.get("is_tried_without_negatives"):
        ending = "no better on dev" if train["hard_negatives"] != "none" else "better on dev, and counts"
        words.append(f"Its best was early, so a second run without hard negatives was tried: {ending}.")
    shares = ", ".join(f"{share:g}" for share in checkpoints[0]["dev"]) if checkpoints else "none"
    n_averages = sum(row["n_averaged"] > 1 for row in checkpoints)
    n_checkpoints = len(checkpoints) - n_averages
    averages = f" and {number(n_averages)} average{'' if n_averages == 1 else 's'}" if n_averages else ""
    s = "" if n_checkpoints == 1 else "s"
    words.append(f"Candidates: {number(n_checkpoints)} checkpoint{s}{averages}, each at shares {shares}.")
    return " ".join(words)


def room(dev: Mapping[str, float]) -> str:
    """Returns what base's recall@100 and nDCG@10 on dev say about the room for a gain, in words.

    The part of nDCG@10 that is missing is split at recall@100: answers beyond the first 100 are not found, the others
    are found and ranked low. The larger part names the next step. Where queries have so many answers that the first 100
    documents cannot hold them, recall@100 tells nothing of this.

    Args:
        dev: from `panels.base_on_dev`.
    """
    found, ranked = dev["recall@100"], dev["ndcg@10"]
    figures = f"on dev, over the whole corpus, base has nDCG@10 {ranked:.3f}"
    is_telling = found >= ranked and dev.get("n_answers", 0) <= DEPTH
    if is_telling:
        figures += f" and finds {percent(found, 1)} of the answers among the first {DEPTH} documents"
    if 1 - ranked < LITTLE_ROOM:
        return f"Little room: {figures}; the first ten ranks hold little else to gain."
    if not is_telling:
        return (
            f"Room: {figures}. Queries have too many answers for recall@{DEPTH} to tell where it lies: more pairs, "
            "more train.epochs, other negatives (section mine) or another encoder (base.model) may rank them higher."
        )
    if 1 - found > found - ranked:
        step = "another encoder (base.model), longer texts (base.max_length) or more data may find them"
        return f"Room beyond the ranking: {figures}; most of the rest is not found there at all: {step}."
    step = "more pairs, more train.epochs or other negatives (section mine) may lift them"
    return f"Room for training: {figures}, but ranks them low: {step}."


def adapter_gain(adapter: Row) -> str:
    """Returns what the query adapter gains on dev, in words, with a space before them; "" where it is the identity.

    Args:
        adapter: receipt of stage adapter.
    """
    if adapter["is_identity"]:
        return ""
    gain = _gain(adapter["dev_ndcg@10"], adapter["base_dev_ndcg@10"], adapter["gain_standard_error"])
    return f" The query adapter (models/adapter), which leaves the encoder as it is, has {gain}."


def choice_of(
    merge: Row,
    train: Row,
    adapter: Row,
    rates: Sequence[Row],
    checkpoints: Sequence[Row],
    dev: Mapping[str, float],
) -> dict[str, Any]:
    """Returns the section `choice` of report.json: what was tried, and the room, where base ships after a training.

    Args:
        merge: receipt of stage merge.
        train: receipt of stage train.
        adapter: receipt of stage adapter.
        rates: from `panels.rate_probes`.
        checkpoints: from `panels.by_checkpoint`.
        dev: from `panels.base_on_dev`.
    """
    shipped, n_steps = candidate_of(merge), train["n_steps"]
    is_kept = shipped == BASE and n_steps > 0
    return {
        "shipped": candidate_words(shipped),
        "is_base_kept": is_kept,
        "sentence": ships(merge) if n_steps else "Base ships: nothing was trained (train.epochs: 0).",
        "tried": tried(train, rates, checkpoints) if is_kept else "",
        "room": f"{room(dev)}{adapter_gain(adapter)}" if is_kept else "",
        "n_steps": n_steps,
        "learning_rate": train.get("learning_rate"),
    }

"""Results of training runs: evaluations on dev, the training curve, and the figures of the receipt."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

DEV_MEASURE = "eval_dev_ndcg@10"  # the trainer's name of the best nDCG@10 on dev over the shares of a checkpoint


class Point(NamedTuple):
    """A point of the training curve: loss since the last logged step and nDCG@10 on dev, None where not measured."""

    step: int
    loss: float | None
    dev: float | None


class Candidate(NamedTuple):
    """A share of the weights of the checkpoint at a step, or of the average of the last ones up to this step."""

    step: int
    n_averaged: int
    share: float


BASE = Candidate(0, 1, 0.0)


@dataclass(frozen=True)
class Evaluation:
    """nDCG@10 on dev of a checkpoint at some shares of its weights.

    Attributes:
        step: of the checkpoint; 0 is the start of the run.
        shares: ascending.
        values: per share, (n_queries) nDCG@10, in the order of the dev scorer's queries.
        is_finite: False where training has diverged, so that weights are NaN or infinite; all values are 0 then.
    """

    step: int
    shares: list[float]
    values: list[list[float]]
    is_finite: bool = True

    @property
    def means(self) -> dict[float, float]:
        """Mean over queries by share."""
        return {share: sum(own) / len(own) for share, own in zip(self.shares, self.values, strict=True)}


@dataclass(frozen=True)
class TrainingResult:
    """One finished run: training loss by step, evaluations, steps taken, and whether it began below the start.

    Attributes:
        losses: mean training loss since the last logged step, by step.
        evaluations: by step; that of step 0 has the base (share 0) first.
        n_steps: steps taken.
        learning_rate: peak rate.
        epochs: passes over the rows that the run would have made, had it not stopped early.
        is_below_base: the run ended at its first evaluation, which was below the base at every share.
    """

    losses: dict[int, float]
    evaluations: list[Evaluation]
    n_steps: int
    learning_rate: float
    epochs: int
    is_below_base: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns a form that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "TrainingResult":
        """Reads what `to_json` made."""
        losses = {int(step): loss for step, loss in fields["losses"].items()}
        evaluations = [Evaluation(**evaluation) for evaluation in fields["evaluations"]]
        return cls(**{**fields, "losses": losses, "evaluations": evaluations})

    def curve(self) -> list[Point]:
        """Returns the training curve by step; dev is that of all weights (share 1), at step 0 of the start."""
        dev = {one.step: one.means[max(one.shares)] for one in self.evaluations}
        return [Point(step, self.losses.get(step), dev.get(step)) for step in sorted({*self.losses, *dev})]

    @property
    def kept(self) -> tuple[int, float]:
        """Step and share with the best dev score; of equal ones the earlier step, then the smaller share."""
        scores = {(one.step, share): mean for one in self.evaluations for share, mean in one.means.items()}
        return min(scores, key=lambda place: (-round(scores[place], 6), *place))

    @property
    def best_dev(self) -> float:
        """nDCG@10 on dev of the best checkpoint at its best share, to six digits."""
        return round(max(mean for one in self.evaluations for mean in one.means.values()), 6)

    @property
    def n_scores(self) -> int:
        """Number of scores on dev after the start: one per checkpoint and share."""
        return sum(len(one.shares) for one in self.evaluations if one.step)

    def figures(self) -> dict[str, int | float]:
        """Returns steps, rate, and the dev scores of the encoder at the start and of the best one."""
        step, share = self.kept
        means = {one.step: one.means for one in self.evaluations}
        return {
            "n_steps": self.n_steps,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "kept_step": step,
            "kept_share": share,
            "start_dev_ndcg@10": means[0][max(means[0])],
            "kept_dev_ndcg@10": means[step][share],
        }


def training_figures(results: Mapping[int, TrainingResult]) -> dict[str, int | float]:
    """Returns the figures of the first seed's run and, with several seeds, those of each under `seed_<seed>.`."""
    by_seed = {seed: result.figures() for seed, result in results.items()}
    prefixed = {f"seed_{seed}.{name}": value for seed, own in by_seed.items() for name, value in own.items()}
    return next(iter(by_seed.values())) | (prefixed if len(by_seed) > 1 else {})


class Probe(NamedTuple):
    """A learning rate that was tried for some steps, and the evaluation at their end."""

    learning_rate: float
    n_steps: int
    evaluation: Evaluation


def rate_rows(probes: Sequence[Probe], chosen: float) -> list[dict[str, Any]]:
    """Returns a row per probed rate and share, for metrics/plots/rates.csv."""
    return [
        {
            "learning_rate": probe.learning_rate,
            "n_steps": probe.n_steps,
            "share": share,
            "dev_ndcg@10": round(mean, 6),
            "is_chosen": probe.learning_rate == chosen,
        }
        for probe in probes
        for share, mean in probe.evaluation.means.items()
    ]

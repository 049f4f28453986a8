"""Results of training runs: the training curve and the figures of the receipt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

DEV_MEASURE = "eval_dev_cosine_ndcg@10"  # the name under which the trainer logs nDCG@10 on dev


class Point(NamedTuple):
    """A point of the training curve: loss since the last logged step and nDCG@10 on dev, None where not measured."""

    step: int
    loss: float | None
    dev: float | None


@dataclass(frozen=True)
class TrainingResult:
    """The trainer's log of one run, the step whose weights the model now has, and the number of steps taken."""

    log: list[dict[str, float]]
    kept_step: int
    n_steps: int

    def curve(self) -> list[Point]:
        """Returns the training curve by step; the trainer's closing summary is not a point of it."""
        points: dict[int, Point] = {}
        for entry in self.log:
            if "loss" in entry or DEV_MEASURE in entry:
                step = int(entry["step"])
                before = points.get(step, Point(step, None, None))
                points[step] = Point(step, entry.get("loss", before.loss), entry.get(DEV_MEASURE, before.dev))
        return list(points.values())

    def figures(self) -> dict[str, int | float]:
        """Returns the steps and the dev scores of the encoder at the start and of the one that was kept."""
        dev = {point.step: point.dev for point in self.curve() if point.dev is not None}
        return {
            "n_steps": self.n_steps,
            "kept_step": self.kept_step,
            "start_dev_ndcg@10": dev[0],
            "kept_dev_ndcg@10": dev[self.kept_step],
        }


def training_figures(results: Mapping[int, TrainingResult]) -> dict[str, int | float]:
    """Returns the figures of the first seed's run and, with several seeds, those of each under `seed_<seed>.`."""
    by_seed = {seed: result.figures() for seed, result in results.items()}
    prefixed = {f"seed_{seed}.{name}": value for seed, own in by_seed.items() for name, value in own.items()}
    return next(iter(by_seed.values())) | (prefixed if len(by_seed) > 1 else {})

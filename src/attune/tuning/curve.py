"""What came of training runs: their curves and their figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

DEV_MEASURE = "eval_dev_cosine_ndcg@10"  # as the trainer logs it


class Point(NamedTuple):
    """A step of a curve: training loss since the last logged step, dev nDCG@10 where it was measured."""

    step: int
    loss: float | None
    dev: float | None


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the trainer's log, the step whose weights the model now has, and the steps taken."""

    log: list[dict[str, float]]
    kept_step: int
    n_steps: int

    def curve(self) -> list[Point]:
        """The training curve, by step; the trainer's closing summary is no point of it."""
        points: dict[int, Point] = {}
        for entry in self.log:
            if "loss" in entry or DEV_MEASURE in entry:
                step = int(entry["step"])
                before = points.get(step, Point(step, None, None))
                points[step] = Point(step, entry.get("loss", before.loss), entry.get(DEV_MEASURE, before.dev))
        return list(points.values())

    def figures(self) -> dict[str, int | float]:
        """The run in numbers; dev scores are of the encoders it started with and kept."""
        dev = {point.step: point.dev for point in self.curve() if point.dev is not None}
        return {
            "n_steps": self.n_steps,
            "kept_step": self.kept_step,
            "start_dev_ndcg@10": dev[0],
            "kept_dev_ndcg@10": dev[self.kept_step],
        }


def figures(outcomes: Mapping[int, Outcome]) -> dict[str, int | float]:
    """The first seed's run in numbers and, where there are several, each seed's under `seed_<seed>.`."""
    each = {seed: outcome.figures() for seed, outcome in outcomes.items()}
    several = {f"seed_{seed}.{name}": value for seed, own in each.items() for name, value in own.items()}
    return next(iter(each.values())) | (several if len(each) > 1 else {})

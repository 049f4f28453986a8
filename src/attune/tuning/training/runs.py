"""The runs of one seed: probes of learning rates, then the run at the rate found, which may have to start again.

Where dev is best in the first half of that run, or before it, a second run does without the mined negatives: on data
whose judgments are incomplete, many of them are answers that nobody judged, and few pairs are soon learnt by heart.

Each run has a folder below the seed's scratch folder; a killed stage resumes the run that it was in and repeats none
that is finished.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from attune.encoding import encoders, processes
from attune.tuning.curve import Probe, TrainingResult
from attune.tuning.training import checkpoints, rates
from attune.tuning.training.evaluations import DevScoring, remove_changes
from attune.tuning.training.fit import Schedule, TrainingData, fit
from attune.tuning.training.recipe import NEEDS_NEGATIVES, TrainParams, check_dimensions


class SeedResult(NamedTuple):
    """Result of a seed's training: the run that counts, and what was tried besides.

    Attributes:
        folder: of the run that counts.
        result: of this run.
        n_restarts: runs before it that began below the base.
        data: rows that it trained on, with or without hard negatives.
        is_tried_without: whether a run without hard negatives was tried, too.
        n_discarded_scores: scores on dev of the runs that do not count, one per checkpoint and share.
    """

    folder: Path
    result: TrainingResult
    n_restarts: int
    data: TrainingData
    is_tried_without: bool = False
    n_discarded_scores: int = 0


@dataclass(frozen=True)
class SeedRuns:
    """Inputs that the probes and runs of one seed share.

    Attributes:
        params: of the seed, precision resolved.
        base: folder of the base encoder, guide and teacher.
        start: folder of the encoder that runs start from.
        data: rows to train on.
        dev: how a run's checkpoints are scored.
        probe_dev: how a probe is scored.
        scratch: folder of the seed.
    """

    params: TrainParams
    base: Path
    start: Path
    data: TrainingData
    dev: DevScoring
    probe_dev: DevScoring
    scratch: Path

    @property
    def n_steps(self) -> int:
        """Steps of a run that nothing stops early."""
        return self.params.n_steps(self._n_batches)

    @property
    def _n_batches(self) -> int:
        return self.data.keys.n_batches(self.params.batch_size)

    def probes(self) -> list[Probe]:
        """Tries learning rates on the first batches; none where the rate is given, or nothing is trained."""
        if self.params.learning_rate != "auto" or not self.n_steps:
            return []
        n_steps = rates.n_probe_steps(self.n_steps)

        def probe(rate: float) -> Probe:
            result = self._run(self._schedule(rate, n_steps, is_probe=True))
            return Probe(rate, n_steps, result.evaluations[-1])

        return rates.search(probe, self.params.lora_rank, self.probe_dev.scorer.clusters)

    def settled_rate(self, probes: Sequence[Probe]) -> float:
        """Returns the learning rate: as given, or as the probes say; the smallest of all where there is none."""
        if self.params.learning_rate != "auto":
            return self.params.learning_rate
        return (
            rates.choose_rate(probes, self.probe_dev.scorer.clusters)
            if probes
            else min(rates.rates(self.params.lora_rank))
        )

    def train(self, rate: float) -> SeedResult:
        """Trains at a rate; if it was found by `auto`, also without hard negatives where dev is best early on.

        Of the two runs, the one with the better dev score counts, that with hard negatives if they are equal.
        """
        own = self._train(rate)
        if not self._is_best_early(own.result):
            return own
        without = replace(self, data=self.data.without_negatives())._train(rate)
        better, other = (without, own) if without.result.best_dev > own.result.best_dev else (own, without)
        if processes.is_rank_0():
            remove_changes(other.folder)
        n_discarded_scores = own.n_discarded_scores + without.n_discarded_scores + other.result.n_scores
        return better._replace(is_tried_without=True, n_discarded_scores=n_discarded_scores)

    def _is_best_early(self, result: TrainingResult) -> bool:
        """Says if dev was best in the first half of a run whose rows have hard negatives that it can do without."""
        has_choice = self.params.learning_rate == "auto" and self.params.loss not in NEEDS_NEGATIVES
        has_negatives = self.data.hard_negatives != "none"
        return bool(has_choice and has_negatives and self.n_steps and 2 * result.kept[0] <= self.n_steps)

    def _train(self, rate: float) -> SeedResult:
        """Trains at a rate; if it was found by `auto`, starts again at a third where a run begins below the base."""
        n_restarts = rates.MAX_RESTARTS if self.params.learning_rate == "auto" else 0
        n_discarded_scores = 0
        for restart in range(n_restarts + 1):
            schedule = self._schedule(rate, self.n_steps, needs_gain=restart < n_restarts)
            result = self._run(schedule)
            if not result.is_below_base:
                break
            if processes.is_rank_0():
                remove_changes(self._folder(schedule))
            n_discarded_scores += result.n_scores
            rate *= rates.RESTART_FACTOR
        return SeedResult(self._folder(schedule), result, restart, self.data, n_discarded_scores=n_discarded_scores)

    def _schedule(self, rate: float, n_steps: int, is_probe: bool = False, needs_gain: bool = False) -> Schedule:
        n_epochs = self.params.n_epochs(self._n_batches)
        n_evaluations = self.params.n_evaluations_in(n_steps)
        return Schedule(rate, n_epochs, n_steps, n_evaluations, is_probe, needs_gain)

    def _folder(self, schedule: Schedule) -> Path:
        kind = "probe" if schedule.is_probe else "run"
        return self.scratch / f"{kind}-{schedule.learning_rate:g}-{self.data.hard_negatives}"

    def _run(self, schedule: Schedule) -> TrainingResult:
        """Does one run, unless an earlier process finished it."""
        folder = self._folder(schedule)
        if (result := processes.broadcast(partial(checkpoints.read_result, folder))) is None:
            model = encoders.load_torch(self.start)
            check_dimensions(self.params, model.get_embedding_dimension())
            load_base = partial(encoders.load_torch, self.base) if self.params.needs_base else None
            dev = self.probe_dev if schedule.is_probe else self.dev
            result = fit(model, load_base, self.data, dev, self.params, schedule, folder)
            del model
            gc.collect()  # the trainer refers to itself, so its models and optimizer would stay in memory
            processes.barrier()  # rank 0 now removes the checkpoints, which others may still read
            if processes.is_rank_0():
                checkpoints.save_result(folder, result)
        return result

"""Trains, encodes and computes losses in several processes (shared_stage.py), for comparison with one process."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers.trainer
from sentence_transformers import SentenceTransformer
from training import MACHINE, arguments, params, run_params
from transformers import TrainerCallback

from attune.encoding import launch, processes, shards
from attune.encoding.launch import SharedParams
from attune.stages.embed import EmbedParams, embed
from attune.stages.train import train
from attune.tuning.training import losses, rates
from attune.tuning.training.forgetting import Teacher, WithDistillation
from attune.tuning.training.losses import AllProcessesLoss


def loss_and_gradient(
    encoder: Path, columns: Sequence[Sequence[str]], changes: dict[str, Any]
) -> tuple[float, torch.Tensor]:
    """Returns loss and gradient of a batch, of which each process embeds its part; averages gradients as DDP does."""
    model, guide = (SentenceTransformer(str(encoder), device="cpu").eval() for _ in range(2))
    loss = losses.build_loss(model, run_params(**changes), guide)
    if changes.get("distill_weight"):
        texts = [text for column in columns for text in column]
        teacher = Teacher(texts, torch.roll(torch.from_numpy(model.encode(texts)), 1, 0))
        loss = WithDistillation(model, loss, run_params(**changes), teacher)
    parts = [model.preprocess(list(processes.own_part(column))) for column in columns]
    value = AllProcessesLoss(model, loss)(parts, None)
    value.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    if processes.world_size() > 1:
        dist.all_reduce(gradient)
    return value.item(), gradient / processes.world_size()


def losses_of(
    encoder: Path, columns: Sequence[Sequence[str]], variants: Mapping[str, dict[str, Any]]
) -> dict[str, tuple[float, torch.Tensor]]:
    """Returns the loss and gradient of each variant of the parameters."""
    return {name: loss_and_gradient(encoder, columns, changes) for name, changes in variants.items()}


def run_jobs(params: SharedParams, folder: Path, job: Path, out: Path) -> None:
    """Runs the jobs described in a file: losses, trainings, a training that stops and resumes, and an embedding."""
    jobs = json.loads(job.read_text())
    values = losses_of(folder / "base", jobs["columns"], jobs["variants"])
    if processes.is_rank_0():
        torch.save(values, out)
    rates.RATES = jobs["rates"]  # that suit a random encoder
    for name, changes in jobs["trainings"].items():
        launch.run_on_rank(train, train_params(params, changes), folder / f"{name}.json", arguments(folder, name))
    stop_and_resume(folder, train_params(params, jobs["stopped"]["changes"]), jobs["stopped"]["steps"])
    shards.SIZE = 16  # several shards for each process
    launch.run_on_rank(embed, embed_params(params.processes), None, embed_arguments(folder, "embedded_by_two"))


class Stopped(Exception):
    """Raised instead of a kill, which would end the test's processes."""


class StopCallback(TrainerCallback):
    """Stops the training at a step."""

    step = 0  # class attribute, because the trainer constructs the callback

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Stopped


def stop_and_resume(folder: Path, settings: Any, step: int) -> None:
    """Trains `resumed`, stopped once at a step, and writes the step at which each process stopped."""
    train_on_rank = partial(launch.run_on_rank, train, settings, folder / "resumed.json", arguments(folder, "resumed"))
    transformers.trainer.DEFAULT_CALLBACKS.append(StopCallback)
    StopCallback.step, stopped = step, 0
    try:
        train_on_rank()
    except Stopped:
        stopped = step
    finally:
        transformers.trainer.DEFAULT_CALLBACKS.remove(StopCallback)
    steps: list[Any] = [None] * settings.processes
    dist.all_gather_object(steps, stopped)
    if processes.is_rank_0():
        (folder / "stopped_at.json").write_text(json.dumps(steps))
    train_on_rank()


def train_params(shared: SharedParams, changes: Mapping[str, Any]) -> Any:
    return params(**changes, processes=shared.processes)


def embed_params(n_processes: int) -> EmbedParams:
    return EmbedParams.model_validate({"processes": n_processes, "machine": MACHINE | {"batch_tokens": 64}})


def embed_arguments(folder: Path, name: str) -> dict[str, Any]:
    """Returns the arguments of stage embed for the base encoder of a task."""
    tables = {argument: folder / argument for argument in ("prepared", "splits")}
    return tables | {"system": "round", "model": folder / "base", "exported": folder / "base", "out": folder / name}

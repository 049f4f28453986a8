"""What several processes do together in tests; to `attune.launch` these are stages, as train and embed are."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers.trainer
from sentence_transformers import SentenceTransformer
from training import arguments, params
from transformers import TrainerCallback

from attune.encoding import launch, processes, shards
from attune.encoding.launch import SharedParams
from attune.stage import Out, Receipt
from attune.stages.embed import EmbedParams, embed
from attune.stages.train import train
from attune.tuning.training import losses
from attune.tuning.training.forgetting import Distilled, Lesson
from attune.tuning.training.losses import Whole
from attune.tuning.training.recipe import Recipe


def recipe(changes: dict[str, Any]) -> Recipe:
    (only,) = params(**changes).recipes().values()
    return only


def loss_and_gradient(
    encoder: Path, columns: Sequence[Sequence[str]], changes: dict[str, Any]
) -> tuple[float, torch.Tensor]:
    """Of a batch of which each process embeds its part; gradients are averaged as DistributedDataParallel does."""
    model, guide = (SentenceTransformer(str(encoder), device="cpu").eval() for _ in range(2))
    loss = losses.build(model, recipe(changes), guide)
    if changes.get("distill_weight"):
        texts = [text for column in columns for text in column]
        lesson = Lesson(texts, torch.roll(torch.from_numpy(model.encode(texts)), 1, 0))
        loss = Distilled(model, loss, recipe(changes), lesson)
    parts = [model.preprocess(list(processes.own_part(column))) for column in columns]
    value = Whole(model, loss)(parts, None)
    value.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    if processes.world_size() > 1:
        dist.all_reduce(gradient)
    return value.item(), gradient / processes.world_size()


def losses_of(encoder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The loss and gradient of each variant."""
    return {name: loss_and_gradient(encoder, asked["columns"], changes) for name, changes in asked["variants"].items()}


def work(params: SharedParams, folder: Path, job: Path, out: Out) -> Receipt:
    """Does what a file says: trainings by name, one that stops at a step and goes on, and losses over columns."""
    asked = json.loads(job.read_text())
    found = losses_of(folder / "base", asked)
    if processes.is_rank_0():
        torch.save(found, out)
    for name, changes in asked["trainings"].items():
        settings = settings_of(changes | {"processes": params.processes})
        launch.take_part(train, settings, folder / f"{name}.json", arguments(folder, name))
    stop_and_resume(folder, params.processes, **asked["stopped"])
    shards.SIZE = 16  # several for each process
    launch.take_part(embed, embed_params(params.processes), None, embed_arguments(folder, "embedded_by_two"))
    return {}


class Stopped(Exception):
    """In place of a kill, which would end the test's processes."""


class Stops(TrainerCallback):
    """Stops the training at a step."""

    at = 0  # set once for the process: the trainer makes the callback itself

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if state.global_step == self.at:
            raise Stopped


def stop_and_resume(folder: Path, n_processes: int, steps: int, changes: dict[str, Any]) -> None:
    """Trains `resumed` in two goes, and says at which step each process stopped."""
    settings = settings_of(changes | {"processes": n_processes})
    go = partial(launch.take_part, train, settings, folder / "resumed.json", arguments(folder, "resumed"))
    transformers.trainer.DEFAULT_CALLBACKS.append(Stops)
    Stops.at, stopped = steps, 0
    try:
        go()
    except Stopped:
        stopped = steps
    finally:
        transformers.trainer.DEFAULT_CALLBACKS.remove(Stops)
    everywhere: list[Any] = [None] * n_processes
    dist.all_gather_object(everywhere, stopped)
    if processes.is_rank_0():
        (folder / "stopped_at.json").write_text(json.dumps(everywhere))
    go()


def embed_params(n_processes: int) -> EmbedParams:
    return EmbedParams(precision="fp32", batch_tokens=64, processes=n_processes, threads=1)


def embed_arguments(folder: Path, name: str) -> dict[str, Any]:
    """Stage embed for a task's base encoder."""
    of_folder = {argument: folder / argument for argument in ("prepared", "splits")}
    return of_folder | {"system": "round", "model": folder / "base", "out": folder / name}


def settings_of(changes: dict[str, Any]) -> Any:
    return params(**changes)

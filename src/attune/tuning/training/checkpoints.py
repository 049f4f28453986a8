"""Scratch folder of a training run: checkpoints, and the result of the finished run.

A run may be killed between any two instructions. So everything in the folder is either verified when it is read
(checkpoints, which the trainer writes in place) or written under another name and renamed when it is complete. To
remove it, it is renamed first.
"""

import json
import shutil
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from attune.encoding import processes
from attune.errors import BadInput
from attune.files import replacing
from attune.tuning.curve import TrainingResult

CHECKPOINT = ("model.safetensors", "optimizer.pt", "scheduler.pt")
FINISHED = "result.json"  # in the scratch folder of a finished run


def starting_encoder(start: Path, seed: int) -> Path:
    """Returns the encoder that a seed's run starts from: the folder itself, or the seed's encoder of an earlier round.

    Raises:
        BadInput: the folder is neither.
    """
    for folder in (start, start / str(seed)):
        if (folder / "modules.json").is_file():
            return folder
    raise BadInput(
        f"{start}: neither an encoder nor a round that trained seed {seed}; train every round with the same train.seeds"
    )


def last_complete_checkpoint(scratch: Path) -> str | None:
    """Returns the last complete checkpoint; removes those that a kill or a full disk left incomplete."""
    for folder in scratch.glob("checkpoint-*"):
        try:
            json.loads((folder / "trainer_state.json").read_text())  # the trainer writes it last
            is_complete = all((folder / name).is_file() for name in (*CHECKPOINT, *_random_states()))
        except (OSError, ValueError):
            is_complete = False
        if not is_complete:
            shutil.rmtree(folder)
    return get_last_checkpoint(str(scratch)) if scratch.is_dir() else None


def _random_states() -> list[str]:
    """Returns the names of the files with the states of the random generators, one per process."""
    n = processes.world_size()
    return ["rng_state.pth"] if n == 1 else [f"rng_state_{rank}.pth" for rank in range(n)]


def had_stopped(checkpoint: Path) -> bool:
    """Says if the run had decided to stop when it wrote this checkpoint."""
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return bool(state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"])


def read_result(scratch: Path) -> TrainingResult | None:
    """Returns the result of the run if an earlier process finished it, else None."""
    file = scratch / FINISHED
    return TrainingResult.from_json(json.loads(file.read_text())) if file.is_file() else None


def save_result(scratch: Path, result: TrainingResult) -> None:
    """Saves the result of a run, then removes its checkpoints; the evaluations stay."""
    with replacing(scratch / FINISHED) as writing:
        writing.write_text(json.dumps(result.to_json()))
    for folder in scratch.glob("checkpoint-*"):
        shutil.rmtree(folder)


def remove_scratch(scratch: Path) -> None:
    """Removes a scratch folder; a kill on the way leaves none that looks finished."""
    removed = scratch.with_name(f"{scratch.name}.gone")
    shutil.rmtree(removed, ignore_errors=True)  # left by a kill in an earlier removal
    if scratch.is_dir():
        scratch.replace(removed)
    shutil.rmtree(removed, ignore_errors=True)

"""Rehearses the pipeline with the base encoder, and exports its graph, by the parameters of the project.

torch takes seconds to import, so it is imported by the calls: `attune check` imports this module without it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from attune.errors import BadInput
from attune.stage import all_params, load_params, named

if TYPE_CHECKING:
    from attune.tuning.rehearsal import Rehearsal


WITH_WEIGHTS, SERVED = "stages", "served"  # values of programs.tuning


def require_programs(is_served: bool, parameters: Path) -> None:
    """Refuses parameters by which an encoder behind an endpoint would be trained, or one with weights would not.

    Args:
        is_served: whether base.endpoint.url names an endpoint.
        parameters: path of params.yaml; where it does not exist, nothing is refused.

    Raises:
        BadInput: programs.tuning or train.epochs does not fit.
    """
    if not parameters.exists():
        return
    sections, expected = all_params(parameters), SERVED if is_served else WITH_WEIGHTS
    got, epochs = sections["programs"]["tuning"], sections["train"]["epochs"]
    why = "base.endpoint.url names an endpoint" if is_served else "base.endpoint.url names none"
    if got != expected:
        place = named("programs.tuning", parameters)
        raise BadInput(f"{place}: got {got!r}, expected {expected}, as {why}; set it")
    if is_served and epochs != 0:
        place = named("train.epochs", parameters)
        raise BadInput(
            f"{place}: got {epochs}, expected 0: an encoder behind an endpoint cannot be trained; set it to 0"
        )


def rehearsed(name: str, folder: Path, parameters: Path) -> "Rehearsal":
    """Rehearses the pipeline with an encoder.

    Args:
        name: of the encoder, for messages.
        folder: of it, with prompts and maximum length set.
        parameters: path of params.yaml, whose sections train and export say what is rehearsed.

    Raises:
        BadInput: a step fails.
    """
    from attune.export.shipped import ExportParams  # noqa: PLC0415
    from attune.tuning.rehearsal import rehearse  # noqa: PLC0415
    from attune.tuning.training.recipe import TrainParams  # noqa: PLC0415

    records = load_params(TrainParams, "train", parameters), load_params(ExportParams, "export", parameters)
    return rehearse(name, folder, *records)


def write_graph(folder: Path, n_positions: int | None, parameters: Path, out: Path) -> None:
    """Writes a folder that `attune.runtime` reads, with the encoder's fp32 graph.

    Args:
        folder: of the encoder, finished.
        n_positions: largest number of tokens that it can read; None where it has no limit.
        parameters: path of params.yaml, for section export.
        out: folder to write.

    Raises:
        BadInput: the encoder cannot be exported, or its graph differs from torch.
    """
    from attune.encoding.encoders import load_for_export  # noqa: PLC0415
    from attune.encoding.torch_threads import set_torch_threads  # noqa: PLC0415
    from attune.export.shipped import ExportParams, write_fp32  # noqa: PLC0415

    params = load_params(ExportParams, "export", parameters)
    set_torch_threads(params.machine.threads)
    write_fp32(params, load_for_export(folder), n_positions, folder, out)

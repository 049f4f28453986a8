"""Rehearses the pipeline with an encoder in a folder, as stage base does with the one of the parameters."""

import tempfile
from pathlib import Path
from time import perf_counter

from attune.cli.check.interface import Rehearsal
from attune.encoding.settings import Settings
from attune.errors import BadInput
from attune.stage import PARAMS_FILE, Receipt, load_params
from attune.stages.base import BaseParams, positions_of, prepared
from attune.tuning.base_encoder import rehearsed

AUTO = 96  # tokens, where base.max_length is auto: no data are measured


def check_encoder(folder: Path) -> Rehearsal:
    """Returns the rehearsal of an encoder: its steps, the precision in which it is right, and how long it took.

    Args:
        folder: of the encoder; the kind of training, the export and prompts are those of the parameters.

    Raises:
        BadInput: it is not a folder, or the rehearsal fails.
    """
    if not folder.is_dir():
        raise BadInput(f"--base: {folder} is not a folder; name one with an encoder")
    params = load_params(BaseParams, "base").model_copy(update={"model": str(folder)})

    def length_of(settings: Settings) -> tuple[int, Receipt]:
        return min(AUTO if params.max_length == "auto" else params.max_length, positions_of(settings)), {}

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "base"
        prepared(params, folder, {}, out, length_of)
        import attune.tuning.rehearsal  # noqa: F401, PLC0415 - so that its seconds do not hold those of torch's import

        start = perf_counter()
        rehearsal = rehearsed(params.model, out, PARAMS_FILE)
        seconds = round(perf_counter() - start, 1)
    return Rehearsal(params.model, list(rehearsal.steps), str(rehearsal.precision), seconds)

"""Exports nothing but the name: of an encoder behind an endpoint, models/adapter is what ships."""

import json
import shutil
from pathlib import Path

from pydantic import ConfigDict

from attune.runtime.manifest import ENCODER, MANIFEST
from attune.stage import Out, Params, Receipt, run


class ExportParams(Params):
    """Nothing: the parameters of export are those of graphs."""

    model_config = ConfigDict(extra="ignore")


def export(params: ExportParams, model: Path, triplets: Path, corpus: Path, out: Out) -> Receipt:
    """Copies the manifest, which lists no graph, and the file that names the encoder. Reads no data."""
    out.mkdir()
    for name in (MANIFEST, ENCODER):
        shutil.copyfile(model / name, out / name)
    about = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    return {"dim": about["dim"], "max_length": about["max_length"], "n_graphs": 0}


if __name__ == "__main__":
    run(export)

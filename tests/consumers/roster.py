"""The consumers: their drivers and environments, and the vectors that they compute."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from environments import node_environment, python_environment
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).resolve().parent
SCRATCH = ROOT / "scratch" / "consumers"
MODEL = Path(os.environ.get("ATTUNE_MODEL", ROOT / "models" / "onnx")).resolve()
TUNED = MODEL.parent / "tuned"
FP32, INT8, FP16 = "onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/model_fp16.onnx"
HAS_FP16 = (MODEL / FP16).is_file()  # export.fp16
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Consumer:
    """A program that loads the exported folder.

    Attributes:
        name: shown in the table.
        driver: file in this folder that calls the program.
        pins: .txt file in this folder with the packages of its environment; None is the project's own environment.
        package: its version is shown in the table.
        graphs: True if it runs the folder's graphs, False for its torch weights.
        folder: the folder to load.
        cuts_last_token: texts beyond the maximum length lose the last special token, a fault of the program.
    """

    name: str
    driver: str
    pins: str | None
    package: str
    graphs: bool = True
    folder: Path = MODEL
    cuts_last_token: bool = False


ST, ST5 = "sentence-transformers", "sentence_transformers_5"
CONSUMERS = (
    Consumer(f"{ST} 6, torch, models/tuned", "sentence_transformer.py", None, ST, graphs=False, folder=TUNED),
    Consumer(f"{ST} 6, torch", "sentence_transformer.py", None, ST, graphs=False),
    Consumer(f"{ST} 5, torch", "sentence_transformer.py", ST5, ST, graphs=False),
    Consumer(f"{ST} 5, onnx", "sentence_transformer.py", ST5, ST),
    Consumer("optimum", "optimum_model.py", ST5, "optimum-onnx"),
    Consumer("fastembed, new", "fastembed_model.py", "fastembed_0_9", "fastembed"),
    Consumer("fastembed, old", "fastembed_model.py", "fastembed_0_7", "fastembed"),
    Consumer("transformers.js", "transformers_js.mjs", "transformers_js", "transformers.js", cuts_last_token=True),
    Consumer("onnxruntime and tokenizers alone", "plain_onnxruntime.py", None, "onnxruntime"),
    Consumer("attune.runtime", "attune_runtime.py", None, "onnxruntime"),
)


class Answer(NamedTuple):
    """Versions of the consumer's packages, and its vectors by (graph, batch size); torch weights count as fp32."""

    versions: dict[str, str]
    vectors: dict[tuple[str, int], NDArray[np.float64]]


def answer_of(consumer: Consumer, texts: list[str]) -> Answer:
    """Returns the consumer's embeddings, computed once per session; skips the test where it cannot run."""
    return _run(consumer, tuple(texts))


@cache
def _run(consumer: Consumer, texts: tuple[str, ...]) -> Answer:
    if not consumer.graphs and not (consumer.folder / WEIGHTS).is_file():
        pytest.skip(f"no {consumer.folder / WEIGHTS}: torch has nothing to load; export.torch_weights writes it")
    command, place = _command(consumer)
    keys = [(FP32, 1), (FP32, 8), *[(INT8, 1)] * consumer.graphs, *[(FP16, 8)] * (consumer.graphs and HAS_FP16)]
    runs = [
        {"folder": str(consumer.folder), "graph": graph if consumer.graphs else None, "batch_size": size}
        for graph, size in keys
    ]
    manifest = json.loads((MODEL / "manifest.json").read_text(encoding="utf-8"))
    request = {"texts": texts, "runs": runs, "pooling": manifest["pooling"], "dim": manifest["dim"]}
    files = [SCRATCH / f"{kind}.json" for kind in ("request", "answer")]
    files[0].write_text(json.dumps(request), encoding="utf-8")
    done = subprocess.run(
        [*command, *files], check=False, cwd=place, env=_environment(consumer), capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"{consumer.name}: {consumer.driver} failed\n{done.stderr[-3000:]}", pytrace=False)
    reply = json.loads(files[1].read_text(encoding="utf-8"))
    vectors = [np.array(rows, dtype=np.float64) for rows in reply["vectors"]]
    return Answer(reply["versions"], dict(zip(keys, vectors, strict=True)))


def _command(consumer: Consumer) -> tuple[list[Path | str], Path]:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    driver = DRIVERS / consumer.driver
    if consumer.pins is None:
        return [sys.executable, driver], ROOT
    pins = DRIVERS / f"{consumer.pins}.txt"
    if driver.suffix == ".mjs":
        if not (shutil.which("node") and shutil.which("npm")):
            pytest.skip(f"no node and npm on the PATH: {consumer.name} cannot run")
        return ["node", driver], node_environment(pins, SCRATCH)
    return [python_environment(pins, SCRATCH), driver], ROOT


def _environment(consumer: Consumer) -> dict[str, str]:
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    source = {"PYTHONPATH": str(ROOT / "src")} if consumer.pins is None else {}
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return rest | offline | source | {"OMP_NUM_THREADS": "1"}

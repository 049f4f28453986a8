"""Engines that run the exported graphs: onnxruntime, or OpenVINO where it is installed.

OpenVINO (`pip install "attune[openvino]"`) encodes batches faster on x86 CPUs and computes matrix products in bf16
where the CPU has them; onnxruntime is at least as fast on one query. Their vectors differ by rounding.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from attune.errors import BadInput
from attune.runtime.arrays import Float32, Int64
from attune.runtime.sessions import failures, load_session

ENGINES = ("onnxruntime", "openvino")
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
OUTPUT = "sentence_embedding"
STEP = 16  # tokens; batches are padded to a multiple of it, so that OpenVINO compiles few kernels


class Engine(Protocol):
    """A loaded graph.

    Attributes:
        inputs: names of the graph's inputs.
        outputs: names of its outputs.
        length_step: batches are padded to a multiple of this number of tokens.
    """

    inputs: list[str]
    outputs: list[str]
    length_step: int

    def run(self, features: dict[str, Int64]) -> Float32:
        """Computes `sentence_embedding`, (batch, dim), from (batch, tokens) each; serves several threads at once."""


class OnnxRuntime:
    """A graph in onnxruntime on the CPU, in the graph's own number format."""

    length_step = 1

    def __init__(self, path: Path, threads: int | None) -> None:
        self._session = load_session(path, threads)
        self.inputs = [node.name for node in self._session.get_inputs()]
        self.outputs = [node.name for node in self._session.get_outputs()]

    def run(self, features: dict[str, Int64]) -> Float32:
        """Computes `sentence_embedding`, (batch, dim), from (batch, tokens) each."""
        vectors: Float32 = self._session.run([OUTPUT], features)[0]
        return vectors


class OpenVino:
    """A graph in OpenVINO on the CPU; precision bf16 computes matrix products in bf16 where the CPU can."""

    length_step = STEP

    def __init__(self, path: Path, threads: int | None, precision: str) -> None:
        import openvino  # noqa: PLC0415  optional

        settings = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision], "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        model = core.read_model(str(path))
        self.inputs = [port.get_any_name() for port in model.inputs]
        self.outputs = [name for port in model.outputs for name in port.get_names()]
        if OUTPUT in self.outputs:  # that alone: the vectors of all tokens would be copied out of each run
            model = openvino.Model([model.output(OUTPUT)], model.get_parameters(), "encoder")
        self._compiled = core.compile_model(model, "CPU", settings)

    def run(self, features: dict[str, Int64]) -> Float32:
        """Computes `sentence_embedding`, (batch, dim), from (batch, tokens) each."""
        request = self._compiled.create_infer_request()  # one per call, as a request serves one thread
        return np.array(request.infer(features)[OUTPUT], dtype=np.float32)


def has_openvino() -> bool:
    """Returns whether OpenVINO is installed; imports nothing."""
    return find_spec("openvino") is not None


def has_bf16() -> bool:
    """Returns whether OpenVINO multiplies bf16 natively on this CPU (AVX-512 BF16, or AMX)."""
    import openvino  # noqa: PLC0415  optional

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load_engine(name: str, precision: str, path: Path, threads: int | None) -> Engine:
    """Loads a graph.

    Args:
        name: one of ENGINES.
        precision: of matrix products, fp32 or bf16; onnxruntime has fp32 alone. An int8 graph keeps its int8.
        path: the graph.
        threads: CPU threads; None takes one per physical core.

    Raises:
        BadInput: the file is no graph; the engine is unknown or not installed, or lacks the precision.
    """
    if name not in ENGINES or precision not in PRECISIONS:
        raise BadInput(
            f"engine {name!r}, precision {precision!r}: expected one of {', '.join(ENGINES)} and one of "
            f"{', '.join(PRECISIONS)}; correct them"
        )
    if name == "onnxruntime":
        if precision != "fp32":
            raise BadInput(f"engine onnxruntime: got precision {precision}, which it lacks; take openvino, or fp32")
        return OnnxRuntime(path, threads)
    if not has_openvino():
        raise BadInput('engine openvino: not installed; run `pip install "attune[openvino]"`, or take onnxruntime')
    with failures(f"{path}: not a loadable graph"):
        return OpenVino(path, threads, precision)

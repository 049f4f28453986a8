"""Systems are scored by the graphs that ship: the engine and its number format are chosen by what is there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from attune.encoding import scored
from attune.encoding.encoders import TorchEncoder, load_torch
from attune.encoding.scored import Way, load_encoder, way_of
from attune.runtime import engines
from attune.stage import Machine

AUTO, FP32 = (Machine(threads=1, precision=name, batch_tokens=512) for name in ("auto", "fp32"))
NOWHERE = Path("no-such-folder")  # whose encoder is right in either precision
TEXTS = ["stack the arrays", "", "graph with nodes " * 30]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without a GPU, with OpenVINO and bf16; tests take parts away."""
    monkeypatch.setattr(scored, "has_gpu", lambda: False)
    monkeypatch.setattr(scored, "has_openvino", lambda: True)
    monkeypatch.setattr(scored, "has_bf16", lambda: True)
    return monkeypatch


def test_openvino_runs_what_has_a_graph(machine: pytest.MonkeyPatch) -> None:
    """In bf16 where the CPU has it; int8 graphs in int8; an encoder of a round runs in torch."""
    assert way_of("base", NOWHERE, AUTO) == way_of("tuned", NOWHERE, AUTO) == Way("openvino", "cpu", "bf16")
    assert way_of("tuned", NOWHERE, FP32) == Way("openvino", "cpu", "fp32")
    assert way_of("tuned_int8", NOWHERE, AUTO) == Way("openvino", "cpu", "int8")
    assert way_of("round", NOWHERE, FP32) == Way("torch", "cpu", "fp32")
    machine.setattr(scored, "has_bf16", lambda: False)
    assert way_of("tuned", NOWHERE, AUTO) == Way("openvino", "cpu", "fp32")


def test_onnxruntime_takes_its_place(machine: pytest.MonkeyPatch) -> None:
    """In fp32, which is all that it has on a CPU."""
    machine.setattr(scored, "has_openvino", lambda: False)
    assert way_of("base", NOWHERE, AUTO) == Way("onnxruntime", "cpu", "fp32")
    assert way_of("tuned_int8", NOWHERE, AUTO) == Way("onnxruntime", "cpu", "int8")


def test_torch_takes_its_place_on_a_gpu(machine: pytest.MonkeyPatch) -> None:
    """But for the int8 file, which is made for CPUs."""
    machine.setattr(scored, "has_gpu", lambda: True)
    machine.setattr("attune.encoding.encoders.best_precision", lambda: "bf16")
    assert way_of("tuned", NOWHERE, AUTO) == Way("torch", "cuda", "bf16")
    assert way_of("tuned_int8", NOWHERE, AUTO).device == "cpu"


def test_without_a_driver_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it takes seconds; with a driver it is, and decides."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(scored, "GPU_DRIVERS", ())
    assert not scored.has_gpu()
    monkeypatch.setattr(scored, "GPU_DRIVERS", ("/dev/null",))
    assert scored.has_gpu()


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_every_way_computes_the_same_vectors(tiny_encoder: Path, tiny_onnx: Path, engine: str) -> None:
    """In fp32, up to rounding: queries and documents by torch, onnxruntime and OpenVINO."""
    if engine == "openvino" and not engines.has_openvino():
        pytest.skip("OpenVINO is not installed")
    expected = TorchEncoder(load_torch(tiny_encoder), "fp32", 512)
    encoder = load_encoder("tuned", Way(engine, "cpu", "fp32"), tiny_encoder, tiny_onnx, FP32)
    assert encoder.dim == expected.dim
    np.testing.assert_allclose(encoder.encode_query(TEXTS), expected.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_document(TEXTS), expected.encode_document(TEXTS), atol=1e-5)


def test_the_int8_file_is_run_for_its_system(tiny_encoder: Path, tiny_onnx: Path) -> None:
    """Its vectors are near those of fp32, not equal to them."""
    fp32, int8 = (
        load_encoder(system, Way("onnxruntime", "cpu", precision), tiny_encoder, tiny_onnx, FP32).encode_query(TEXTS)
        for system, precision in (("tuned", "fp32"), ("tuned_int8", "int8"))
    )
    assert 0 < np.abs(fp32 - int8).max() < 0.2

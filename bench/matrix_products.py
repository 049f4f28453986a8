"""Matrix products of the sizes that are asked for: in torch for floats, in onnxruntime for int8."""

from collections.abc import Callable, Sequence


def int8_products(sizes: Sequence[tuple[int, int]], n_tokens: int, threads: int) -> Callable[[], object]:
    """Activations in uint8, weights in int8, sums in int32, as in a quantised graph; all in one graph, in turn.

    Inputs and results have their memory beforehand, so that copying them is no part of it.
    """
    import numpy as np  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    random = np.random.default_rng(7)
    drawn = [random.integers(-127, 128, size).astype(np.int8) for size in sizes]
    inputs = {f"left{rows}": random.integers(0, 256, (n_tokens, rows)).astype(np.uint8) for rows, _ in sizes}
    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", [f"left{rows}", f"right{place}"], [f"product{place}"])
            for place, (rows, _) in enumerate(sizes)
        ],
        "products",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, values.shape) for name, values in inputs.items()],
        [
            helper.make_tensor_value_info(f"product{place}", TensorProto.INT32, [n_tokens, columns])
            for place, (_, columns) in enumerate(sizes)
        ],
        [numpy_helper.from_array(weights, f"right{place}") for place, weights in enumerate(drawn)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, values in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
    for place, (_, columns) in enumerate(sizes):
        result = onnxruntime.OrtValue.ortvalue_from_shape_and_type([n_tokens, columns], np.int32, "cpu")
        binding.bind_ortvalue_output(f"product{place}", result)
    return lambda: session.run_with_iobinding(binding)


def float_product(n_tokens: int, n_rows: int, n_columns: int, precision: str) -> Callable[[], object]:
    """Both sides and the result in one precision."""
    import torch  # noqa: PLC0415

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(n_tokens, n_rows, dtype=dtype), torch.randn(n_columns, n_rows, dtype=dtype)
    return lambda: torch.nn.functional.linear(left, right)


def float_products(
    sizes: Sequence[tuple[int, int]], n_tokens: int, threads: int, precision: str
) -> Callable[[], object]:
    """The same in floating-point numbers."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    steps = [float_product(n_tokens, *size, precision) for size in sizes]
    return lambda: with_gradients_off(steps)


def with_gradients_off(steps: Sequence[Callable[[], object]]) -> None:
    """Does all of them, one after another."""
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        for step in steps:
            step()

"""Matrix products of given sizes: fp32 and bf16 in torch, int8 in onnxruntime."""

from collections.abc import Callable, Sequence


def int8_products(sizes: Sequence[tuple[int, int]], n_tokens: int, threads: int) -> Callable[[], object]:
    """Returns a function that runs one graph with a product per size (rows, columns), as a quantised model does.

    Activations are uint8, weights int8, sums int32. Inputs and outputs are bound to memory beforehand, so the function
    copies none of them.
    """
    import numpy as np  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    random = np.random.default_rng(7)
    weights = [random.integers(-127, 128, size).astype(np.int8) for size in sizes]
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
        [numpy_helper.from_array(matrix, f"right{place}") for place, matrix in enumerate(weights)],
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
    """Returns a function that multiplies two matrices; factors and result have this precision."""
    import torch  # noqa: PLC0415

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(n_tokens, n_rows, dtype=dtype), torch.randn(n_columns, n_rows, dtype=dtype)
    return lambda: torch.nn.functional.linear(left, right)


def float_products(
    sizes: Sequence[tuple[int, int]], n_tokens: int, threads: int, precision: str
) -> Callable[[], object]:
    """Returns a function that runs a product per size (rows, columns) in fp32 or bf16."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    steps = [float_product(n_tokens, *size, precision) for size in sizes]
    return lambda: with_gradients_off(steps)


def with_gradients_off(steps: Sequence[Callable[[], object]]) -> None:
    """Runs all steps in order, without recording gradients."""
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        for step in steps:
            step()

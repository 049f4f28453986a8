"""The query adapter: maps query embeddings so that they find more among document embeddings that stay as they are."""

from pathlib import Path

from attune.errors import BadInput
from attune.runtime.arrays import Float32
from attune.runtime.folders import confined
from attune.runtime.manifest import REMEDY
from attune.runtime.sessions import SHOWN, failures, load_session

ADAPTER = "onnx/query_adapter.onnx"
INPUT, OUTPUT = "embedding", "adapted_embedding"


class QueryAdapter:
    """A graph from query embeddings to query embeddings of length 1; any number of threads may call one instance.

    Args:
        folder: that holds `onnx/query_adapter.onnx`, such as models/adapter.
        threads: CPU threads for one call; None takes one per physical core.

    Raises:
        BadInput: the graph is missing, damaged, outside the folder, or no map of embeddings.
    """

    def __init__(self, folder: Path | str, threads: int | None = None) -> None:
        self._place = Path(folder) / ADAPTER
        self._session = load_session(confined(Path(folder), ADAPTER, REMEDY), threads)
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        got = [(node.name, node.shape) for node in nodes]
        if [name for name, _ in got] != [INPUT, OUTPUT] or any(len(shape) != 2 for _, shape in got):
            raise BadInput(f"{self._place}: {str(got)[:SHOWN]}; expected (n, dim) {INPUT} to {OUTPUT}; {REMEDY}")
        self.dim = got[0][1][1]

    def __call__(self, embeddings: Float32) -> Float32:
        """Maps the base's query embeddings, (n, dim) and of length 1, to adapted ones of the same shape and length.

        Raises:
            BadInput: the graph fails on embeddings of this dimension, or computes others.
        """
        with failures(f"{self._place}: fails on embeddings of {embeddings.shape[1]} dimensions"):
            adapted: Float32 = self._session.run([OUTPUT], {INPUT: embeddings})[0]
        if adapted.shape != embeddings.shape:
            raise BadInput(f"{self._place}: computes {adapted.shape}, expected {embeddings.shape}; {REMEDY}")
        return adapted

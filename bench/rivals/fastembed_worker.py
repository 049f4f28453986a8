"""Runs fastembed in its own environment, for bench/parts/int8.py: embeds texts on request and times itself.

Arguments: folder of an exported encoder, graph, dim, threads. Input: lines of JSON, each a list of texts. Output: the
line {"version": ...}, then a line per request, {"seconds": CPU-seconds, "vectors": vectors of the first texts}.
"""

import json
import sys
import time
from importlib.metadata import version

from fastembed import TextEmbedding  # type: ignore[import-not-found]
from fastembed.common.model_description import ModelSource, PoolingType  # type: ignore[import-not-found]

N_SHOWN = 8  # vectors per answer, to check that the encoder is the same


def main() -> None:
    """Answers requests until the input ends."""
    folder, graph, dim, threads = sys.argv[1:]
    source = ModelSource(url="https://localhost/none")  # unused: the model is loaded from a path
    TextEmbedding.add_custom_model("attune", PoolingType.MEAN, True, source, int(dim), model_file=graph)
    model = TextEmbedding("attune", specific_model_path=folder, threads=int(threads))
    print(json.dumps({"version": version("fastembed")}), flush=True)
    for line in sys.stdin:
        texts = json.loads(line)
        start = time.process_time()
        vectors = list(model.embed(texts, batch_size=32))
        seconds = time.process_time() - start
        print(json.dumps({"seconds": seconds, "vectors": [row.tolist() for row in vectors[:N_SHOWN]]}), flush=True)


if __name__ == "__main__":
    main()

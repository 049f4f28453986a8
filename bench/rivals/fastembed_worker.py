"""Runs fastembed in its own environment, for bench/parts/int8.py: embeds texts on request and times itself.

Arguments: folder of an exported encoder, graph, dim, threads. In: lines of JSON, a list of texts each. Out: a line for
each, {"seconds": CPU-seconds of this process, "vectors": of the first texts}; before the first, {"version": ...}.
"""

import json
import sys
import time
from importlib.metadata import version

from fastembed import TextEmbedding  # type: ignore[import-not-found]
from fastembed.common.model_description import ModelSource, PoolingType  # type: ignore[import-not-found]

N_SHOWN = 8  # vectors that come back, as a proof that it is the same encoder


def main() -> None:
    """Answers until the input ends."""
    folder, graph, dim, threads = sys.argv[1:]
    source = ModelSource(url="https://localhost/none")  # never asked: the path below is given
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

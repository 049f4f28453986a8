"""Other programs load the static query encoder's folder and compute the runtime's vectors (`make test-consumers`)."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from environments import python_environment
from roster import DRIVERS, SCRATCH
from static_folders import TEXTS, write_static

from attune.runtime.static import StaticEncoder

pytestmark = pytest.mark.consumers


def test_model2vec_computes_the_same_vectors(tiny_onnx: Path, tmp_path: Path) -> None:
    """Its StaticModel reads vectors, weights and tokenizer from the folder as it is."""
    folder = write_static(tiny_onnx, tmp_path / "static")
    request = {"texts": TEXTS[1:], "runs": [{"folder": str(folder), "batch_size": size} for size in (1, 32)]}
    (tmp_path / "request.json").write_text(json.dumps(request))
    program = [python_environment(DRIVERS / "model2vec.txt", SCRATCH), DRIVERS / "model2vec_model.py"]
    subprocess.run([*program, tmp_path / "request.json", tmp_path / "answer.json"], check=True)
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert set(answer["versions"]) == {"model2vec", "tokenizers"}
    for vectors in answer["vectors"]:
        np.testing.assert_allclose(vectors, StaticEncoder(folder).encode_query(TEXTS[1:]), atol=1e-5)

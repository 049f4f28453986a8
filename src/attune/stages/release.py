"""Writes the folder that ships: the exported folder with model card, scores, and hashes of what it was trained on.

The scores are those of the exported files, so this stage follows evaluation. The graphs are copied byte for byte after
a check of their hashes: the shipped files are the scored ones.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from attune.data.trained_on import FILE, TrainedOn
from attune.errors import BadInput
from attune.evaluation.report.card import SYSTEM_TITLES, card, metric_figures, params_sha256, shaping_params
from attune.evaluation.scoring.receipts import read_receipts
from attune.export.folder import file_records
from attune.retrieval.vectors import load_embeddings
from attune.runtime.integrity import verify_files
from attune.runtime.manifest import ENCODER, MANIFEST, read_manifest
from attune.runtime.static import GRAPH, RECORD, VECTORS, is_on
from attune.stage import PARAMS_FILE, Out, Params, Receipt, run, write_json
from attune.tables import CORPUS, read

RECEIPTS = (*SYSTEM_TITLES, "collect", "prepare", "split", "audit", "merge", "drift", "export", "report")
CARD = "README.md"
STATIC = "static"  # folder of the static query encoder in the released one
FIRST_KEYS = ("format", "name", "licence", "base", "params_sha256")  # of the manifest, in this order


class ReleaseParams(Params):
    """Statements on the model card that no figure gives."""

    name: str = Field(min_length=1, max_length=96, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    languages: tuple[str, ...] = Field(min_length=1)
    licence: str = Field(max_length=96)
    data: str
    intended_use: str
    limits: str


def release_manifest(params: ReleaseParams, exported: Mapping[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the exported manifest with name, licence and the hash of the parameters that shape the model.

    Where documents are read in passages, it also says how they were cut, as an index for this encoder should be.

    Raises:
        BadInput: neither section `release` nor the base encoder names a licence, or the base encoder is unknown.
    """
    licence = params.licence or exported["base"].get("licence", "")
    if not licence:
        raise BadInput("release: the base encoder names no licence; set release.licence in params.yaml")
    if "model" not in exported["base"]:
        raise BadInput("release: the exported manifest names no base encoder; run `dvc repro` from stage base on")
    manifest = dict(exported) | {"name": params.name, "licence": licence, "params_sha256": params_sha256(sections)}
    if (passages := sections["prepare"]["passages"])["tokens"]:
        manifest["passages"] = {**passages, "document_score": "best passage"}
    return {key: manifest[key] for key in FIRST_KEYS} | {
        key: value for key, value in manifest.items() if key not in (*FIRST_KEYS, "files")
    }


def int8_to_fp32(embeddings: Path, n_rows: int) -> dict[str, float]:
    """Returns mean and minimum cosine of the int8 and fp32 embeddings of the corpus."""
    files = [embeddings / system / "corpus.npy" for system in ("tuned", "tuned_int8")]
    fp32, int8 = (load_embeddings(file, n_rows, "the corpus") for file in files)
    cosines = np.einsum("ij,ij->i", fp32, int8, dtype=np.float64)
    return {
        "int8_corpus_mean_cosine": round(float(cosines.mean()), 6),
        "int8_corpus_min_cosine": round(float(cosines.min()), 6),
    }


def release_static(static: Path, out: Path) -> dict[str, Any]:
    """Copies the static query encoder, if it is on, and returns what the manifest says of it: files and dev's figures.

    Args:
        static: folder of stage static, over tuned's documents.
        out: released folder.
    """
    if not is_on(static):
        return {}
    record = json.loads((static / RECORD).read_text(encoding="utf-8"))
    (out / STATIC).mkdir()
    for name in (RECORD, *record["files"]):  # not the folder of sentence-transformers, which holds the encoder again
        shutil.copyfile(static / name, out / STATIC / name)
    return {"static": {"vectors": f"{STATIC}/{VECTORS}", "graph": f"{STATIC}/{GRAPH}", **record["figures"]}}


def calibration_of(folder: Path) -> dict[str, Any]:
    """Returns what the manifest says of tuned's scores: map to probabilities, its error, promised cutoff; {} if off.

    Args:
        folder: data/calibration.
    """
    file = folder / "tuned.json"
    if not file.is_file():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    left_out = ("n_relevant", "relevant_scores")  # by which `attune cutoff` moves cutoffs of base
    kept = {name: value for name, value in content.items() if name not in left_out}
    return {"calibration": {**kept, "unjudged": "counted as not relevant"}}


def release(
    params: ReleaseParams,
    *,
    exported: Path,
    static: Path,
    calibration: Path,
    embeddings: Path,
    metrics: Path,
    prepared: Path,
    splits: Path,
    out: Out,
) -> Receipt:
    """Writes the released folder from the exported one, with hashes of the texts that training and dev read.

    Where the exported folder has no graph, these are card, manifest and hashes alone.
    """
    has_graphs = ENCODER not in read_manifest(exported).files  # names an encoder behind an endpoint
    if has_graphs:
        verify_files(exported)
    receipts, sections = read_receipts(metrics, RECEIPTS, list(SYSTEM_TITLES)), shaping_params(PARAMS_FILE)
    before = json.loads((exported / MANIFEST).read_text(encoding="utf-8"))
    about, int8_parity = release_manifest(params, before, sections), dict[str, float]()
    if has_graphs:
        int8_parity = int8_to_fp32(embeddings, receipts["tuned"].get("n_passages", receipts["tuned"]["n_documents"]))
        about["parity"] = {**about["parity"], **int8_parity}
    trained_on = TrainedOn.of(splits, read(prepared / "corpus.parquet", CORPUS))
    counts = {"n_queries": len(trained_on.queries), "n_documents": len(trained_on.documents)}
    about["trained_on"] = {"file": FILE, **counts}
    shutil.copytree(exported, out)
    about |= release_static(static, out) | calibration_of(calibration)
    trained_on.write(out / FILE)
    page = card(about, sections | {"release": params.model_dump()}, receipts)
    (out / CARD).write_text(page, encoding="utf-8")
    (out / MANIFEST).unlink()  # it lists every file but itself
    files = file_records(out)
    write_json(out / MANIFEST, about | {"metrics": metric_figures(receipts), "files": files})
    n_bytes = sum(int(record["size"]) for record in files.values())
    return {"n_files": len(files) + 1, "n_bytes": n_bytes, **int8_parity}


if __name__ == "__main__":
    run(release)

"""The card of a model: what it is, what it was tuned on, how well it does, what it is for, under which licence.

A README.md with the YAML header that model hubs read; its parts are those of Mitchell et al., Model Cards for Model
Reporting, 2019. Nothing in it depends on when or where it was made.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from ruamel.yaml import YAML

from attune.errors import BadInput
from attune.evaluation.report.markdown import render
from attune.evaluation.scoring.measures import MEASURES

SYSTEMS = {
    "bm25": "words alone (BM25)",
    "base": "before tuning",
    "tuned": "tuned, in torch",
    "onnx": "`onnx/model.onnx`, fp32",
    "onnx_int8": "`onnx/model_quantized.onnx`, int8",
}
SHIPPED = "onnx"  # whose figures the header gives
SOURCES = {
    "packages": "Code search: documents are the public functions and classes of installed Python packages without "
    "their docstrings, queries are the first sentences of those docstrings.",
    "beir": "A corpus with queries and judgments in BEIR's layout.",
    "pairs": "Pairs of a query and a document that answers it.",
    "triplets": "Queries with documents that answer them and documents that do not.",
    "documents": "Documents, and queries made from them.",
}

Figures = Mapping[str, Mapping[str, Any]]


def metric_figures(receipts: Figures) -> dict[str, Any]:
    """The scores on test of every system, as the manifest holds them."""
    return {
        "split": "test",
        "n_queries": receipts["tuned"]["n_queries"],
        "n_documents": receipts["tuned"]["n_documents"],
        "systems": {system: {name: receipts[system][name] for name in MEASURES} for system in SYSTEMS},
    }


def header(name: str, languages: Sequence[str], licence: str, base: str, scores: Mapping[str, float], data: str) -> str:
    """The YAML header of a card, without its fences: the keys that model hubs know."""
    results = [
        EvalResult(
            task_type="information-retrieval",
            dataset_type=f"attune-{data}",
            dataset_name="test queries of this model's domain",
            metric_type=measure.replace("@", "_at_"),
            metric_value=scores[measure],
            metric_name=measure,
        )
        for measure in MEASURES
    ]
    fields = ModelCardData(
        language=list(languages),
        license=licence.lower(),  # hubs list SPDX identifiers in lower case
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-similarity", "feature-extraction", "onnx", "attune"],
        base_model=base,
        base_model_relation="finetune",
        model_name=name,
        eval_results=results,
    )
    return str(fields.to_yaml())


def card(about: Mapping[str, Any], params: Mapping[str, Any], receipts: Figures) -> str:
    """The whole card.

    Args:
        about: the manifest of the exported encoder.
        params: the parameters that shaped it, and section `release`.
        receipts: what the stages left in metrics/.
    """
    release, source = params["release"], receipts["collect"]["source"]
    scores = {name: receipts[SHIPPED][name] for name in MEASURES}
    yaml = header(release["name"], release["languages"], about["licence"], about["base"]["model"], scores, source)
    known = {"systems": SYSTEMS, "measures": ("recall@1", "recall@10", "recall@100", "mrr@10", "ndcg@10", "map@100")}
    data = {"source": SOURCES.get(source, ""), "receipts": receipts, "params": params, "release": release}
    return render("model_card.md.j2", header=yaml.strip(), about=about, **known, **data)


# every section that a weight of the shipped encoder or a byte of its folder depends on
SHAPING = ("base", "collect", "prepare", "split", "embed", "mine", "train", "rounds", "merge", "export")


def shaping_params(file: Path) -> dict[str, Any]:
    """The sections of params.yaml that shaped the model.

    Raises:
        BadInput: a section is missing.
    """
    sections = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    lacking = [name for name in SHAPING if name not in sections]
    if lacking:
        raise BadInput(f"{file}: section '{lacking[0]}' is missing; restore it from the project's history")
    return {name: sections[name] for name in SHAPING}


def params_sha256(sections: Mapping[str, Any]) -> str:
    """One hash of parameters that layout, comments and order of keys do not change."""
    return hashlib.sha256(json.dumps(sections, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

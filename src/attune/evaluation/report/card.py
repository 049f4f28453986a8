"""Model card: evaluation, usage, training data, intended use, limits and licence of the exported encoder.

A README.md with the YAML header that model hubs read; sections as in Mitchell et al., Model Cards for Model Reporting,
2019. Its content does not depend on when or where it was written.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from attune.errors import BadInput
from attune.evaluation.report.markdown import render
from attune.evaluation.report.protocol import new_in_test
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.scoring.receipts import leaks_of_test
from attune.stage import all_params

SYSTEM_TITLES = {
    "bm25": "BM25 (lexical search)",
    "base": "before tuning",
    "tuned": "`onnx/model.onnx`, fp32",
    "tuned_int8": "`onnx/model_quantized.onnx`, int8",
}
OF_ENDPOINT = {"bm25": SYSTEM_TITLES["bm25"], "base": "the encoder behind the endpoint"}  # where nothing is exported
SHIPPED = "tuned"  # system whose figures the header gives
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
    """Returns the scores of every system on test, as the manifest holds them."""
    return {
        "split": "test",
        "n_queries": receipts["tuned"]["n_queries"],
        "n_documents": receipts["tuned"]["n_documents"],
        "systems": {system: {name: receipts[system][name] for name in MEASURES} for system in SYSTEM_TITLES},
    }


def header(name: str, languages: Sequence[str], licence: str, base: str, scores: Mapping[str, float], data: str) -> str:
    """Returns the YAML header of a card, with the keys that model hubs know, without its fences."""
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
    """Returns the card.

    Args:
        about: manifest of the exported encoder.
        params: parameters that determine it, and section `release`.
        receipts: figures of the stages, by name.
    """
    release, source = params["release"], receipts["collect"]["source"]
    scores = {name: receipts[SHIPPED][name] for name in MEASURES}
    yaml = header(release["name"], release["languages"], about["licence"], about["base"]["model"], scores, source)
    known = {
        "systems": SYSTEM_TITLES if about["graphs"] else OF_ENDPOINT,
        "measures": ("recall@1", "recall@10", "recall@100", "mrr@10", "ndcg@10", "map@100"),
    }
    data = {"source": SOURCES.get(source, ""), "receipts": receipts, "params": params, "release": release}
    data["new_in_test"] = new_in_test(receipts["split"], leaks_of_test(receipts["split"]))
    data["near_domain"] = receipts["report"].get("near_domain", {})
    return render("model_card.md.j2", header=yaml.strip(), about=about, **known, **data)


# every section that a weight of the shipped encoder or a byte of its folder depends on
SHAPING = (
    *(
        "machine",
        "base",
        "collect",
        "prepare",
        "split",
        "encoders",
        "embed",
        "mine",
        "train",
        "rounds",
        "merge",
        "export",
    ),
)


def shaping_params(file: Path) -> dict[str, Any]:
    """Returns the sections that determine the model, merged from params.yaml and advanced.yaml.

    Raises:
        BadInput: a file is missing or not YAML, a key stands in both, or a section is missing.
    """
    sections = all_params(file)
    lacking = [name for name in SHAPING if name not in sections]
    if lacking:
        raise BadInput(f"{file}: section '{lacking[0]}' is missing; restore it from the project's history")
    return {name: sections[name] for name in SHAPING}


def params_sha256(sections: Mapping[str, Any]) -> str:
    """Returns a hash of parameters that does not depend on layout, comments and order of keys."""
    return hashlib.sha256(json.dumps(sections, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

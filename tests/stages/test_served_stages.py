"""Stages train, merge and export of an encoder behind an endpoint: refusals, and what they leave for the others."""

import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from shipped_params import PANEL

from attune.encoding.served import EndpointParams, Served
from attune.encoding.served_folder import write_description
from attune.errors import BadInput
from attune.evaluation.report.panels import interpolation_points, rate_probes, training_curve
from attune.runtime.manifest import read_manifest
from attune.served.export import ExportParams, export
from attune.served.merge import MergeParams, merge
from attune.served.train import train
from attune.stage import AfterCommit, Stage, call, load_params
from attune.stages.export import export as stages_export
from attune.stages.merge import merge as stages_merge
from attune.stages.seeds import read_seeds
from attune.stages.train import train as stages_train
from attune.tuning.base_encoder import require_programs
from attune.tuning.training.recipe import TrainParams

ROOT = Path(__file__).resolve().parents[2]


def write_base(folder: Path) -> Path:
    """Writes the folders base and base_exported of an encoder of 8 numbers."""
    endpoint = EndpointParams(
        **{"url": "http://127.0.0.1:9/v1", "dimensions": 8, "tokenizer": "", "price": 0, "most_tokens": 10},
        **{"batch_size": 2, "timeout_seconds": 120, "retries": 0, "n_parallel": 1, "cache": "cache"},
    )
    served = Served(model="far", endpoint=endpoint, prompts={"query": "find "}, max_length=32, dim=8)
    write_description(served, "CC0", folder / "base", folder / "base_exported")
    return folder / "base"


def trained(folder: Path, base: Path, **changes: Any) -> None:
    params = load_params(TrainParams, "train", PANEL).model_copy(update={"epochs": 0} | changes)
    unread = dict.fromkeys(("start", "prepared", "forms", "mined", "train", "dev_split"), folder / "nowhere")
    outs = {"out": folder / "rounds", "curve_file": folder / "training.csv", "rates_file": folder / "rates.csv"}
    call(train, params, folder / "train.json", base=base, **unread, **outs)


def test_the_outputs_are_those_that_other_stages_read(tmp_path: Path) -> None:
    """Each seed has the base; curves and candidates are empty; models/tuned is base; the manifest lists no graph."""
    base = write_base(tmp_path)
    trained(tmp_path, base, seeds=[3, 5])
    assert (training_curve(tmp_path / "training.csv"), rate_probes(tmp_path / "rates.csv")) == ([], [])
    places = dict.fromkeys(("prepared", "dev_split", "train_documents", "general"), tmp_path / "nowhere")
    call(
        merge,
        MergeParams(min_retention=0.95, min_near_domain=1.0),
        tmp_path / "merge.json",
        **{"base": base, "rounds": tmp_path / "rounds", "first": 3},
        **{**places, "near_domain": tmp_path / "nowhere"},
        **{"out": tmp_path / "tuned", "seeds": tmp_path / "seeds", "curve_file": tmp_path / "merge.csv"},
    )
    assert interpolation_points(tmp_path / "merge.csv") == []
    assert read_seeds(tmp_path / "seeds") == (3, {})
    unread = {"triplets": tmp_path / "nowhere", "corpus": tmp_path / "nowhere"}
    out, file = tmp_path / "exported", tmp_path / "export.json"
    call(export, ExportParams(), file, model=tmp_path / "tuned", out=out, **unread)
    assert json.loads(file.read_text()) == {"dim": 8, "max_length": 32, "n_graphs": 0}
    assert read_manifest(out).fingerprint() == read_manifest(tmp_path / "base_exported").fingerprint()
    for folder in (tmp_path / "rounds" / "5", tmp_path / "tuned"):
        assert (folder / "attune.json").read_bytes() == (base / "attune.json").read_bytes()


@pytest.mark.parametrize(("own", "namesake"), [(train, stages_train), (merge, stages_merge), (export, stages_export)])
def test_a_program_takes_the_command_line_of_its_namesake(own: Stage, namesake: Stage) -> None:
    """dvc.yaml runs both by one `cmd`, so the options are the same, outputs among them."""
    hints = (get_type_hints(each, include_extras=True) for each in (own, namesake))
    options, expected = ({name: hint for name, hint in one.items() if name != "params"} for one in hints)
    assert options == {name: hint for name, hint in expected.items() if hint is not AfterCommit}


def test_training_an_encoder_behind_an_endpoint_is_refused(tmp_path: Path, tiny_encoder: Path) -> None:
    """One line names train.epochs; an encoder with weights is not left untrained in silence. Nothing is written."""
    base = write_base(tmp_path)
    with pytest.raises(BadInput, match=r"train\.epochs: got auto, expected 0"):
        trained(tmp_path, base, epochs="auto")
    own = tmp_path / "own"
    own.mkdir()
    (own / "attune.json").write_text('{"model": "own"}')
    with pytest.raises(BadInput, match=r"programs\.tuning: got served, but .*own has weights; set it to stages"):
        trained(tmp_path, own)
    assert not (tmp_path / "rounds").exists()


@pytest.mark.parametrize(
    ("is_served", "tuning", "epochs", "line"),
    [
        (
            True,
            "stages",
            0,
            r"programs\.tuning: got 'stages', expected served, as base\.endpoint\.url names an endpoint",
        ),
        (False, "served", 0, r"programs\.tuning: got 'served', expected stages, as base\.endpoint\.url names none"),
        (True, "served", "auto", r"params\.yaml: train\.epochs: got auto, expected 0"),
        (True, "served", 0, ""),
        (False, "stages", "auto", ""),
    ],
)
def test_stage_base_says_at_once_what_does_not_fit(
    tmp_path: Path, is_served: bool, tuning: str, epochs: object, line: str
) -> None:
    """The programs fit the kind of encoder, and nothing is to be trained behind an endpoint."""
    parameters = tmp_path / "params.yaml"
    parameters.write_text(f"programs: {{tuning: {tuning}}}\ntrain: {{epochs: {epochs}}}\n")
    if not line:
        return require_programs(is_served, parameters)
    with pytest.raises(BadInput, match=line):
        require_programs(is_served, parameters)
    return None

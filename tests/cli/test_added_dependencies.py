"""Tasks, rerankers and champions that a user adds are dependencies of their stages before these read them."""

import copy
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from shipped_params import PANEL

from attune.cli.repository.pipeline import pipeline_text, require_added
from attune.errors import BadInput
from attune.stage import all_params

TASK = {"type": "retrieval", "path": "data/tasks/ours", "counts_as": "near_domain"}
ADDED = {
    "champion": ("evaluate.champion", "models/champions/${evaluate.champion}"),
    "mine": ("mine.reranker", "models/rerankers/${mine.reranker}"),
    "probe": ("probe.tasks", "data/tasks"),
}


def write_repository(folder: Path, added: str, knows: bool) -> None:
    """Writes parameters to which a stage's input was added, and the dvc.yaml of before or after it."""
    before = all_params(PANEL)
    after = copy.deepcopy(before)
    section, _, key = ADDED[added][0].partition(".")
    after[section][key] = {**before["probe"]["tasks"], "ours": TASK} if added == "probe" else "ours"
    YAML().dump(after, folder / "params.yaml")
    (folder / "advanced.yaml").write_text("{}\n")
    (folder / "dvc.yaml").write_text(pipeline_text(after if knows else before))


@pytest.mark.parametrize("stage", ADDED)
def test_a_stage_stops_until_what_it_reads_is_a_dependency(stage: str, tmp_path: Path) -> None:
    """DVC would not run it again when the folder changes, nor fetch the folder for a colleague."""
    write_repository(tmp_path, stage, knows=False)
    with pytest.raises(BadInput, match="attune upgrade") as stopped:
        require_added(stage, tmp_path)
    parameter, path = ADDED[stage]
    assert f"stage {stage} lacks the dependency {path}, which {parameter} calls for" in str(stopped.value)


@pytest.mark.parametrize("stage", [*ADDED, "report"])
def test_an_upgraded_pipeline_has_the_dependency(stage: str, tmp_path: Path) -> None:
    """After `attune upgrade` every stage runs."""
    write_repository(tmp_path, "champion" if stage == "report" else stage, knows=True)
    require_added(stage, tmp_path)

"""`dvc plots show` and `dvc plots diff` draw the csv files of metrics/plots as dvc.yaml defines, also two revisions."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from miniature import ROOT, dvc
from page_inputs import COMPARISONS, write_plots
from ruamel.yaml import YAML
from shipped_params import write_shipped

GAIN = "test,ndcg@10,8,0.5,0.625,0.125,-0.1,0.3,0.2,0.9,5,2,1,0.4"


def defined() -> dict[str, dict[str, Any]]:
    """The plots of dvc.yaml by name."""
    plots = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["plots"]
    return {name: given for plot in plots for name, given in plot.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A git repository with dvc.yaml and the csv files, one of which is changed after the commit."""
    import git

    write_shipped(tmp_path)
    for name in ("dvc.yaml", "libraries.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / ".dvc/plots", tmp_path / ".dvc/plots")
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n")
    write_plots(tmp_path)
    repo = git.Repo.init(tmp_path)
    repo.git.add("--all", "--force")
    repo.git.execute(["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "before"])
    (tmp_path / "metrics/plots/comparisons.csv").write_text(f"{COMPARISONS}\n{GAIN}\n")
    return tmp_path


def test_every_csv_file_has_a_plot_with_a_title() -> None:
    """Each csv file of the first round is drawn; titles are words, not paths."""
    files = {file for given in defined().values() for file in given["y"]}
    names = ("training", "merge", "rates", "comparisons", "slices", "choices", "labels")
    assert files == {f"metrics/plots/{name}.csv" for name in names}
    assert all("/" not in given["title"] and given["template"] for given in defined().values())


def test_a_diff_shows_both_revisions_with_their_intervals(folder: Path) -> None:
    """Works for files that only git keeps, in a clone without a DVC cache."""
    name = "gain by measure"
    spec = json.loads(dvc(folder, "plots", "diff", "HEAD", "--show-vega", "--targets", name).stdout)
    assert spec["title"]["text"] == defined()[name]["title"]
    rows = spec["data"]["values"]
    assert {row["rev"] for row in rows} == {"HEAD", "workspace"}
    assert [row["low"] for row in rows if row["rev"] == "workspace"] == ["-0.1"]
    assert "<DVC_METRIC" not in json.dumps(spec)


def test_all_plots_are_drawn(folder: Path) -> None:
    """`dvc plots show` writes one page with the title of each plot."""
    dvc(folder, "plots", "show", "--out", "plots")
    page = (folder / "plots/index.html").read_text()
    assert all(f'"{given["title"]}"' in page for given in defined().values())

"""Makes a repository of a user's own: data, parameters that fit them, the pipeline, a first commit (`attune new`)."""

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attune.cli.base.command import base
from attune.cli.check.languages import stem_facts
from attune.cli.check.profile import profile
from attune.cli.check.source import source_params
from attune.cli.repository.interface import Made, Setting
from attune.cli.repository.pipeline import command_metrics, judgments, outputs, pipeline_text
from attune.cli.repository.product import product_text, template
from attune.cli.repository.product_stages import LIBRARIES
from attune.cli.repository.programs import commit, dvc, dvc_root, git, is_in_git
from attune.cli.repository.settings import set_values
from attune.cli.repository.versions import installed_from, versions_text
from attune.errors import BadInput
from attune.evaluation.checks.data import main_languages
from attune.files import discard, partial, writing
from attune.stage import PARAMS_FILE, all_params, load_params
from attune.stages.collect import CollectParams

OWN = Path("data/own")
DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n    autostage = false\n"
# file of the repository -> template
AS_THEY_ARE = {".dvcignore": "dvcignore", "AGENTS.md": "AGENTS.md", "tests/test_data.py": "test_data.py"}
WORKFLOWS = {".github/workflows/attune.yml": "github.yml", ".gitlab-ci.yml": "gitlab-ci.yml"}  # read at a root only


def new(folder: Path, data: Path | None, columns: Sequence[str], source: str, model: str, revision: str) -> Made:
    """Makes a repository with data in DVC and a first commit in git.

    Args:
        folder: must not exist, or be empty. Inside a git repository it becomes a part of that, and of its DVC
            repository if there is one; workflows are then that repository's matter.
        data: file or folder that is copied to data/own; None keeps the default data.
        columns: names of columns, such as "query=question".
        source: kind of data; "" guesses it.
        model: folder or name of the encoder to tune; "" keeps the default one.
        revision: of the encoder on the hub.

    Raises:
        BadInput: the folder is taken, the data or the encoder cannot be used, or git or DVC fails; nothing is left.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is not empty; name a folder that does not exist")
    if data is not None and not data.exists():
        raise BadInput(f"{data}: not found; check the path")
    if data is not None and folder.is_relative_to(data.resolve()):
        raise BadInput(f"{folder}: lies inside the data, {data}; name a folder elsewhere")
    scratch, was_there = partial(folder), folder.exists()
    try:
        with writing(scratch):
            discard(scratch)
            (scratch / OWN).mkdir(parents=True)
            owned = [_copied(path, scratch / OWN).name for path in (data, _local(model)) if path]
            _write_parameters(scratch, folder.name)
            encoder, next_step = (
                _inside(model),
                _next_step(folder),
            )  # before the folder changes, from which the path of a model may start
            with contextlib.chdir(scratch):
                made = _fill_in(folder, next_step, OWN / owned[0] if data else None, columns, source, encoder, revision)
            _write_files(scratch, folder.name, OWN / owned[0] if data else None)
            folder.mkdir(parents=True, exist_ok=True)
            for path in scratch.iterdir():
                path.replace(folder / path.name)
            _into_git(folder, [OWN / name for name in owned])
    except BaseException:
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            discard(path)
        if folder.is_dir() and not was_there:
            folder.rmdir()
        raise
    finally:
        discard(scratch)
    return made


def _next_step(folder: Path) -> str:
    """Returns the command that runs the pipeline, from the folder in which the user is."""
    place = os.path.relpath(folder)
    return "make repro" if place == "." else f"cd {shlex.quote(place)} && make repro"


def _local(model: str) -> Path | None:
    return Path(model) if model and Path(model).is_dir() else None


def _inside(model: str) -> str:
    """Returns an encoder's folder by its place in the repository, a hub's name as it is."""
    own = _local(model)
    return str(OWN / own.resolve().name) if own else model


def _copied(path: Path, folder: Path) -> Path:
    target = folder / path.resolve().name
    if target.exists():
        raise BadInput(f"{path}: data and encoder have one name, {target.name}; rename one of them")
    if path.is_dir():
        shutil.copytree(path, target, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(path, target)
    return target


def _write_parameters(folder: Path, name: str) -> None:
    for file in ("params.yaml", "advanced.yaml", "constraints.txt"):
        (folder / file).write_text(product_text(file), encoding="utf-8")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:96]
    # what was renamed in attune's own history is no history of this repository
    set_values(folder, {"release": {"name": name or "encoder"}, "gate": {"retired": []}})


def _fill_in(
    folder: Path, next_step: str, path: Path | None, columns: Sequence[str], source: str, model: str, revision: str
) -> Made:
    """Sets the parameters of this folder by what `attune check` finds; returns what it found and set for the other."""
    about, encoder = "", base(model, revision, True) if model else None
    settings: list[Setting] = []
    advice: dict[str, str] = {}
    if path is not None:
        _set_source(path, columns, source)
        facts = profile(load_params(CollectParams, "collect"))
        if _failed(facts, "ATT031"):
            set_values(Path(), {"split": {"by": "query"}})
            by_query = profile(load_params(CollectParams, "collect"))
            if _failed(by_query, "ATT031"):
                set_values(Path(), {"split": {"by": "cluster"}})
            else:
                settings.append(Setting("split.by", "query", _sentence(facts, "ATT031")))
                facts = by_query
        if _failed(facts, "ATT039"):
            settings.append(Setting("split.leave_out_own_text", True, _sentence(facts, "ATT039")))
        if limit := facts["training"].get("suggested_max_pairs_per_query"):
            settings.append(Setting("train.max_pairs_per_query", limit, _sentence(facts, "ATT040")))
        if is_elsewhere := _in_other_languages(facts):
            settings.append(Setting("release.languages", is_elsewhere, _sentence(facts, "ATT048")))
        for each in settings:
            section, _, key = each.key.partition(".")
            set_values(Path(), {section: {key: each.value}})
        about, advice = _told(facts), _advice(facts, {each.reason for each in settings})
    named = f"{encoder.model}, from {encoder.place}" if encoder else ""
    return Made(str(folder), about, named, settings, advice, next_step)


def _set_source(path: Path, columns: Sequence[str], source: str) -> None:
    before = load_params(CollectParams, "collect")
    params, _ = source_params(path, source, columns)
    names = params.columns.model_dump()
    changed = {key: name for key, name in names.items() if name != getattr(before.columns, key)}
    set_values(Path(), {"collect": {"source": params.source, "path": str(path), "columns": changed}})


def _sentence(facts: dict[str, Any], code: str) -> str:
    return str(facts["checks"][code]["sentence"])


def _failed(facts: dict[str, Any], code: str) -> bool:
    return code in facts["checks"] and facts["checks"][code]["status"] == "failed"


def _in_other_languages(facts: dict[str, Any]) -> list[str]:
    """Returns the main languages of the data, if none of them is among release.languages; else none."""
    main, declared = main_languages(facts["languages"]), all_params(PARAMS_FILE)["release"]["languages"]
    return main if stem_facts(main, declared, "")["undeclared"] == main else []


def _told(facts: dict[str, Any]) -> str:
    data, split = facts["data"], facts["split"]
    queries = ", ".join(f"{split[f'n_{name}_queries']:,} {name}" for name in ("train", "dev", "test"))
    return (
        f"{data['n_queries']:,} queries, {data['n_documents']:,} documents; split.by: {split['by']} gives {queries} "
        f"queries; base.max_length: auto takes {facts['lengths']['auto_length']} tokens"
    )


def _advice(facts: dict[str, Any], reasons: set[str]) -> dict[str, str]:
    """Returns the sentences of the checks that failed, by code, without those that are the reason of a setting."""
    return {
        code: f"{row['title']}: {row['sentence']}"
        for code, row in facts["checks"].items()
        if row["status"] == "failed" and row["sentence"] not in reasons
    }


def _write_files(folder: Path, name: str, data: Path | None) -> None:
    params = all_params(folder / "params.yaml")
    pipeline = pipeline_text(params)
    ignored = "".join(f"/{path}\n" for path in outputs(pipeline))
    workflows = {} if is_in_git(folder.parent) else WORKFLOWS
    added = f"Put rows into `{data}`, `dvc add {data}`, `make repro`. " if data else ""
    files = {
        "dvc.yaml": pipeline,
        LIBRARIES: versions_text(pipeline),
        ".gitignore": template("gitignore") + ignored,
        **({} if dvc_root(folder.parent) else {".dvc/config": DVC_CONFIG}),
        **dict.fromkeys(command_metrics(pipeline), "{}\n"),
        **judgments(params),
        "Makefile": template("Makefile").replace(" {source}", f" {source}" if (source := installed_from()) else ""),
        "README.md": template("README.md").replace("{name}", name).replace("{data}", added),
        **{target: template(source) for target, source in {**AS_THEY_ARE, **workflows}.items()},
    }
    if data is None:
        files["data/own/README.md"] = (
            "# Own data\n\n`dvc add` a file here, and name it in `params.yaml`, section `collect`.\n"
        )
    for path, text in files.items():
        if (folder / path).exists():
            raise BadInput(f"{path}: your data would lie where attune writes a file of its own; rename the data")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _into_git(folder: Path, owned: Sequence[Path]) -> None:
    """Puts data into DVC and all else into git, in a repository of its own unless the folder lies in one."""
    if not is_in_git(folder):
        git(folder, "init", "-q", "-b", "main")
    for path in owned:
        dvc(folder, "add", str(path))
    commit(folder, "A pipeline of attune with its data and parameters")

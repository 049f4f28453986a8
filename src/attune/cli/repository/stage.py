"""Runs a stage of the installed package in a user's repository, if its code is the one that the repository tracks.

    python -m attune.cli.repository.stage NAME[@INSTANCE] [OPTIONS THAT DVC FILLS IN]

The options that only name the stage's files are added. Stage `general` stands for no file of stages/: it copies the
package's general text, so that DVC keeps it as data.
"""

import runpy
import shutil
import sys
from pathlib import Path

from attune.cli.repository.closure import stage_file
from attune.cli.repository.pipeline import require_added
from attune.cli.repository.product import GENERAL, product_file
from attune.cli.repository.product_stages import all_options
from attune.cli.repository.versions import require_recorded
from attune.errors import BadInput
from attune.files import discard, partial, writing
from attune.stage import EXPECTED, fail


def general(out: Path) -> None:
    """Copies the general text of the package to a folder, whole or not at all."""
    try:
        with writing(partial(out)):
            discard(partial(out))
            partial(out).mkdir(parents=True)
            for file in sorted(product_file(GENERAL).glob("*.jsonl")):
                shutil.copyfile(file, partial(out) / file.name)
        discard(out)
        partial(out).replace(out)
    finally:
        discard(partial(out))


def main() -> None:
    """Runs the stage that the first argument names, with the other arguments and the package's."""
    stage, *given = sys.argv[1:] or [""]
    name, _, instance = stage.partition("@")
    try:
        if name != "general" and not stage_file(name).is_file():
            raise BadInput(f"got {name!r}, expected the name of a stage; run: attune upgrade")
        require_recorded(name, Path())
        if name == "general":
            general(Path(GENERAL))
            return
        require_added(name, Path())
        arguments = all_options(name.rpartition(".")[2], instance, given)
    except EXPECTED as error:
        fail(name, error)
    sys.argv[1:] = arguments
    runpy.run_module(f"attune.{name if '.' in name else f'stages.{name}'}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""The panel as attune ships it: what tests of the product read, whatever params.yaml of this checkout says by now.

`shipped_params.yaml` holds the values of params.yaml; keys of advanced.yaml are those of this checkout. As a program,
writes that file anew, after the panel's defaults have changed.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import miniature
from ruamel.yaml import YAML

VALUES = Path(__file__).with_suffix(".yaml")
_FOLDER = TemporaryDirectory(prefix="attune-params-")  # removed with this object, at the end of the process
PANEL = Path(_FOLDER.name) / "params.yaml"  # advanced.yaml stands beside it


def write_shipped(folder: Path) -> None:
    """Writes both parameter files with the panel's values as they are shipped."""
    miniature.write_params(folder, YAML(typ="safe").load(VALUES.read_text(encoding="utf-8")))


write_shipped(PANEL.parent)


def main() -> None:
    """Takes the values of this checkout's params.yaml over."""
    yaml = YAML()
    yaml.default_flow_style = False
    head = "# Values of params.yaml as attune ships them; written by: python tests/shipped_params.py\n"
    shutil.copyfile(miniature.ROOT / "params.yaml", PANEL)
    with VALUES.open("w", encoding="utf-8") as file:
        file.write(head)
        yaml.dump(YAML(typ="safe").load(PANEL.read_text(encoding="utf-8")), file)


if __name__ == "__main__":
    main()

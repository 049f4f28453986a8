"""Private names of other libraries: all uses stand in one list, and a library that changes one is noticed here."""

import ast
import inspect
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.modules.transformer import Transformer

SOURCE = Path(__file__).resolve().parents[2] / "src" / "attune"
NAMED_TUPLE = {"_fields", "_replace", "_asdict"}  # public in spite of the underscore
STANDARD = {"_exit"}  # os._exit is documented

# name -> the object that has it, its parameters, and the reason for its use
USES = {
    "_flatten_position_offset": (Transformer, None, "packing must use the position offset that the library infers"),
    "_infer_flatten_position_offset": (Transformer, ["self"], "as above, before the library has done so"),
}
# likewise, of private methods that a class of ours overrides
OVERRIDDEN = {
    "_load_from_checkpoint": (
        SentenceTransformerTrainer,
        ["self", "checkpoint_path"],
        "the trainer cannot load a checkpoint with adapters",
    ),
    "_save": (
        SentenceTransformerTrainer,
        ["self", "output_dir", "state_dict"],
        "the trainer saves weights under names that an encoder with adapters cannot read back",
    ),
}


def private_names(file: Path) -> set[str]:
    """Returns the private attributes and modules of others that a file uses."""
    tree = ast.parse(file.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    paths = {alias.name for node in imports for alias in node.names}
    paths |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    imported = {part for path in paths for part in path.split(".")}
    names = {name for name in attributes | imported if name.startswith("_") and not name.startswith("__")}
    return names - own - NAMED_TUPLE - STANDARD


def is_self(node: ast.expr) -> bool:
    """Tells whether an expression is the object or class that a method belongs to."""
    is_super = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    return is_super or (isinstance(node, ast.Name) and node.id in ("self", "cls"))


def test_every_private_name_is_in_the_list() -> None:
    """No file uses a private name of another library that is not listed with its reason, and the list is no longer."""
    assert set().union(*map(private_names, SOURCE.rglob("*.py"))) == set(USES)


def test_the_scan_can_fail(tmp_path: Path) -> None:
    """Private attributes and modules are found; own ones, tuples' fields and dunders are not."""
    file = tmp_path / "one.py"
    imports = "from library._inner import x\nfrom library import _y\nimport library._z\n"
    file.write_text(f"{imports}class A:\n    def _f(self):\n        return self._g, x._h, x._f, x._fields\n")
    assert private_names(file) == {"_inner", "_y", "_z", "_h"}


@pytest.mark.parametrize("name", [*USES, *OVERRIDDEN])
def test_the_library_still_has_the_name(name: str) -> None:
    """The object exists, and takes the parameters that we give it."""
    owner, parameters, _ = (USES | OVERRIDDEN)[name]
    if parameters is None:
        assert name in inspect.getsource(owner)
        return
    found = list(inspect.signature(getattr(owner, name)).parameters)
    assert found[: len(parameters)] == parameters

"""Top-level bindings of a Python module, read with `ast`: definitions, imports, instances and `__all__`."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Place = tuple[str, str]  # a module, and a name in it


@dataclass(frozen=True)
class ClassFacts:
    """Bases, accessors and size of a class, which decide the public names of its methods."""

    bases: list[str]
    accessors: list[tuple[str, str]]
    n_statements: int


@dataclass
class Module:
    """A module's bindings; `exported` is `__all__`, or None where there is none or it is computed at run time."""

    name: str
    is_package: bool
    defined: dict[str, ClassFacts | None] = field(default_factory=dict)
    aliases: dict[str, Place] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    exported: list[str] | None = None


def read_module(name: str, is_package: bool, tree: ast.Module) -> Module:
    """Reads the bindings of a parsed module, those under `if` and `try` included."""
    module = Module(name, is_package)
    for node in _statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            module.defined[node.name] = None
        elif isinstance(node, ast.ClassDef):
            module.defined[node.name] = _class_facts(node)
        elif isinstance(node, ast.ImportFrom):
            _read_import(module, node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            _read_assignment(module, node.targets[0].id, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == "__all__":
            module.exported = None
    return module


def _statements(parent: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node)
        else:
            yield node


def _class_facts(node: ast.ClassDef) -> ClassFacts:
    bases = [_dotted(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
    return ClassFacts([base for base in bases if base], list(_accessors(node)), len(node.body))


def _accessors(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yields attribute and argument of assigned calls in a class's body: `str = Accessor("str", StringMethods)`."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            for target in statement.targets:
                for argument in statement.value.args:
                    if isinstance(target, ast.Name) and _dotted(argument):
                        yield target.id, _dotted(argument)


def _dotted(node: ast.expr) -> str:
    """Returns `a.b.c` for a name or an attribute of one, "" for anything else."""
    if isinstance(node, ast.Attribute):
        value = _dotted(node.value)
        return f"{value}.{node.attr}" if value else ""
    return node.id if isinstance(node, ast.Name) else ""


def _read_import(module: Module, node: ast.ImportFrom) -> None:
    source = node.module or ""
    if node.level:
        parts = module.name.split(".")
        above = parts[: len(parts) - node.level + module.is_package]
        source = ".".join([*above, *([source] if source else [])])
    for alias in node.names:
        if alias.name == "*":
            module.stars.append(source)
        else:
            module.aliases[alias.asname or alias.name] = (source, alias.name)


def _read_assignment(module: Module, name: str, value: ast.expr) -> None:
    if name == "__all__":
        try:
            module.exported = [str(item) for item in ast.literal_eval(value)]
        except (ValueError, TypeError):
            module.exported = None
    elif isinstance(value, ast.Name):
        module.aliases[name] = (module.name, value.id)
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        module.instances[name] = value.func.id

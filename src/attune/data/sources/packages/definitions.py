"""Documented functions, methods and classes of a Python source text.

Texts are cut out of the source and not written by `ast.unparse`, whose output differs between Python versions.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from attune.data.sources.packages.sentences import sentences

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """A function, a method, or a class with its constructor.

    Attributes:
        qualname: its name within the module, such as `Frame.head`.
        node: of the syntax tree.
        docstring: as it stands between the quotes.
        sentences: of the docstring, before its first section.
        text: source without any docstring.
        docstring_at: number of lines of the text that stand above the docstring.
    """

    qualname: str
    node: Function | ast.ClassDef
    docstring: str
    sentences: list[str]
    text: str
    docstring_at: int


def definitions(tree: ast.Module, source: str) -> Iterator[Definition]:
    """Yields all documented definitions in the order of their lines, except those inside functions."""
    lines = source.encode().splitlines(keepends=True)
    for qualname, node in _walk(tree, ""):
        docstring = ast.get_docstring(node, clean=False)
        if docstring is not None:
            yield Definition(qualname, node, docstring, sentences(docstring), *_text(node, lines))


def _walk(parent: ast.AST, prefix: str) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from _walk(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _walk(node, prefix)


def _text(node: Function | ast.ClassDef, lines: list[bytes]) -> tuple[str, int]:
    """Returns a function's source, or a class's head and constructor; all of the class where it has no constructor.

    The second value is the number of its lines above the docstring.
    """
    assert node.end_lineno is not None
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, Function) and inner.name == "__init__":
                assert inner.end_lineno is not None
                head, constructor = range(node.lineno, node.body[0].lineno), range(inner.lineno, inner.end_lineno + 1)
                return _source(node, lines, [*head, *constructor])
    return _source(node, lines, [*range(node.lineno, node.end_lineno + 1)])


def _source(node: Function | ast.ClassDef, lines: list[bytes], numbers: list[int]) -> tuple[str, int]:
    """Returns lines of a node without docstrings, blank lines and the node's own indentation; how many stand above."""
    kept = {number: lines[number - 1] for number in numbers}
    for inner in ast.walk(node):
        if isinstance(inner, Function | ast.ClassDef) and ast.get_docstring(inner, clean=False) is not None:
            _cut(inner.body[0], kept)
    indent = node.col_offset
    kept = {number: line for number, line in kept.items() if line.strip()}
    texts = (line if line[:indent].strip() else line[indent:] for line in kept.values())
    n_above = sum(number <= node.body[0].lineno for number in kept)
    return b"".join(texts).decode().rstrip(), n_above


def _cut(docstring: ast.stmt, kept: dict[int, bytes]) -> None:
    assert docstring.end_lineno is not None and docstring.end_col_offset is not None
    first, last = docstring.lineno, docstring.end_lineno
    if first not in kept or last not in kept:
        return
    before, after = kept[first][: docstring.col_offset], kept[last][docstring.end_col_offset :]
    kept.update(dict.fromkeys(range(first, last + 1), b""))
    kept[first] = before + after.lstrip(b"; \t")

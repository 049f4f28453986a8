"""Filters: reasons to drop a definition as a document, and a sentence of its docstring as a query."""

import ast
import re
from collections.abc import Iterable

from attune.data.sources.packages.definitions import Definition
from attune.data.sources.packages.sentences import is_deprecated
from attune.retrieval.words import WORD

# stop words: they do not count when a query must say more than the name of its document
_EMPTY_WORDS = re.compile(
    r"an?|and|any|are|as|at|be|by|can|class|computes?|for|from|function|gets?|given|if|in|into|is|its?|new|object|of|on|one"
    r"|or|returns?|sets?|some|that|the|this|to|used?|using|values?|when|which|with"
)
_REFERS_ELSEWHERE = re.compile(
    r"(please )?(see|refer to|consult|same as|alias (for|of|to)|equivalent to|identical to|deprecated|inherited)\b"
    r"|\S+ is an? (deprecated )?alias\b|\(?this docstring\b|[^(]*\(deprecated|overrid\w+\b|(internal|private)\b"
    r"|stub\b|returns? self$|not implemented",
    re.IGNORECASE,
)
_LEANS_ON_CONTEXT = re.compile(
    r"((an? )?(abstract )?(base|mixin|helper)|please|read more|like|similar|it|they|these|those|we|here|notes?|warning"
    r"|examples?|extra|additional|based on|proceeds|for (example|instance)|but|and|so|then|however|therefore|otherwise"
    r"|also|\w+ version of)\b",
    re.IGNORECASE,
)
# allowed in a docstring's first sentence, but in a later one they continue the first
_FOLLOWS_UP = re.compile(
    r"(this (is|algorithm)|the (word|documentation|following)|first|only|as|if|while|when|can|some|any|each|typical\w*"
    r"|in (the|order)|check|unlike|specifically|implementations|subclasses)\b",
    re.IGNORECASE,
)
_DANGLES = re.compile(
    r"\b(an?|and|as|at|by|for|from|in|is|are|of|on|or|that|the|to|via|with|following|such)$", re.IGNORECASE
)
_MARKUP_LEFT = re.compile(r"^\w+ : |%\(|%[sd]\b|\{\w*\}|\\|`|>>>|::|://")


def definition_flaw(definition: Definition) -> str | None:
    """Returns a reason to drop the definition as a document, or None."""
    # a top-level definition is private by its public name; a member of a class only by its own name
    if any(name.startswith("_") for name in definition.qualname.split(".")[1:]):
        return "private"
    if not definition.sentences:
        return "no_sentence"
    decorators = {_last_name(decorator) for decorator in definition.node.decorator_list}
    if decorators & {"overload", "setter", "deleter", "abstractmethod", "abstractproperty"}:
        return "abstract_or_setter"
    if decorators & {"deprecated", "deprecate"} or is_deprecated(definition.docstring):
        return "deprecated"
    if _REFERS_ELSEWHERE.match(definition.sentences[0]):
        return "refers_elsewhere"
    return "trivial_body" if _is_trivial(definition.node) else None


def _last_name(decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    if isinstance(decorator, ast.Attribute):
        return decorator.attr
    return decorator.id if isinstance(decorator, ast.Name) else ""


def _is_trivial(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """True for exceptions, for bodies that only raise, and for getters that only check and return an attribute."""
    body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    if all(isinstance(statement, ast.Pass | ast.Raise) or _returns(statement, "NotImplemented") for statement in body):
        return True
    if isinstance(node, ast.ClassDef):
        return node.name.endswith(("Error", "Exception", "Warning"))
    body = [statement for statement in body if not _checks(statement)]
    if len(body) != 1 or not isinstance(body[0], ast.Return):
        return False
    value = body[0].value
    while isinstance(value, ast.Attribute):
        value = value.value
    n_parameters = len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
    return value is None or (n_parameters <= 1 and isinstance(value, ast.Name | ast.Constant))


def _checks(statement: ast.stmt) -> bool:
    """True for an assertion, or a call whose result is not used, such as check_is_fitted(self)."""
    return isinstance(statement, ast.Assert) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    )


def _returns(statement: ast.stmt, name: str) -> bool:
    value = statement.value if isinstance(statement, ast.Return) else None
    return isinstance(value, ast.Name) and value.id == name


def sentence_flaw(sentence: str, name: str, is_first: bool, min_words: int, max_words: int) -> str | None:
    """Returns a reason to drop a sentence as the query for the definition of this name, or None.

    Args:
        sentence: of the definition's docstring.
        name: of the definition.
        is_first: whether it is the docstring's first sentence.
        min_words: fewest words of a query.
        max_words: most words of a query.
    """
    words = WORD.findall(sentence)
    flaws = {
        "markup": _MARKUP_LEFT.search(sentence),
        "short": len(words) < min_words,
        "long": len(words) > max_words,
        "incomplete": _is_incomplete(sentence, is_first),
        "gives_name": content_words([sentence]) <= content_words([name]) or (_is_code(name) and name in words),
    }
    return next((flaw for flaw, applies in flaws.items() if applies), None)


def _is_incomplete(sentence: str, is_first: bool) -> bool:
    starts = [_REFERS_ELSEWHERE, _LEANS_ON_CONTEXT] if is_first else [_REFERS_ELSEWHERE, _LEANS_ON_CONTEXT, _FOLLOWS_UP]
    return any(start.match(sentence) for start in starts) or _DANGLES.search(sentence) is not None


def _is_code(name: str) -> bool:
    """Tells whether a name cannot be a plain word: `count_nonzero` or `KMeans`, not `merge`."""
    return "_" in name or re.search(r"[a-z][A-Z]", name) is not None


def content_words(texts: Iterable[str]) -> set[str]:
    """Returns the words of texts or names (`KMeans`, `k_means`), stop words left out, lower-case, without plural s."""
    words = (w.lower() for text in texts for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+", text))
    return {_singular(w) for w in words if len(w) > 1 and not _EMPTY_WORDS.fullmatch(w)}


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word

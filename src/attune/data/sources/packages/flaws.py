"""Why a documented definition is no good answer, and why a sentence of its docstring is no good query."""

import ast
import re
from collections.abc import Iterable

from attune.data.sources.packages.definitions import Definition
from attune.data.sources.packages.sentences import is_deprecated

# They do not count when a query is asked to say more than a name.
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
# Good as a docstring's first sentence, but as a later one it goes on about the first.
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
    """A reason not to offer the definition as a document, or None."""
    # of a private class or function, what it is offered as tells; what is in a class is only known by its own name
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
    """Nothing but a refusal, an exception, or a getter: no parameter but self, checks, and an attribute returned."""
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
    """An assertion, or a call whose result nobody takes, such as check_is_fitted(self)."""
    return isinstance(statement, ast.Assert) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    )


def _returns(statement: ast.stmt, name: str) -> bool:
    value = statement.value if isinstance(statement, ast.Return) else None
    return isinstance(value, ast.Name) and value.id == name


def sentence_flaw(sentence: str, name: str, is_first: bool, min_words: int, max_words: int) -> str | None:
    """A reason not to ask this sentence, of its docstring the first or a later one, for the definition of this name."""
    words = re.findall(r"\w+", sentence)
    flaws = {
        "markup": _MARKUP_LEFT.search(sentence),
        "short": len(words) < min_words,
        "long": len(words) > max_words,
        "incomplete": _is_incomplete(sentence, is_first),
        "gives_name": content_words([sentence]) <= content_words([name]) or (_is_code(name) and name in words),
    }
    return next((flaw for flaw, found in flaws.items() if found), None)


def _is_incomplete(sentence: str, is_first: bool) -> bool:
    starts = [_REFERS_ELSEWHERE, _LEANS_ON_CONTEXT] if is_first else [_REFERS_ELSEWHERE, _LEANS_ON_CONTEXT, _FOLLOWS_UP]
    return any(start.match(sentence) for start in starts) or _DANGLES.search(sentence) is not None


def _is_code(name: str) -> bool:
    """Whether a name could not be a plain word: `count_nonzero` or `KMeans`, not `merge`."""
    return "_" in name or re.search(r"[a-z][A-Z]", name) is not None


def content_words(texts: Iterable[str]) -> set[str]:
    """The words of texts or names (`KMeans`, `k_means`) that say something, in lower case and without plural s."""
    words = (w.lower() for text in texts for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+", text))
    return {_singular(w) for w in words if len(w) > 1 and not _EMPTY_WORDS.fullmatch(w)}


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word

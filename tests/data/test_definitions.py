"""Reading a package's sources: sentences, source texts, flaws and public names."""

import ast
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.data.sources.packages.definitions import Definition, definitions
from attune.data.sources.packages.flaws import content_words, definition_flaw, sentence_flaw
from attune.data.sources.packages.modules import read_module
from attune.data.sources.packages.public_names import PublicNames
from attune.data.sources.packages.sentences import sentences


def read(source: str) -> list[Definition]:
    return list(definitions(ast.parse(dedent(source)), dedent(source)))


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Stack arrays in sequence depth wise. More of it.", ["Stack arrays in sequence depth wise", "More of it"]),
        ("\n    Stack arrays\n    depth wise.\n\n    Second.\n", ["Stack arrays depth wise", "Second"]),
        ("Round half up, e.g. Bankers do not. End.", ["Round half up, e.g. Bankers do not", "End"]),
        ("Uses O. Ledoit's formula. End.", ["Uses O. Ledoit's formula", "End"]),
        ("Compute version 1.5 of it.", ["Compute version 1.5 of it"]),
        ("arange(start, stop)\n\nReturn evenly spaced values.", ["Return evenly spaced values"]),
        ("join(\n    a,\n    b=(1, 2),\n)\n--\n\nJoin a with b.", ["Join a with b"]),
        ("get(key) -> value\nget(key, d) -> value\n\nLook it up.", ["Look it up"]),
        ("f(x) is evaluated at x.", ["f(x) is evaluated at x"]),
        ("f(x is never closed.", ["f(x is never closed"]),
        ("The :func:`~a.b.mean` of ``x`` or `y`, :term:`text <target>`.", ["The mean of x or y, text"]),
        ("A **bold** and *thin* x * y * z of `a link <http://x>`_ [1]_.", ["A bold and thin x * y * z of a link"]),
        ("Group $G$ of order $k$.", ["Group G of order k"]),
        ("Views of a graph; see Graph for details.", ["Views of a graph"]),
        ("Output for input U (see lsim).", ["Output for input U"]),
        ("Fit it.\n\nParameters\n----------\nx : array. All of it.", ["Fit it"]),
        ("Join:\n    - one\n    - two", ["Join"]),
        (">>> f(1)\n2", []),
        (".. deprecated:: 1.0\n   Use g.", []),
        (":param x: what to do", []),
        ("   ", []),
    ],
)
def test_a_docstring_is_read_as_plain_sentences(docstring: str, expected: list[str]) -> None:
    """Without markup, signatures, lists, code and references to elsewhere."""
    assert sentences(docstring) == expected


@given(st.text(alphabet=st.sampled_from("aZ .(),:;`*_$[]<>-=~\\%\n\t>'\"1ü\u2028"), max_size=80))
def test_any_docstring_gives_clean_lines(docstring: str) -> None:
    """Sentences of any text are stripped, on one line, and without a full stop."""
    for sentence in sentences(docstring):
        assert sentence == sentence.strip() != ""
        assert "\n" not in sentence and "\t" not in sentence and not sentence.endswith(".")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            '@cache\ndef f(x):\n    """Doc.\n\n    More.\n    """\n\n    # why\n    return x\n',
            "def f(x):\n    # why\n    return x",
        ),
        ("def f(x): 'Doc.'; return x + 1\n", "def f(x): return x + 1"),
        (
            'def f(x):\n    "Doc " "in two"\n    def g():\n        """Inner."""\n        return x\n    return g\n',
            "def f(x):\n    def g():\n        return x\n    return g",
        ),
        ('if 1:\n    def f(x):\n        """Grüße."""; return "ü"\n', 'def f(x):\n    return "ü"'),
        (
            'class A:\n    def f(self):\n        """Doc."""\n        return """\nraw\n"""\n',
            'def f(self):\n    return """\nraw\n"""',
        ),
        (
            'class A(\n    B,\n):\n    """Doc."""\n    def __init__(self):\n        """Do."""\n        self.x = 1\n',
            "class A(\n    B,\n):\n    def __init__(self):\n        self.x = 1",
        ),
        (
            'class A(B):\n    """Doc."""\n    k = 1\n    def g(self):\n        "Doc."\n        return 1\n',
            "class A(B):\n    k = 1\n    def g(self):\n        return 1",
        ),
    ],
)
def test_a_text_is_the_source_without_decorators_and_docstrings(source: str, text: str) -> None:
    """Blank lines are removed too; a class is its head and constructor."""
    name = "A" if source.startswith("class A(") else "f"
    assert next(d.text for d in read(source) if d.qualname.endswith(name)) == text


@given(st.text(max_size=60), st.sampled_from(["", "class A:\n    ", "if True:\n    class A:\n        "]))
def test_any_docstring_is_cut_out_exactly(docstring: str, head: str) -> None:
    """Whatever it holds, the rest of the source is unchanged, also behind non-ASCII characters."""
    indent = " " * (len(head) - len(head.rstrip(" ")))
    source = f"{head}def f(self, ü):\n{indent}    {docstring!r}\n{indent}    return ü + 1\n"
    (found,) = definitions(ast.parse(source), source)
    assert found.docstring == docstring
    assert found.text == "def f(self, ü):\n    return ü + 1"


@pytest.mark.parametrize(
    ("source", "flaw"),
    [
        ('def f(x):\n    """Add one."""\n    return x + 1', None),
        ('def where(a, b):\n    """Choose one."""\n    return (a, b)', None),
        ('class A:\n    def _f(self, x):\n        """Add one."""\n        return x + 1', "private"),
        (
            'class A:\n    class _B:\n        def f(self, x):\n            """Add."""\n            return x + 1',
            "private",
        ),
        ('class _A:\n    def f(self, x):\n        """Add one."""\n        return x + 1', None),
        ('class A:\n    def __len__(self):\n        """Count all."""\n        return len(self.x)', "private"),
        ('def f(x):\n    """>>> f(1)"""\n    return x + 1', "no_sentence"),
        ('@overload\ndef f(x):\n    """Add one."""\n    return x + 1', "abstract_or_setter"),
        (
            'class A:\n    @abc.abstractmethod\n    def f(self):\n        """Add."""\n        return 1 + 1',
            "abstract_or_setter",
        ),
        (
            'class A:\n    @x.setter\n    def x(self, v):\n        """Set x."""\n        self._x = v + 1',
            "abstract_or_setter",
        ),
        ('@deprecated("no")\ndef f(x):\n    """Add one."""\n    return x + 1', "deprecated"),
        ('def f(x):\n    """Add one.\n\n    .. deprecated:: 2.0\n    """\n    return x + 1', "deprecated"),
        (
            'def f(x):\n    """Add.\n\n    Notes\n    -----\n    .. deprecated:: 2\n    """\n    return x + 1',
            None,
        ),
        ('def f(x):\n    """See numpy.f for details."""\n    return x + 1', "refers_elsewhere"),
        ('def f(x):\n    """Alias for g."""\n    return x + 1', "refers_elsewhere"),
        ('def f(x):\n    """A.f is an alias for A.g."""\n    return x + 1', "refers_elsewhere"),
        ('def f(x):\n    """Seek the root."""\n    return x + 1', None),
        ('def f(x):\n    """Add one."""\n    raise NotImplementedError', "trivial_body"),
        ('def f(x):\n    """Add one."""\n    return NotImplemented', "trivial_body"),
        ('def f(x):\n    """Add one."""', "trivial_body"),
        ('class A:\n    def f(self):\n        """The size of it."""\n        return self._n.size', "trivial_body"),
        (
            'class A:\n    def f(self):\n        """The size of it."""\n'
            "        check_is_fitted(self)\n        assert self._n\n        return self._n.size",
            "trivial_body",
        ),
        ('class A:\n    def f(self):\n        """Add one."""\n        self.n += 1\n        return self', None),
        ('class A:\n    def f(self):\n        """Count all."""\n        return self.g()', None),
        ('class AError(Exception):\n    """Raised on error."""\n    code = 1', "trivial_body"),
    ],
)
def test_definitions_without_content_are_dropped(source: str, flaw: str | None) -> None:
    """Private, abstract, deprecated, trivial or undescribed ones, each with its reason."""
    assert definition_flaw(read(source)[-1]) == flaw


@pytest.mark.parametrize(
    ("sentence", "name", "flaw"),
    [
        ("Stack arrays vertically", "vstack", None),
        ("Stack arrays", "vstack", "short"),
        ("word " * 41, "vstack", "long"),
        ("Fill %(klass)s with zeros", "fill", "markup"),
        ("The space of \\mathbb R", "space", "markup"),
        ("x : array of all values", "f", "markup"),
        ("Compute the condensation of the graph", "graph_condensation", "gives_name"),
        ("Decision tree classifier", "DecisionTreeClassifier", "gives_name"),
        ("The K-Means clustering", "KMeans", None),
        ("Call count_nonzero on all items", "count_nonzero", "gives_name"),
        ("Merge two frames into one", "merge", None),
        ("Read more in the guide", "f", "incomplete"),
        ("Base class for undirected graphs", "Graph", "incomplete"),
        ("Defined to be the solution of", "f", "incomplete"),
    ],
)
def test_sentences_that_make_no_query_are_dropped(sentence: str, name: str, flaw: str | None) -> None:
    """Short, long, incomplete, with markup or giving the name away, each with its reason."""
    assert sentence_flaw(sentence, name, True, 3, 40) == flaw


def test_a_later_sentence_must_not_continue_the_first() -> None:
    """A beginning that is good in a first sentence makes a later one incomplete."""
    sentence = "If arrays are empty, return zero"
    assert sentence_flaw(sentence, "f", True, 3, 40) is None
    assert sentence_flaw(sentence, "f", False, 3, 40) == "incomplete"


def test_words_of_names_and_of_sentences_are_comparable() -> None:
    """Camel case, underscores, plurals and stop words make no difference."""
    assert content_words(["KMeans", "k_means"]) == content_words(["Returns the means"]) == {"mean"}
    assert content_words(["HTTPServer2D"]) == {"http", "server"}
    assert content_words(["Fit the classes"]) == {"fit", "classe"}


def names(internal: tuple[str, ...] = (), **sources: str) -> PublicNames:
    """The public names of modules; `a__b` is module a.b, and a module with others below it is a package."""
    dotted = {name.replace("__", "."): source for name, source in sources.items()}
    packages = {name.rpartition(".")[0] for name in dotted}
    return PublicNames([read_module(n, n in packages, ast.parse(dedent(s))) for n, s in dotted.items()], internal)


def test_the_shortest_import_path_is_the_public_name() -> None:
    """Private modules and helpers have none."""
    found = names(
        p="from ._impl import *\nfrom . import sub",
        p___impl="from ._deep import far\n__all__ = ['near', 'far']\ndef near(): 0\ndef helper(): 0",
        p___deep="def far(): 0",
        p__sub="from p._deep import far as other\ndef own(): 0\ndef _own(): 0",
    )
    assert found.of("p._impl", "near") == "p.near"
    assert found.of("p._deep", "far") == "p.far"
    assert found.of("p.sub", "own") == "p.sub.own"
    assert found.of("p._impl", "helper") is None
    assert found.of("p.sub", "_own") is None


def test_all_or_a_facade_s_imports_make_names_public() -> None:
    """`__all__` limits a module; a module without definitions publishes its imports."""
    found = names(
        p="",
        p__listed="__all__ = ['f']\ndef f(): 0\ndef g(): 0",
        p__facade="from ._impl import h",
        p___impl="def h(): 0\ndef unseen(): 0",
    )
    assert found.of("p.listed", "f") == "p.listed.f"
    assert found.of("p.listed", "g") is None
    assert found.of("p._impl", "h") == "p.facade.h"
    assert found.of("p._impl", "unseen") is None


def test_names_of_a_computed_all_are_found_behind_the_star() -> None:
    """A star import may bind more names than the readable part of `__all__`."""
    found = names(
        p="from ._core import far",
        p___core="from ._numeric import *",
        p___numeric="from ._print import *\n__all__ = ['near']\nextend(__all__)\ndef near(): 0",
        p___print="def far(): 0",
    )
    assert found.of("p._print", "far") == "p.far"


def test_the_last_star_import_wins() -> None:
    """But a name that `__all__` lists wins over one that it may hide."""
    found = names(
        p="from ._a import *\nfrom ._b import *\nfrom ._c import *",
        p___a="def f(): 0",
        p___b="def f(): 0\ndef g(): 0",
        p___c="__all__ = []\ndef g(): 0",
    )
    assert (found.of("p._a", "f"), found.of("p._b", "f")) == (None, "p.f")
    assert (found.of("p._b", "g"), found.of("p._c", "g")) == ("p.g", None)


def test_an_all_that_grows_at_run_time_is_no_limit() -> None:
    """`__all__ += ...` is treated as if there were no `__all__`."""
    found = names(
        p="", p__a="from . import b\n__all__ = ['f']\n__all__ += b.more\ndef f(): 0\ndef g(): 0", p__b="x = 1"
    )
    assert found.of("p.a", "g") == "p.a.g"


def test_an_instance_names_its_class_and_its_methods() -> None:
    """`norm = norm_gen()`: norm_gen.pdf is p.norm.pdf."""
    found = names(p="from ._d import *", p___d="class norm_gen:\n    def pdf(self): 0\nnorm = norm_gen()")
    assert found.of("p._d", "norm_gen") == "p.norm"
    assert found.of("p._d", "norm_gen.pdf") == "p.norm.pdf"


def test_a_class_with_several_instances_has_none_of_their_names() -> None:
    """Nor has a function that creates them."""
    found = names(
        p="from ._d import *",
        p___d="class _Op: 0\nadd = _Op(1)\nmul = _Op(2)\ndef _make(f): 0\nwrapped = _make(add)",
    )
    assert (found.of("p._d", "_Op"), found.of("p._d", "_make")) == (None, None)


def test_inherited_methods_are_named_by_the_largest_public_subclass() -> None:
    """The private base class itself has no name."""
    found = names(
        p="from ._c import Large, Small",
        p___b="class Base:\n    def head(self): 0",
        p___c="from p import _b\nclass Small(_b.Base): 0\nclass Large(_b.Base[int]):\n    x = 1\n    y = 2",
    )
    assert found.of("p._b", "Base.head") == "p.Large.head"
    assert found.of("p._b", "Base") is None
    assert found.is_inherited("p._b", "Base.head") and not found.is_inherited("p._c", "Large.head")


def test_methods_of_an_accessor_are_named_by_the_attribute() -> None:
    """On the class with the most accessors."""
    found = names(
        p="from ._c import Few, Many",
        p___c="""
            class Text:
                def upper(self): 0
            class Few:
                text = Accessor("text", Text)
            class Many:
                number = Accessor("number", int)
                text = Accessor("text", Text)
        """,
    )
    assert found.of("p._c", "Text.upper") == "p.Many.text.upper"


def test_an_internal_module_has_no_public_names_of_its_own() -> None:
    """Its definitions are public only where another module imports them."""
    sources = {"p": "from .core.a import f", "p__core": "", "p__core__a": "def f(): 0\ndef g(): 0"}
    found = names(("p.core",), **sources)
    assert (found.of("p.core.a", "f"), found.of("p.core.a", "g")) == ("p.f", None)
    assert names(**sources).of("p.core.a", "g") == "p.core.a.g"


def test_circular_imports_resolve_to_nothing() -> None:
    """Resolution ends."""
    found = names(
        p="from .a import *\nfrom .a import x",
        p__a="from .b import *\nfrom .b import x",
        p__b="from .a import *\nx = x",
    )
    assert found.of("p.b", "x") is None

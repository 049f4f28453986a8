"""Other forms of documents: what of a docstring stays in a function's source, and what is cut."""

import ast
from inspect import cleandoc
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.data.sources.packages.definitions import Definition, definitions
from attune.data.sources.packages.forms import form, without_see_also, without_sentences
from attune.data.sources.packages.mentions import see_also
from attune.data.sources.packages.sentences import sentences

SOURCE = '''
class Mean:
    """Average
    of numbers. Ignores ``None``.

    See Also
    --------
    add : Sum of numbers.

    Notes
    -----
    Quick.
    """

    def __init__(self, x):
        """Store the numbers for later."""
        self.x = x

    def of(
        self, y=1
    ):
        """Tell the mean. Of all. Stable."""

        return self.x + y

    def add(self, y): "Add it up. Or not."; return self.x
'''


def read() -> dict[str, Definition]:
    return {definition.qualname: definition for definition in definitions(ast.parse(SOURCE), SOURCE)}


@pytest.mark.parametrize(
    ("name", "n_sentences", "expected"),
    [
        (
            "Mean",
            1,
            '''
            class Mean:
                """Ignores ``None``.
                Notes
                -----
                Quick.
                """
                def __init__(self, x):
                    self.x = x
            ''',
        ),
        (
            "Mean.of",
            0,
            '''
            def of(
                self, y=1
            ):
                """Tell the mean. Of all. Stable.
                """
                return self.x + y
            ''',
        ),
        (
            "Mean.of",
            1,
            '''
            def of(
                self, y=1
            ):
                """Of all. Stable.
                """
                return self.x + y
            ''',
        ),
        (
            "Mean.of",
            2,
            '''
            def of(
                self, y=1
            ):
                """Stable.
                """
                return self.x + y
            ''',
        ),
        ("Mean.of", 3, "def of(\n    self, y=1\n):\n    return self.x + y"),
        ("Mean.add", 1, 'def add(self, y): return self.x\n    """Or not.\n    """'),
    ],
)
def test_the_rest_of_the_docstring_stands_below_the_signature(name: str, n_sentences: int, expected: str) -> None:
    """See Also and other definitions' docstrings, which are queries of others, stay out; nothing left is the text."""
    assert form(read()[name], n_sentences) == dedent(expected).strip()


def test_see_also_is_cut_up_to_the_next_title() -> None:
    """With all its entries, and nothing else."""
    docstring = cleandoc(read()["Mean"].docstring)
    assert see_also(docstring)
    cut = without_see_also(docstring)
    assert cut == "Average\nof numbers. Ignores ``None``.\n\nNotes\n-----\nQuick."
    assert without_see_also(cut) == cut


@pytest.mark.parametrize(
    ("docstring", "n", "expected"),
    [
        ("Stack arrays in sequence depth wise. More of it.", 1, "More of it."),
        ("Stack arrays\ndepth wise.\n\nSecond one. Third.", 2, "Third."),
        ("arange(start, stop)\n\nReturn evenly spaced values [1]_. More.", 1, "More."),
        ("The :func:`~a.b.mean` of `x`. `Y` is more.", 1, "`Y` is more."),
        ("Join:\n\n- one\n- two\n\nSecond. Third.", 2, "Third."),
        ("Fit it.\n\nParameters\n----------\nx : array", 1, "Parameters\n----------\nx : array"),
        ("Fit it.", 1, ""),
    ],
)
def test_first_sentences_are_cut_with_their_markup(docstring: str, n: int, expected: str) -> None:
    """Whatever `sentences` returns first, also across paragraphs; the rest stays as it is."""
    assert without_sentences(docstring, sentences(docstring)[:n]) == expected


words = st.lists(
    st.sampled_from(["one", "two", "`x`", ":func:`~a.b`", "e.g. it", "f(x)", "[1]_"]), min_size=1, max_size=4
)
prose = st.lists(words.map(lambda parts: f"Begin {' '.join(parts)}."), min_size=1, max_size=4)


@given(prose, st.sampled_from([" ", "\n", "\n\n"]))
def test_what_remains_begins_with_the_next_sentence(parts: list[str], gap: str) -> None:
    """For any prose with markup."""
    docstring = gap.join(parts)
    assert sentences(without_sentences(docstring, sentences(docstring)[:1])) == sentences(docstring)[1:]


@given(st.text(alphabet=st.sampled_from("aZ .(),:;`*_$[]<>-=~\\%\n\t>'\"1ü\u2028"), max_size=80), st.integers(0, 2))
def test_of_any_docstring_an_ending_stays(docstring: str, n: int) -> None:
    """Shorter than before where it has a sentence to cut; See Also's cut never adds a line."""
    first = sentences(docstring)[:n]
    rest = without_sentences(docstring, first)
    assert docstring.endswith(rest) and (len(rest) < len(docstring) if first else rest == docstring)
    lines = docstring.splitlines()
    assert all(line in lines for line in without_see_also(docstring).splitlines())

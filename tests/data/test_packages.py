"""Code search data of a package: documents, queries, and counts of dropped ones by reason."""

import random
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from textwrap import dedent

import pytest

from attune.data.sources.packages.collect import PackageRules, collect_packages
from attune.data.sources.raw import Document, Qrel, Query, RawData
from attune.errors import BadInput

RULES = PackageRules(
    internal=[],
    min_query_words=3,
    max_query_words=40,
    max_documents_per_query=5,
    max_classes_per_method=15,
    max_document_characters=4000,
)

Collect = Callable[..., RawData]


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collect:
    """Installs a package "sample" from {path: source} and collects it."""

    def install(files: Mapping[str, str | bytes], order: list[str] | None = None, **rules: int) -> RawData:
        info = tmp_path / "sample-1.2.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample\nVersion: 1.2\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in order or files))
        for file, source in files.items():
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source if isinstance(source, bytes) else dedent(source).encode())
        monkeypatch.syspath_prepend(tmp_path)
        return collect_packages(["sample"], PackageRules(**{**asdict(RULES), **rules}))

    return install


def summaries(raw: RawData) -> dict[str, str]:
    """Each document's title with its query, or "" where it has none."""
    queries = {query.query_id: query.text for query in raw.queries}
    return {d.title: queries.get(f"{d.document_id}#summary", "") for d in raw.documents}


def function(name: str, docstring: str, n: int = 0) -> str:
    return f'def {name}(x):\n    """{docstring}"""\n    return x + {n}\n'


def test_a_function_is_a_document_and_its_first_sentence_the_query(collect: Collect) -> None:
    """Title, id, text without docstring, and the reasons of what is dropped."""
    raw = collect(
        {
            "sample/__init__.py": "from ._impl import stack\n",
            "sample/_impl.py": '''
                def helper(x):
                    """Prepare what is to be stacked."""
                    return x + 1

                @cached
                def stack(arrays):
                    """Stack arrays along a new axis. More."""
                    return join(arrays)
            ''',
        }
    )
    id_ = "sample/_impl.py::stack"
    assert raw.documents == [Document(id_, "sample.stack", "def stack(arrays):\n    return join(arrays)")]
    assert raw.queries == [Query(f"{id_}#summary", "Stack arrays along a new axis")]
    assert raw.qrels == {"all": [Qrel(f"{id_}#summary", id_, 1)]}
    assert raw.facts == {"sample_version": "1.2", "sample_documents": 1}
    assert +raw.dropped == {"document_not_offered": 1}


def test_a_form_that_repeats_the_query_is_left_out(collect: Collect) -> None:
    """It would give the answer away; a longer form is cut at a line, as its document is."""
    raw = collect(
        {
            "sample/a.py": function("f", "Find every root. Used to `find`\n    every root of a tree.")
            + function("g", "Find some root.\n\n" + "    It is a line of prose.\n" * 9)
        },
        max_document_characters=80,
    )
    assert list(raw.forms) == ["sample/a.py::g"]
    assert raw.forms["sample/a.py::g"] == 'def g(x):\n    """It is a line of prose.\n    It is a line of prose.'


def test_the_second_sentence_replaces_a_flawed_first_one(
    collect: Collect,
) -> None:
    """If both are flawed, the document stays without a query."""
    raw = collect(
        {
            "sample/a.py": function("first", "Sum up all parts. Never used here.")
            + function("power_mean", "The power mean. Averages numbers after raising them.")
            + function("plain_mean", "The plain mean. It is well known.")
            + function("f", "Only %(name)s knows. Never used here at all.")
            + function("g", "Too short. If x is odd, add one.")
        }
    )
    assert summaries(raw) == {
        "sample.a.first": "Sum up all parts",
        "sample.a.power_mean": "Averages numbers after raising them",
        "sample.a.plain_mean": "",
        "sample.a.f": "Never used here at all",
        "sample.a.g": "",
    }
    assert +raw.dropped == {"query_gives_name": 1, "query_short": 1}
    assert len(raw.queries) == len(raw.qrels["all"]) == 3


def test_a_query_of_too_many_documents_is_dropped(collect: Collect) -> None:
    """Its documents stay; case does not count."""
    sources = [function(f"f{n}", ("Find every root", "find every ROOT")[n % 2], n) for n in range(4)]
    sources += [function(f"g{n}", "Find some other root", n) for n in range(3)]
    raw = collect({"sample/a.py": "".join(sources)}, max_documents_per_query=3)
    assert [bool(query) for query in summaries(raw).values()] == [False] * 4 + [True] * 3
    assert +raw.dropped == {"query_generic": 4}


def method(owner: str, name: str, docstring: str) -> str:
    return f'class {owner}:\n    def {name}(self, x):\n        """{docstring}"""\n        return x + 1\n'


def test_a_query_of_a_common_method_must_hold_a_word_of_its_class(collect: Collect) -> None:
    """A word that many classes share does not count, nor does the method's own name."""
    raw = collect(
        {
            "sample/a.py": method("RidgeModel", "fit", "Fit the model with data")
            + method("LassoModel", "fit", "Fit a lasso to data")
            + method("FitModel", "fit", "Fit some given data")
            + method("SplineModel", "grow", "Grow from given data")
            + method("TreeModel", "grow", "Grow out of data")
        },
        max_classes_per_method=2,
    )
    # "model" is a word of five classes, "fit" of one, but it is the method's own name; only two classes grow
    asked = [title for title, query in summaries(raw).items() if query]
    assert asked == ["sample.a.LassoModel.fit", "sample.a.SplineModel.grow", "sample.a.TreeModel.grow"]
    assert +raw.dropped == {"query_vague_method": 2}


def test_of_two_definitions_of_one_name_one_stays(collect: Collect) -> None:
    """A class's own method before an inherited one, then the first in the file."""
    raw = collect(
        {
            "sample/__init__.py": "from ._b import Frame\n",
            "sample/_a.py": "class Base:\n"
            '    def head(self):\n        """Give the first rows."""\n        return self.rows(1)\n'
            '    def tail(self):\n        """Give the last rows."""\n        return self.rows(2)\n',
            "sample/_b.py": "from ._a import Base\nclass Frame(Base):\n"
            '    def head(self):\n        """Show the first rows."""\n        return self.rows(3)\n'
            '    def head(self):\n        """Show no row at all."""\n        return self.rows(4)\n',
        }
    )
    assert summaries(raw) == {
        "sample.Frame.tail": "Give the last rows",
        "sample.Frame.head": "Show the first rows",
    }
    assert [d.document_id for d in raw.documents] == ["sample/_a.py::Base.tail", "sample/_b.py::Frame.head"]
    assert +raw.dropped == {"document_name_taken": 2}


def test_an_overload_does_not_take_the_function_s_name(collect: Collect) -> None:
    """The implementation is the document."""
    raw = collect(
        {"sample/a.py": "@overload\n" + function("f", "Add for numbers only") + function("f", "Add any two things")}
    )
    assert summaries(raw) == {"sample.a.f": "Add any two things"}
    assert +raw.dropped == {"document_abstract_or_setter": 1}


def test_tests_and_vendored_code_are_not_read(collect: Collect) -> None:
    """Files that are not Python are counted."""
    good = function("f", "Do some good work")
    skipped = (
        "tests/a.py",
        "_vendor/a.py",
        "externals/a.py",
        "test_a.py",
        "conftest.py",
        "sub/setup.py",
        "_version.py",
    )
    raw = collect(
        {f"sample/{name}": good for name in (*skipped, "testing.py")}
        | {"sample/bad.py": "def f(:\n", "sample/latin.py": b'"""\xe9"""', "sample/nul.py": "x = 1\0"}
        | {"sample-1.2.dist-info/x.txt": "", "../bin/run.py": good}
    )
    assert [d.document_id for d in raw.documents] == ["sample/testing.py::f"]
    assert +raw.dropped == {"file_not_python": 3}


def test_long_sources_are_cut_at_a_line_and_counted(collect: Collect) -> None:
    """At most max_document_characters, whole lines."""
    body = "".join(f"    x = x + {n}\n" for n in range(100, 200))
    raw = collect({"sample/a.py": f'def f(x):\n    """Add many numbers up."""\n{body}'}, max_document_characters=100)
    text = raw.documents[0].text
    # "def f(x):" and lines of 15 characters: 9 + 6 * 16 = 105 would be too much
    assert text == "def f(x):\n" + "\n".join(f"    x = x + {n}" for n in range(100, 105))
    assert +raw.dropped == {"tail_of_document": 1}


def test_rows_are_in_the_order_of_files_and_lines(collect: Collect) -> None:
    """Whatever the order in the package's RECORD."""
    files = {
        f"sample/{name}.py": function("z", f"Do the {name} thing") + method("_Base", "run", f"Run the {name} thing")
        for name in ("b", "a", "c")
    }
    heirs = "from . import a, b, c\nclass Heir(a._Base, b._Base, c._Base):\n    x = 1\n"
    files = {"sample/d.py": heirs, "sample/e.py": "\ufeff" + function("z", "Do the e thing"), **files}
    raw = collect(files)
    # the name Heir.run goes to the first file's, not to the first in the record
    titles = [f"sample.{title}" for title in ("a.z", "d.Heir.run", "b.z", "c.z", "e.z")]
    assert [d.title for d in raw.documents] == titles
    for seed in range(5):
        assert collect(files, order=random.Random(seed).sample(list(files), len(files))) == raw


def test_a_package_is_read_and_never_imported(collect: Collect) -> None:
    """A module that would end the program on import is read."""
    source = "raise SystemExit('imported')\n" + function("f", "Do some good work")
    assert len(collect({"sample/__init__.py": source}).documents) == 1
    assert not any(name.split(".")[0] == "sample" for name in sys.modules)


def test_a_package_that_is_missing_or_without_python_is_one_line(collect: Collect) -> None:
    """The message gives its name and what to do."""
    with pytest.raises(BadInput, match=r"collect\.packages: 'no-such-package' is not installed; install it or"):
        collect_packages(["no-such-package"], RULES)
    with pytest.raises(BadInput, match="'sample' has no Python files on record; install it from a wheel"):
        collect({"sample/data.txt": ""})


@pytest.fixture(scope="module")
def networkx_data() -> RawData:
    """The data of one real package, the quickest to read of the default ones."""
    try:
        distribution("networkx")
    except PackageNotFoundError:
        pytest.skip("networkx is not installed")
    return collect_packages(["networkx"], RULES)


def test_real_ids_and_titles_are_unique_and_match_the_judgments(networkx_data: RawData) -> None:
    """Every query is judged, and every judged document exists."""
    ids = [document.document_id for document in networkx_data.documents]
    assert len(ids) == len(set(ids)) > 1000
    assert len({document.title for document in networkx_data.documents}) == len(ids)
    assert {query.query_id for query in networkx_data.queries} == {q.query_id for q in networkx_data.qrels["all"]}
    assert {qrel.document_id for qrel in networkx_data.qrels["all"]} <= set(ids)
    assert summaries(networkx_data)["networkx.shortest_path"] == "Compute shortest paths in the graph"


def test_real_documents_do_not_hold_their_own_docstring(networkx_data: RawData) -> None:
    """No query stands in its document."""
    texts = {d.document_id: " ".join(d.text.split()) for d in networkx_data.documents}
    told = [q.text for q in networkx_data.queries if q.text in texts[q.query_id.removesuffix("#summary")]]
    assert told == []
    assert not any("Parameters ----" in text or ">>> " in text for text in texts.values())


def test_real_forms_hold_docstrings_without_their_query_or_see_also(networkx_data: RawData) -> None:
    """No form tells its own query, nor has a section of others' descriptions; most documents have one."""
    assert len(networkx_data.forms) > 0.9 * len(networkx_data.documents)
    queries = {query.query_id.removesuffix("#summary"): query.text for query in networkx_data.queries}
    told = [
        id_ for id_, form in networkx_data.forms.items() if id_ in queries and queries[id_] in " ".join(form.split())
    ]
    assert told == []
    assert not any(re.search("see also *\n *---", form, re.IGNORECASE) for form in networkx_data.forms.values())
    assert sum("Parameters\n" in form for form in networkx_data.forms.values()) > 500

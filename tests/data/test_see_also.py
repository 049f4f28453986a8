"""Paraphrases from See Also sections: parsed in numpydoc's format, resolved to one document, filtered as queries."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from attune.data.sources.packages.collect import PackageRules, collect_packages
from attune.data.sources.packages.mentions import SeeAlso, see_also
from attune.data.sources.raw import RawData

DOCSTRING = """Return the mean.

    See Also
    --------
    median : Middle value of the sorted
        values along an axis.
    :func:`~stats.var`, std : Spread around the mean.
    `bare`
    quantile -- Value below which a share lies
    no entry at all, just words that go on

    Notes
    -----
    other : Not an entry.
    """


def test_entries_hold_names_without_markup_and_whole_descriptions() -> None:
    """Several names in one entry, descriptions over several lines."""
    assert see_also(DOCSTRING) == [
        SeeAlso(("median",), "Middle value of the sorted values along an axis."),
        SeeAlso(("stats.var", "std"), "Spread around the mean."),
        SeeAlso(("quantile",), "Value below which a share lies"),
    ]


@pytest.mark.parametrize("docstring", ["", "Return the mean.", "See Also\n--------", "See Also: mean : x\n"])
def test_without_a_section_there_are_no_entries(docstring: str) -> None:
    """Other sections and plain text give none."""
    assert see_also(docstring) == []


def collect(root: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str]) -> RawData:
    info = root / "sample-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample\nVersion: 1\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file, source in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(dedent(source))
    monkeypatch.syspath_prepend(root)
    rules = PackageRules(
        internal=[],
        min_query_words=3,
        max_query_words=40,
        max_documents_per_query=5,
        max_classes_per_method=15,
        max_document_characters=4000,
    )
    return collect_packages(["sample"], rules)


def test_a_line_about_another_function_asks_for_that_function_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are found in their module; unknown ones, ones that lean on the reader and short ones are counted."""
    raw = collect(
        tmp_path,
        monkeypatch,
        {
            "sample/__init__.py": "from sample.stats import mean, median\n",
            "sample/stats.py": '''
                def mean(x):
                    """Return the average of all values.

                    See Also
                    --------
                    median : Middle one of the sorted values.
                    nowhere : What stands in no module at all.
                    """
                    return sum(x) / len(x)

                def median(x):
                    """Return what lies in the middle.

                    See Also
                    --------
                    mean : Similar to this one.
                    """
                    return sorted(x)[len(x) // 2]
            ''',
        },
    )
    assert [query.text for query in raw.paraphrases] == ["Middle one of the sorted values"]
    assert [qrel.document_id for qrel in raw.paraphrase_qrels] == ["sample/stats.py::median"]
    assert raw.paraphrases[0].query_id == raw.paraphrase_qrels[0].query_id == "sample/stats.py::mean#see_also:median"
    assert raw.dropped["paraphrase_unresolved"] == 1
    assert raw.dropped["paraphrase_incomplete"] == 1
    assert len(raw.queries) == 2  # paraphrases are no queries: nothing is trained or split by them

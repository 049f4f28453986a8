"""The catalogue: codes are stable and documented, statuses are a closed set, and a new check is one file."""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from checkout import is_attunes_own
from shipped_params import PANEL

from attune.errors import BadInput
from attune.evaluation.checks.catalogue import Finding, by_code, catalogue, findings, paragraphs
from attune.evaluation.checks.data import long_texts
from attune.evaluation.checks.facts import Facts, Missing
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Check, Outcome, Outcomes, check, judged
from attune.evaluation.statistics.decision import Status
from attune.stage import load_params

ROOT = Path(__file__).resolve().parents[2]
LIMITS = load_params(GateParams, "gate", PANEL)
NEW = '''
from attune.evaluation.checks.record import check, judged

@check("ATT901", "colour of the sky", "metrics/sky.json")
def sky(facts, limits):
    """Fails where the sky is not blue."""
    colour = facts.of("sky", "colour")
    yield judged(colour == "blue", f"the sky is {colour}")
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of checks with a file that nothing else names."""
    folder = tmp_path / "own_checks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "weather.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_checks")]:
        del sys.modules[name]


def colours(folder: Path, colour: str, limits: GateParams = LIMITS) -> list[Finding]:
    """Returns the findings of the package's checks on this sky."""
    listed = catalogue(import_module(folder.name))
    return findings(Facts({"sky": {"colour": colour}}), limits, ["metrics"], listed)


def test_a_new_check_is_one_file(package: Path) -> None:
    """The registry finds it, the gate judges by it, and its docstring is its paragraph."""
    (found,) = colours(package, "green")
    assert (found.check.title, found.status, found.sentence) == ("colour of the sky", "failed", "the sky is green")
    assert found.is_blocking
    assert not colours(package, "blue")[0].is_blocking
    text = paragraphs(catalogue(import_module(package.name)))
    assert text == "**ATT901 colour of the sky** (metrics/sky.json). Fails where the sky is not blue."


def test_two_checks_of_one_code_are_refused(package: Path) -> None:
    """A code names one check for ever."""
    (package / "climate.py").write_text(NEW)
    with pytest.raises(ValueError, match="ATT901 is the code of two checks"):
        catalogue(import_module(package.name))


def test_codes_titles_and_paragraphs_are_complete() -> None:
    """Every check has a code, a title of its own, something it needs, and a paragraph of whole sentences."""
    listed = catalogue()
    assert [each.code for each in listed] == sorted({each.code for each in listed})
    assert all(re.fullmatch(r"ATT\d{3}", each.code) and each.needs for each in listed)
    assert len({each.title for each in listed}) == len(listed)
    assert all(each.about.endswith(".") and len(each.about) > 60 for each in listed)


@pytest.mark.skipif(not is_attunes_own(), reason="a checkout without attune's pages")
def test_the_docs_hold_the_paragraphs_of_the_catalogue() -> None:
    """docs/gate.md says what the code says; `make readme` writes it."""
    page = (ROOT / "docs/gate.md").read_text(encoding="utf-8")
    written = page.partition("<!-- checks -->\n")[2].partition("\n<!-- /checks -->")[0]
    assert written == paragraphs(catalogue())


def planted(status: Status, *, fails_gate: bool = True) -> Check:
    """Returns a check with one outcome."""

    def judge(facts: Facts, limits: GateParams) -> Outcomes:
        yield Outcome(status, "3 of 4")

    return check("ATT901", "planted", "metrics/sky.json", fails_gate=fails_gate)(judge)


def found(one: Check, **limits: object) -> Finding:
    """Returns the finding of a check."""
    (finding,) = findings(Facts({"sky": {}}), LIMITS.model_copy(update=limits), ["metrics"], [one])
    return finding


@pytest.mark.parametrize(
    ("status", "undecided", "is_blocking"),
    [
        (Status.PASSED, "fail", False),
        (Status.FAILED, "warn", True),
        (Status.UNDECIDED, "fail", True),
        (Status.UNDECIDED, "warn", False),
        (Status.NOT_APPLICABLE, "fail", False),
    ],
)
def test_what_stops_a_merge(status: Status, undecided: str, is_blocking: bool) -> None:
    """A failure does, and what cannot be told unless gate.undecided warns; a check that warns never does."""
    assert found(planted(status), undecided=undecided).is_blocking is is_blocking
    assert not found(planted(status, fails_gate=False), undecided=undecided).is_blocking


def test_an_ignored_check_gives_its_reason() -> None:
    """Failed or undecided becomes ignored, with the figures; a check that passes stays passed."""
    ignore = {"ATT901": "known since May"}
    for status in (Status.FAILED, Status.UNDECIDED):
        ignored = found(planted(status), ignore=ignore)
        assert (ignored.status, ignored.is_blocking) == (Status.IGNORED, False)
        assert ignored.sentence == "3 of 4 (ignored: known since May)"
    assert found(planted(Status.PASSED), ignore=ignore).status is Status.PASSED


@pytest.mark.parametrize(
    ("ignore", "words"),
    [
        ("{ATT999: because}", "gate.ignore: ATT999 is no check; expected one of ATT001 to ATT"),
        ("{ATT007: ''}", "gate.ignore.ATT007"),
        ("[ATT007]", "gate.ignore"),
        ("{seven: because}", "gate.ignore"),
    ],
)
def test_an_unknown_code_or_no_reason_is_one_line(tmp_path: Path, ignore: str, words: str) -> None:
    """The line names the parameter and what is expected."""
    for name in ("params.yaml", "advanced.yaml"):
        text = PANEL.with_name(name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("  ignore: {}\n", f"  ignore: {ignore}\n"))
    with pytest.raises(BadInput) as caught:
        findings(Facts(), load_params(GateParams, "gate", tmp_path / "params.yaml"), [])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_check_is_judged_where_its_needs_are_offered(package: Path) -> None:
    """A place without its needs leaves it out; a missing file in that place is a failure that names it."""
    listed = catalogue(import_module(package.name))
    assert findings(Facts(), LIMITS, ["data"], listed) == []
    (finding,) = findings(Facts(), LIMITS, ["metrics"], listed)
    assert finding.sentence.startswith("metrics/sky.json is missing; run `dvc repro`") and finding.is_blocking


def test_a_check_with_alternatives_needs_one_of_them() -> None:
    """Judged before any run and after one, nowhere else; neither place calls the other's file missing."""

    def judge(facts: Facts, limits: GateParams) -> Outcomes:
        yield judged(True, "a")

    one = check("ATT901", "planted", "data or metrics/sky.json")(judge)
    assert [each.status for place in ("data", "metrics") for each in findings(Facts(), LIMITS, [place], [one])] == [
        Status.PASSED,
        Status.PASSED,
    ]
    assert findings(Facts(), LIMITS, ["revision"], [one]) == []
    both = check("ATT902", "planted", "data or metrics/sky.json", "revision")(judge)
    assert findings(Facts(), LIMITS, ["data"], [both]) == []


def lengths_told(**figures: object) -> Finding:
    """Returns the first finding of ATT035 after a run with a receipt of stage base."""
    known = {"base_encoder": {"model": "some/encoder", "max_length": 96, **figures}}
    return findings(Facts(known), LIMITS, ["metrics"], [long_texts])[0]


def test_texts_that_were_cut_warn_after_a_run() -> None:
    """From metrics/base_encoder.json, with the price of a longer length; the gate does not fail for them."""
    measured = {"is_max_length_auto": True, "queries_cut_share": 0.0, "whole_length": 512, "whole_run_ratio": 2.41}
    measured |= {"documents_cut_at_whole_length_share": 0.13}
    told = lengths_told(documents_cut_share=0.4, **measured)
    assert (told.status, told.is_blocking) == (Status.FAILED, False)
    assert told.sentence.startswith(
        "40% of train's documents are longer than the encoder reads (base.max_length: auto takes 96): 512 cuts 13%"
    )
    assert lengths_told(documents_cut_share=0.1, **measured).status is Status.PASSED
    # a number was given: nothing was measured
    assert lengths_told(is_max_length_auto=False).status is Status.NOT_APPLICABLE
    (missing,) = findings(Facts(), LIMITS, ["metrics"], [long_texts])
    assert missing.status is Status.NOT_APPLICABLE


def test_report_json_holds_the_worst_status_and_every_sentence() -> None:
    """A failure outweighs what is undecided, that what passed; sentences keep their order."""

    def judge(facts: Facts, limits: GateParams) -> Outcomes:
        yield judged(True, "a")
        yield Outcome(Status.UNDECIDED, "b")
        yield judged(False, "c")

    one = check("ATT901", "planted", "metrics/sky.json")(judge)
    rows = by_code(findings(Facts({"sky": {}}), LIMITS, ["metrics"], [one]))
    assert rows == {"ATT901": {"title": "planted", "status": "failed", "sentence": "a; b; c"}}
    assert by_code([found(planted(Status.NOT_APPLICABLE))])["ATT901"]["status"] == "not applicable"


def test_a_check_without_an_outcome_is_not_applicable() -> None:
    """It says so in the list, where its code stays."""

    def judge(facts: Facts, limits: GateParams) -> Outcomes:
        yield from ()

    finding = found(check("ATT901", "planted", "metrics/sky.json")(judge))
    assert (finding.status, finding.is_blocking) == (Status.NOT_APPLICABLE, False)


def test_facts_name_the_file_and_the_key() -> None:
    """A missing file, a missing key, and what is no number."""
    with pytest.raises(Missing, match=r"^metrics/report.json has no paired > mrr@10$"):
        Facts({"report": {"paired": {}}}).of("report", "paired", "mrr@10")
    with pytest.raises(Missing, match=r"^metrics/report.json is missing$"):
        Facts().of("report")
    with pytest.raises(Missing, match="n is True, not a number"):
        Facts({"report": {"n": True}}).number("report", "n")
    assert Facts().get("report", "n", default=3) == 3

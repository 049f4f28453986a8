"""Languages of a data set: texts by language, and ATT048, which compares them with release.languages."""

from pathlib import Path
from typing import Any

import pytest
from shipped_params import PANEL

from attune.cli.check import languages
from attune.cli.check.languages import language_facts, language_of, stem_facts
from attune.evaluation.checks.data import languages as check
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.stage import load_params

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    "en": "How can I return the jacket that I bought at your shop last week, and who pays for the parcel?",
    "de": "Wie kann ich die Jacke zurückgeben, die ich letzte Woche in Ihrem Laden gekauft habe, und wer zahlt?",
    "fr": "Comment puis-je rendre la veste que j'ai achetée la semaine dernière dans votre magasin et qui paie ?",
    "es": "¿Cómo puedo devolver la chaqueta que compré la semana pasada en su tienda, y quién paga el paquete?",
    "ru": "Как я могу вернуть куртку, которую купил на прошлой неделе в вашем магазине, и кто оплатит посылку?",
    "ar": "كيف يمكنني إعادة السترة التي اشتريتها الأسبوع الماضي من متجركم ومن يدفع ثمن الطرد؟",
    "zh": "我上周在你们店里买的夹克怎么退货,邮费由谁来付?",
    "ja": "先週お店で買ったジャケットはどうやって返品できますか。送料は誰が払いますか。",
    "th": "ฉันจะคืนเสื้อแจ็กเก็ตที่ซื้อจากร้านของคุณเมื่อสัปดาห์ที่แล้วได้อย่างไร และใครจ่ายค่าส่ง",
    "hi": "मैं पिछले हफ्ते आपकी दुकान से खरीदी हुई जैकेट कैसे वापस कर सकता हूँ और पार्सल का पैसा कौन देगा?",
}


@pytest.mark.parametrize("code", TEXTS)
def test_a_sentence_is_told_by_its_code(code: str) -> None:
    """Ten languages, several of one script."""
    assert language_of(TEXTS[code]) == code


@pytest.mark.parametrize("text", ["", " \t", "12 + 34", "...", "👩‍👩‍👧", "x", "x = np.array([1, 2, 3])"])
def test_what_has_no_words_is_unclear(text: str) -> None:
    """No letters, one, or program code alone."""
    assert language_of(text) == "unclear"


def test_only_the_beginning_of_a_text_is_looked_at() -> None:
    """Three hundred characters, as a long document takes the model milliseconds."""
    beginning = (TEXTS["de"] + " ") * 3
    assert len(beginning) >= languages.MAX_CHARACTERS
    assert language_of(beginning + TEXTS["ru"] * 50) == "de"


def test_texts_are_counted_by_language_and_rare_ones_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 documents 2 are a hundredth and named, 1 is not; ties by code; other and unclear come last, if any."""
    monkeypatch.setattr(languages, "language_of", lambda text: text)
    documents = ["de"] * 150 + ["unclear"] * 40 + ["nl"] * 2 + ["fy"] + ["en"] * 7
    counts = language_facts({"documents": documents, "queries": ["en"] * 90 + ["fy"] * 0 + ["da"]})
    assert counts == {
        "de": {"n_documents": 150, "n_queries": 0},
        "en": {"n_documents": 7, "n_queries": 90},
        "nl": {"n_documents": 2, "n_queries": 0},
        "da": {"n_documents": 0, "n_queries": 1},
        "other": {"n_documents": 1, "n_queries": 0},
        "unclear": {"n_documents": 40, "n_queries": 0},
    }
    assert list(counts) == ["de", "en", "nl", "da", "other", "unclear"]
    assert language_facts({"documents": ["en"], "queries": []}) == {"en": {"n_documents": 1, "n_queries": 0}}


def judged(rows: dict[str, tuple[int, int]], *declared: str, setting: str = "auto") -> dict[str, str]:
    """Returns status and sentence of ATT048 for numbers of documents and queries by language."""
    facts = {code: {"n_documents": n, "n_queries": asked} for code, (n, asked) in rows.items()}
    known: dict[str, Any] = {"languages": facts, "params": {"release": {"languages": list(declared)}}}
    known["stems"] = stem_facts(rows, declared, setting)
    limits = load_params(GateParams, "gate", PANEL)
    return {outcome.status.value: outcome.sentence for outcome in check.judge(Facts(known), limits)}


def test_a_main_language_that_is_not_declared_warns() -> None:
    """From a tenth of the documents or queries of a clear language on; the line has the value to set."""
    rows = {"de": (80, 30), "en": (20, 0), "unclear": (500, 9)}
    assert judged(rows, "en") == {
        "failed": "the texts are in de (80 documents and 30 queries), en (20 documents), of which de is not among "
        "release.languages (en): the model's card leaves it out, and BM25 tries no stems of de; set release.languages: "
        "[de, en] in advanced.yaml"
    }
    assert judged(rows, "de", "en") == {
        "passed": "the texts are in de (80 documents and 30 queries), en (20 documents), all among release.languages "
        "(de, en)"
    }
    assert set(judged({"de": (90, 9), "en": (10, 0)}, "de")) == {"failed"}
    assert set(judged({"de": (91, 9), "en": (9, 0)}, "de")) == {"passed"}
    assert judged({"unclear": (500, 9), "other": (9, 9)}, "en") == {}


def test_a_language_without_stems_is_for_the_card_alone() -> None:
    """Chinese and Japanese are matched by pairs of characters; nothing is promised of BM25."""
    (line,) = judged({"zh": (9, 9), "de": (8, 8)}, "en").values()
    assert line.endswith(
        "leaves it out, and BM25 tries no stems of de; set release.languages: [zh, de] in advanced.yaml"
    )
    (line,) = judged({"zh": (9, 9)}, "en").values()
    assert line.endswith("the model's card leaves it out; set release.languages: [zh] in advanced.yaml")
    (line,) = judged({"de": (9, 9)}, "en", setting="").values()
    assert "stems" not in line


@pytest.mark.parametrize(("found", "declared"), [("pt", "pt-BR"), ("no", "nb"), ("nn", "no"), ("zh", "zh_TW")])
def test_regional_forms_are_one_language(found: str, declared: str) -> None:
    """As the stemmers take them; the card may name a region."""
    assert set(judged({found: (9, 9)}, declared)) == {"passed"}


def test_stems_of_another_language_than_the_texts_warn() -> None:
    """Where evaluate.bm25_language is fixed to one that few texts are in; auto, '' and a main one are right."""
    rows = {"de": (80, 30), "en": (20, 0), "fr": (1, 1)}
    assert judged(rows, "de", "en", setting="fr")["failed"] == (
        "evaluate.bm25_language is fr: BM25 cuts words by the rules of a language that few texts are in; set it to "
        "auto in advanced.yaml, and dev chooses"
    )
    for setting in ("auto", "", "en", "german", "de-AT"):
        assert set(judged(rows, "de", "en", setting=setting)) == {"passed"}

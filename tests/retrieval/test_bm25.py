"""BM25 ranks by Lucene's formula, in any script, and never ranks a document without a word of the query."""

from math import log
from unicodedata import normalize

import numpy as np
import pytest

from attune.errors import BadInput
from attune.retrieval.bm25 import K1, B, Bm25


def test_scores_are_those_of_the_formula() -> None:
    """Two matching documents of different length, by hand."""
    documents = ["red apple", "red red car on a road", "blue sky"]
    scores, rows = Bm25(documents).top_k(["red"], k=3)
    idf = log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean_length = (2 + 6 + 2) / 3

    def score(frequency: int, length: int) -> float:
        return idf * frequency / (frequency + K1 * (1 - B + B * length / mean_length))

    assert rows.tolist() == [[0, 1, -1]]
    assert scores[0, :2].tolist() == pytest.approx([score(1, 2), score(2, 6)], abs=1e-6)


def test_equal_scores_go_to_the_earlier_row_even_at_the_cut_off() -> None:
    """Fifty equal documents, of which the first four are returned."""
    documents = ["other", *["same words"] * 50, "same words words"]
    _, rows = Bm25(documents).top_k(["same"], k=4)
    assert rows.tolist() == [[1, 2, 3, 4]]


def test_ties_all_over_the_ranking_are_ordered_by_row() -> None:
    """2000 documents of five texts, ranked as a whole."""
    rng = np.random.default_rng(0)
    documents = rng.choice(["red", "red car", "red red car", "a red car", "blue"], size=2000).tolist()
    scores, rows = Bm25(documents).top_k(["red car"], k=2000)
    ranked = [(-score, row) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0]
    assert ranked == sorted(ranked)
    assert len(ranked) == 2000 - documents.count("blue")


@pytest.mark.parametrize("query", ["", "!?", "unheard"])
def test_a_query_that_matches_nothing_ranks_nothing(query: str) -> None:
    """Empty, without words, or with unknown words only: rows are -1, scores 0."""
    scores, rows = Bm25(["red apple", "blue sky"]).top_k([query, "red"], k=5)
    assert rows.tolist() == [[-1, -1], [0, -1]]
    assert scores[0].tolist() == [0, 0]


def test_a_corpus_without_words_is_refused() -> None:
    """The error names the number of documents."""
    with pytest.raises(BadInput, match="none of the 2 documents has a word"):
        Bm25(["", "--"]).top_k(["red"], k=1)


def test_chinese_answers_are_found_by_their_questions() -> None:
    """Questions and answers about sixteen things and ten acts, which share words but no whole run of characters."""
    things = "手机 电脑 相机 耳机 键盘 鼠标 冰箱 空调 洗衣机 电视 路由器 打印机 手表 台灯 风扇 热水器".split()
    acts = "退货 换货 维修 保养 安装 升级 清洁 充电 重启 报价".split()
    pairs = [(thing, act) for thing in things for act in acts]
    questions = [f"我的{thing}怎么{act}" for thing, act in pairs]
    answers = [f"关于{thing}{act}的说明:请先联系客服,按照步骤完成{act},{thing}三天内处理。" for thing, act in pairs]
    _, rows = Bm25(answers).top_k(questions, k=10)
    assert np.mean([row in top for row, top in enumerate(rows)]) >= 0.9


@pytest.mark.parametrize(
    ("query", "answer", "other"),
    [
        ("วิธีเปลี่ยนรหัสผ่าน", "คุณสามารถเปลี่ยนรหัสผ่านได้ในหน้าตั้งค่า", "ร้านอาหารนี้เปิดทุกวัน"),  # Thai
        ("パスワードを変更したい", "設定画面でパスワードの変更ができます", "この店は毎日開いています"),  # Japanese
        ("비밀번호 변경", "설정에서 비밀번호를 변경할 수 있습니다", "이 식당은 매일 문을 엽니다"),  # Korean
        ("ប្តូរពាក្យសម្ងាត់", "អ្នកអាចប្តូរពាក្យសម្ងាត់នៅទីនេះ", "ហាងនេះបើករាល់ថ្ងៃ"),  # Khmer
        ("གསང་གྲངས་བརྗེ", "འདིར་གསང་གྲངས་བརྗེ་ཐུབ།", "ཟ་ཁང་འདི་ཉིན་ལྟར་སྒོ་འབྱེད།"),  # Tibetan
    ],
)
def test_an_answer_without_spaces_is_ranked_first(query: str, answer: str, other: str) -> None:
    """In each script the document about the same thing scores higher than the other."""
    scores, rows = Bm25([other, answer]).top_k([query], k=2)
    assert rows[0, 0] == 1 and scores[0, 0] > scores[0, 1]


def test_composed_and_decomposed_letters_find_each_other() -> None:
    """German questions in NFC find answers in NFD and the other way round: recall@1 is 1."""
    things = "Höhle Brücke Tür Mühle Glühbirne Küche Straßenbahn Schönheit Wärme Größe".split()
    acts = "prüfen öffnen kühlen hören wählen zählen führen lösen drücken rühren".split()
    questions = [f"wie kann ich die {thing} {act}" for thing in things for act in acts]
    answers = [f"{thing} {act} Sie am frühen Morgen." for thing in things for act in acts]
    for asked, answering in (("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")):
        index = Bm25([normalize(answering, text) for text in answers])
        _, rows = index.top_k([normalize(asked, text) for text in questions], k=1)
        assert rows[:, 0].tolist() == list(range(100))

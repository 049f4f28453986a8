"""Traits of a query are what a person would count."""

from attune.evaluation.statistics.slices import lexical_overlaps, n_unseen_words, sources


def test_overlap_is_the_share_of_the_querys_words_in_its_best_answer() -> None:
    """Of "sort", "a" and "frame" the first document has two, the second all.

    Identifiers count by their parts, Chinese by pairs of characters.
    """
    queries = ["Sort a frame, sort!", "unlike", "???", "数组排序"]
    answers = [["a sort of magic", "def sort(a: DataFrame)"], ["nothing in common"], ["text"], ["数组排列"]]
    assert lexical_overlaps(queries, answers).tolist() == [1, 0, 0, 2 / 3]
    assert lexical_overlaps(["Sort a frame"], [["a sort of magic"]]).tolist() == [2 / 3]
    assert lexical_overlaps(["no answer"], [[]]).tolist() == [0]


def test_words_that_no_training_text_contains_are_unseen() -> None:
    """Distinct words, whatever their case; identifiers count by their parts."""
    seen = ["Sort the rows", "def pivot_table(DataFrame)"]
    assert n_unseen_words(["pivot the frame", "Melt, melt the ROWS!", "melt and stack"], seen).tolist() == [0, 1, 3]
    assert n_unseen_words(["anything"], []).tolist() == [1]


def test_the_source_is_the_first_folder_of_the_answers() -> None:
    """None where there is no folder, or where answers come from several."""
    ids = [["numpy/a.py::f", "numpy/b.py::g"], ["numpy/a", "scipy/b"], ["plain"], []]
    assert sources(ids) == ["numpy", "", "", ""]

"""Texts that the tests of exported graphs embed."""

# a few words, no word, a sentence, characters outside the vocabulary, more than the maximum length
TEXTS = ["stack arrays vertically", "", "Sort the rows of a matrix by their norm, then look at them.", "日本", "x" * 99]

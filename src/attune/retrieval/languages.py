"""Stop words and stems of a language, for BM25: Snowball's stemmers, and the lists of stop words that bm25s brings."""

import bm25s.stopwords
import Stemmer

from attune.retrieval.words import Words, words

# Snowball's stemmers by ISO 639-1 code
STEMMERS = {
    **{"ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english"},
    **{"eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish"},
    **{"fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian"},
    **{"it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish"},
    **{"pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "st": "sesotho", "sv": "swedish"},
    **{"ta": "tamil", "tr": "turkish", "yi": "yiddish"},
}


def code_of(language: str) -> str | None:
    """Returns the ISO 639-1 code of a language by its code (de, de-AT) or English name; None without a stemmer."""
    name = language.lower().replace("_", "-").partition("-")[0]
    codes = {stemmer: code for code, stemmer in STEMMERS.items()} | {"nb": "no", "nn": "no"}
    return name if name in STEMMERS else codes.get(name)


def stop_words(code: str) -> frozenset[str]:
    """Returns the stop words of a language, as `words` folds them; none where bm25s has no list."""
    name = "EN" if code == "en" else STEMMERS[code].upper()
    listed = (words(word) for word in getattr(bm25s.stopwords, f"STOPWORDS_{name}", ()))
    return frozenset(parts[0] for parts in listed if len(parts) == 1)  # no parts of "aren't"


def stems_in(code: str) -> Words:
    """Returns a function that splits a text into its words, without stop words, each reduced to its stem.

    Words of other scripts, and pairs of characters, stay as they are.
    """
    stemmer, left_out = Stemmer.Stemmer(STEMMERS[code]), stop_words(code)

    def stems(text: str) -> list[str]:
        return list(stemmer.stemWords([word for word in words(text) if word not in left_out]))

    return stems

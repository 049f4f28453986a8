"""Queries as people type them into a search box: lower case, keywords, or "how to ...".

Descriptions such as "Returns the sum of a vector." read otherwise than what is typed for them: "sum of a vector",
"how to sum a vector". Rules rewrite a sentence in one of three styles, which a hash of its text chooses: the same text
always becomes the same query, whatever stands around it, on every machine.

The lists below are short on purpose. Those of search and text libraries differ by version, cost seconds to import, and
drop words that turn a query's meaning around (not, without); a word that is missing here merely stays in the query.
"""

import hashlib
import re

# function words, none that negates or compares
_STOP_WORDS = frozenset(
    """
    a an the this that these those it its itself there here and or as at by for from in into of on onto over through
    to upon with within via per about among is are was were be been being am do does did doing has have had having can
    could may might must shall should will would i me my we our us you your he him his she her they them their who
    whom whose which what where when why how if then than so such some any each also just please given whether
    """.split()
)
# none of them is a word of another language in Latin letters that is as frequent
_ENGLISH = frozenset("the and with from that this these which how what of to into by are your".split())
_VERBS = frozenset(
    """
    access add adjust aggregate allow append apply approximate archive assemble assert assign attach bin binarize
    broadcast build calculate call cast center change check choose clean clear clip clone close cluster combine
    compare compile compress compute concatenate configure conform connect construct convert convolve copy count
    create customize cut decode decompose decompress decide decrease define delete describe detect determine
    differentiate disable display divide download draw drop dump edit enable encode encrypt enter estimate evaluate
    exclude execute expand explode export extract factor fill filter find fit flatten flip fold force form format
    generate get give go group handle hide identify implement import include increase indicate infer initialize insert
    install integrate interpolate invert invoke iterate join keep kill label learn limit list load locate lock log
    login look make manage map mask match maximize measure merge minimize modify monitor mount move multiply normalize
    open optimize order pack pad parse partition perform permute pick pivot plot predict prepare print process produce
    provide push put query raise randomize rank read rearrange receive recognize reconstruct record reduce register
    remove rename render reorder repeat replace report represent request resample reset reshape resolve restore
    retrieve return reverse roll rotate round run sample save scale scan search select send separate serialize set
    shift show shuffle simulate skip slice smooth solve sort split stack standardize start stop store stream subtract
    sum suppress swap take test trace track train transfer transform translate transpose trim truncate tune unpack
    unset unzip update upload use validate verify view visualize wait watch wrap write yield zip
    """.split()
)
# "sum of ...", "test is ..." begin with a noun
_AFTER_A_NOUN = frozenset("of is are was were has have that which".split())
# letters that are neither Latin nor a symbol of formulas in Greek letters
_OTHER_SCRIPT = re.compile(r"[^\W\d_A-Za-z\u00aa-\u024f\u0370-\u03ff\u1e00-\u1eff]")
_FINAL = " .?!,;:\u2026\u3002\uff01\uff1f\u061f"
_WORD = re.compile(r"\w")


def typed(query: str) -> str:
    """Rewrites a query as people type it; returns the query itself where nothing is to change.

    Texts that are not English in Latin letters only become lower case, without final punctuation. So do English ones by
    one of the styles, and where the style of a text does not fit it: "how to ..." needs a first word that is a verb in
    the imperative or the third person, and else gives keywords; these (function words are left out) need two words to
    remain.

    Args:
        query: a sentence, a question or a title.
    """
    words = query.split()
    lower = " ".join(words).lower().rstrip(_FINAL)
    if not _WORD.search(lower):
        return query
    return (_STYLES[_number(query) % len(_STYLES)](lower.split()) if _is_english(lower) else None) or lower


def _number(text: str) -> int:
    """Hashes a text to a whole number."""
    return int.from_bytes(hashlib.sha256(f"typed query\n{text}".encode()).digest()[:8], "big")


def _is_english(lower: str) -> bool:
    """Tells it by a frequent English word, or by a verb at the beginning with any function word after it."""
    words = set(re.findall(r"\w+", lower))
    begins = bool(words & _STOP_WORDS) and _imperative(lower.split(maxsplit=1)[0]) is not None
    return not _OTHER_SCRIPT.search(lower) and (begins or bool(words & _ENGLISH))


def _imperative(word: str) -> str | None:
    """Returns the verb of `returns`, `return`; None for a word that is not on the list."""
    endings = [("", ""), ("s", ""), ("es", ""), ("ies", "y")]
    verbs = (word.removesuffix(end) + new for end, new in endings if word.endswith(end))
    return next((verb for verb in verbs if verb in _VERBS), None)


def _unchanged(_words: list[str]) -> str | None:
    return None


def _keywords(words: list[str]) -> str | None:
    """Leaves out function words and the punctuation around words; None where fewer than two remain."""
    bare = (_bare(word) for word in words)
    kept = [word for word in bare if word not in _STOP_WORDS and _WORD.search(word)]
    return " ".join(kept) if len(kept) >= 2 else None


def _bare(word: str) -> str:
    """Removes quotes and punctuation around a word, and parentheses but for those within it: `f(x)`."""
    word = word.strip("\"'`,;:.!?")
    if ")" not in word or word.endswith(")"):
        word = word.lstrip("(")
    return word if "(" in word else word.rstrip(")")


def _how_to(words: list[str]) -> str | None:
    """Turns `returns the sum` into `how to return the sum`; keywords where no verb comes first."""
    verb = _imperative(words[0])
    if verb is None or len(words) < 2 or words[1] in _AFTER_A_NOUN:
        return _keywords(words)
    return " ".join(["how to", verb, *words[1:]])


_STYLES = (_unchanged, _keywords, _how_to)

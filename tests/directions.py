"""Texts of several scripts, and a reader of pages that finds right-to-left texts without a direction of their own."""

import re
from html.parser import HTMLParser

HEBREW, ARABIC = "איך מחליפים סיסמה (גרסה 2)?", "كيف أغيّر كلمة المرور؟ الإصدار 2.5"
THAI, HINDI = "เปลี่ยนรหัสผ่านที่นี่", "क्षत्रिय की दुकान कहाँ है"
EMOJI = "family \U0001f468\u200d\U0001f469\u200d\U0001f467 and \U0001f469\U0001f3fd\u200d\U0001f4bb here"
TEXTS = (HEBREW, ARABIC, THAI, HINDI, EMOJI)

_ISOLATED = re.compile("\u2068[^\u2068\u2069]*\u2069")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff]")
_EMPTY = frozenset("meta link input img wbr br".split())


class _Reader(HTMLParser):
    """Collects right-to-left texts outside isolates whose element and ancestors set no direction."""

    def __init__(self) -> None:
        super().__init__()
        self.adrift: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        own = values.get("dir") == "auto" or tag in ("bdi", "svg")  # a label of a chart is a line of its own
        if "value" in values and not own:
            self.handle_data(values["value"] or "")
        if tag not in _EMPTY:
            self._open.append((tag, own))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if _RIGHT_TO_LEFT.search(_ISOLATED.sub("", data)) and not any(own for _, own in self._open):
            self.adrift.append(data)


def adrift(page: str) -> list[str]:
    """Returns the right-to-left texts of a page that may reorder what is around them."""
    reader = _Reader()
    reader.feed(page)
    return reader.adrift

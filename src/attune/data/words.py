"""Words in any script: runs of word characters; where no space parts words, each character is one."""

import re

# Thai, Japanese, Chinese and Korean
SPACELESS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = re.compile(rf"[{SPACELESS}]|(?:(?![{SPACELESS}])\w)+")
WORD_OR_SYMBOL = re.compile(rf"{WORD.pattern}|[^\w\s]")

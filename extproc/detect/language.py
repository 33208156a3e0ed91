"""Which language a text is written in, roughly: by its script, and by its smallest words.

Takes text, gives an ISO 639-1 code, or nothing where it cannot tell. It reads the first 240
characters and no more. Never raises; a guess of few words is often wrong.
"""

from __future__ import annotations

import re
from collections import Counter

_READ = 240
_ENOUGH = 2
"""small words of a language that a text must have"""

_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (code, re.compile(letters))
    for code, letters in (
        ("ja", "[\u3041-\u30ff]"),
        ("ko", "[\uac00-\ud7a3]"),
        ("zh", "[\u4e00-\u9fff]"),
        ("uk", "[\u0454\u0456\u0457\u0491]"),
        ("ru", "[\u0430-\u044f]"),
        ("ar", "[\u0620-\u064a]"),
        ("he", "[\u05d0-\u05ea]"),
        ("hi", "[\u0904-\u0939]"),
        ("th", "[\u0e01-\u0e3a]"),
        ("el", "[\u03ac-\u03ce]"),
    )
)
"""in this order: Japanese has Chinese letters too, Ukrainian has Russian ones"""
_FEW = 0.1
"""share of a text's letters that a script must have: a quoted word decides nothing"""
_MARKS = frozenset({"ja", "uk"})
"""languages that are told from another by letters which are few among theirs"""
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")

_WORDS = {
    "en": "the and of to is that it you for with this are what how can be please write",
    "de": "der die das und ist nicht ein eine ich sie mit auf für wie was den zu bitte",
    "fr": "le la les des est et une un je vous pour dans que qui pas avec sur du",
    "es": "el la los las es y una un que para con por como del se lo está qué",
    "it": "il la gli che è e una un per con non di sono come del della mi questo",
    "pt": "o a os as é e uma um que para com não por como do da você em",
    "nl": "de het een en is van dat niet ik je met op voor zijn hoe wat te deze",
    "pl": "i w na nie jest to się z do że jak co dla po czy o jestem ten",
    "sv": "och det att en ett är som inte jag för med på av den vad hur till",
    "tr": "ve bir bu için ile ne mi da de çok var değil ben olarak",
}
_SPEAK = {
    word: tuple(code for code, theirs in _WORDS.items() if word in theirs.split())
    for word in " ".join(_WORDS.values()).split()
}


def language(text: str) -> str:
    """`en`, `de`, `zh` and so on, or the empty string."""
    text = text[:_READ].lower()
    if not text.isascii() and (code := _by_script(text)):
        return code
    votes = Counter(code for word in _WORD.findall(text) for code in _SPEAK.get(word, ()))
    best = votes.most_common(2)
    if not best or best[0][1] < _ENOUGH or (len(best) > 1 and best[0][1] == best[1][1]):
        return ""
    return best[0][0]


def _by_script(text: str) -> str:
    letters = len(_LETTER.findall(text)) or 1
    for code, script in _SCRIPTS:
        if len(script.findall(text)) / letters > (_FEW / 4 if code in _MARKS else _FEW):
            return code
    return ""

"""What conditions can name, of which kind each of it is, and what may be done with kinds.

Pure tables and rules; reads no text and no request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple


class Wrong(Exception):
    """The text is no condition; the message says why, and where."""


class Kind(StrEnum):
    """What a value is; the words stand in messages."""

    BOOL = "true or false"
    INT = "a whole number"
    FLOAT = "a number with a fraction"
    TEXT = "text"


class Type(NamedTuple):
    kind: Kind
    many: bool = False

    def __str__(self) -> str:
        return f"a list ({self.kind})" if self.many else str(self.kind)


BOOL, INT, FLOAT, TEXT = (Type(kind) for kind in Kind)
TEXTS = Type(Kind.TEXT, many=True)
NUMBERS = (INT, FLOAT)

DECLARED: Mapping[str, Mapping[str, Type]] = {
    "caller": {"name": TEXT, "role": TEXT, "team": TEXT, "tags": TEXTS},
    "request": {
        "model": TEXT,
        "tokens": INT,
        "bytes": INT,
        "max_output": INT,
        "tools": BOOL,
        "images": BOOL,
        "json_schema": BOOL,
        "reasoning": BOOL,
        "stream": BOOL,
        "dialect": TEXT,
        "turns": INT,
        "language": TEXT,
    },
    "time": {"hour": INT, "minute": INT, "weekday": TEXT, "unix": INT},
}
MAPS = ("headers", "labels")
"""roots whose fields nobody can declare: text by name, each perhaps not there"""
_CREDENTIALS = re.compile(
    r"api-?key|authorization|authentication|cookie|credential|password|secret|signature|token(?!s)"
    r"|^x-amz-|^:"
)
"""in a header's name: it may carry what must not decide; `:path` can have a key in its query"""


def may_be_credential(header: str) -> bool:
    return _CREDENTIALS.search(header) is not None


def nearest(name: str, known: tuple[str, ...]) -> str:
    return get_close_matches(name, known, n=1, cutoff=0.0)[0]


def undeclared(name: str) -> Wrong:
    known = (
        *(f"{root}.{field}" for root, fields in DECLARED.items() for field in fields),
        *(f'{root}["..."]' for root in MAPS),
    )
    return Wrong(f"`{name}` is not known; the nearest is `{nearest(name, known)}`")


def alike(a: Type, b: Type) -> bool:
    return a == b or (a in NUMBERS and b in NUMBERS)


def relate(left: Type, sign: str, right: Type) -> None:
    if sign == "in":
        fits = right.many and alike(left, Type(right.kind))
    elif sign in ("==", "!="):
        fits = alike(left, right) and left.many == right.many
    else:
        fits = alike(left, right) and left in (INT, FLOAT, TEXT)
    if not fits:
        raise Wrong(f"`{sign}` cannot compare {left} with {right}")


def calculated(left: Type, sign: str, right: Type) -> Type:
    if left not in NUMBERS or left != right or (sign == "%" and left != INT):
        raise Wrong(f"`{sign}` cannot calculate with {left} and {right}")
    return left

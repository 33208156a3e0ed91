"""The tree that a configuration is read into: scalars, lists and maps that know their place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from extproc.config.errors import Place


class Kind(StrEnum):
    """What a scalar is, by YAML 1.2's core schema. The value is the word that errors use."""

    TEXT = "string"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "true or false"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Scalar:
    """`variable` is the environment's variable that this came from, if it is from no file."""

    text: str
    kind: Kind
    place: Place
    variable: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class List:
    items: tuple[Node, ...]
    place: Place
    variable: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Map:
    entries: dict[str, Entry]
    place: Place
    variable: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """`place` is the key's."""

    place: Place
    value: Node


Node: TypeAlias = Scalar | List | Map


_CORE = (
    (Kind.NOTHING, re.compile(r"null|Null|NULL|~|")),
    (Kind.FLAG, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (Kind.INTEGER, re.compile(r"[-+]?[0-9]+")),
    (
        Kind.NUMBER,
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
    ),
)


def plain_kind(text: str) -> Kind:
    """What a scalar without quotes is."""
    return next((kind for kind, pattern in _CORE if pattern.fullmatch(text)), Kind.TEXT)

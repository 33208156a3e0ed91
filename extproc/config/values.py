"""What the text of one scalar means for a shape, and how a message names what was found. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final, assert_never

from extproc.config.errors import nearest, quoted
from extproc.config.nodes import Kind, List, Map, Node, Scalar, plain_kind
from extproc.config.shapes import (
    QUANTITY,
    SIZES,
    TIMES,
    Choice,
    Duration,
    FileName,
    Flag,
    Leaf,
    Number,
    Size,
    Text,
)


class Omit:
    """In place of a value that is wrong or missing."""


OMIT: Final = Omit()


def describe(node: Node, *, quiet: bool = False) -> str:
    """What was found, with its kind; never a variable's value, nor anything when `quiet`."""
    match node:
        case List():
            return "a list" if node.items else "an empty list"
        case Map():
            return "a map"
        case Scalar():
            pass
        case _:
            assert_never(node)
    if node.kind is Kind.NOTHING:
        return "nothing"
    if quiet:
        return {Kind.INTEGER: "an integer", Kind.NUMBER: "a number"}.get(node.kind, "a string")
    if node.variable is not None:
        return quoted(node.text)
    shown = node.text if node.kind is not Kind.TEXT else quoted(node.text)
    return f"{shown[:40]} ({node.kind.value})"


def spelling(shape: Leaf, node: Scalar) -> str | None:
    """A hint for a value that would be right if it were spelled a little differently."""
    if isinstance(shape, Choice):
        return nearest(node.text, shape.values)
    if isinstance(shape, Text | FileName):
        quotes = node.kind is not Kind.TEXT and leaf_value(shape, node.text, Kind.TEXT) is not OMIT
        return "put it in quotes" if quotes else None
    plain = leaf_value(shape, node.text, plain_kind(node.text))
    return "leave out the quotes" if plain is not OMIT and node.kind is Kind.TEXT else None


def leaf_value(shape: Leaf, text: str, kind: Kind) -> object:
    """The value that a scalar's text has for a shape, or OMIT."""
    match shape:
        case Text():
            if kind is not Kind.TEXT or not text.strip():
                return OMIT
            return text if re.fullmatch(shape.pattern or r"(?s).+", text) else OMIT
        case FileName():
            return text if kind is Kind.TEXT and text.strip() and "\0" not in text else OMIT
        case Choice():
            return text if kind is Kind.TEXT and text in shape.values else OMIT
        case Flag():
            return text.lower() == "true" if kind is Kind.FLAG else OMIT
        case Number():
            return _number(shape, text, kind)
        case Size():
            return _size(shape, text, kind)
        case Duration():
            return _duration(shape, text, kind)
        case _:
            assert_never(shape)


def _number(shape: Number, text: str, kind: Kind) -> int | float | Omit:
    if kind is Kind.INTEGER and len(text) <= 20:
        value: int | float = int(text)
    elif kind is Kind.NUMBER and not shape.whole and "n" not in text.lower():
        value = float(text)
    else:
        return OMIT
    low = -math.inf if shape.low is None else shape.low
    high = math.inf if shape.high is None else shape.high
    above = -math.inf if shape.above is None else shape.above
    return value if low <= value <= high and value > above and math.isfinite(value) else OMIT


def _quantity(text: str, kind: Kind, units: Mapping[str, float]) -> float | None:
    matched = QUANTITY.fullmatch(text) if len(text) <= 20 and kind is not Kind.FLAG else None
    if matched is None or matched[2] not in units:
        return None
    return float(matched[1]) * units[matched[2]]


def _size(shape: Size, text: str, kind: Kind) -> int | Omit:
    found = _quantity(text, kind, SIZES)
    if found is None or found != int(found) or not shape.low <= found <= shape.high:
        return OMIT
    return int(found)


def _duration(shape: Duration, text: str, kind: Kind) -> float | Omit:
    found = _quantity(text, kind, TIMES)
    return found if found is not None and shape.above < found <= shape.high else OMIT

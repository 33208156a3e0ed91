"""The kinds of value that a configuration is made of.

Plain descriptions: the loader checks against them, the JSON Schema and the
reference page are written from them. They hold no state and read nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from extproc.config.errors import listed

SIZES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
TIMES = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Text:
    """A string. `pattern` must match all of it; `problem` gives what is wrong with it, or None.

    `quiet`: an error, and `problem`, never repeats the value. `soft`: an unset variable is not
    an error here but makes the provider unavailable.
    """

    expected: str = "a string"
    pattern: str | None = None
    problem: Callable[[str], str | None] | None = None
    quiet: bool = False
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    values: tuple[str, ...]

    @property
    def expected(self) -> str:
        return listed(self.values)


@dataclass(frozen=True, slots=True)
class Number:
    """`unit` is for people. Bounds are inclusive; `above` is an exclusive lower one."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    whole: bool = True
    unit: str = ""

    @property
    def expected(self) -> str:
        name = ("a whole number" if self.whole else "a number") + (
            f" of {self.unit}" * bool(self.unit)
        )
        return name + bounds(self)


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes: a whole number, or one with a unit such as 32MiB."""

    low: int = 1
    high: int = 2**40

    @property
    def expected(self) -> str:
        return f"a size such as 512KiB or 32MiB from {size(self.low)} to {size(self.high)}"


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds: a number, or one with a unit such as 30s or 5m."""

    above: float = 0.0
    high: float = 86400.0

    @property
    def expected(self) -> str:
        return f"a time such as 30, 30s or 5m, more than {self.above:g} and at most {self.high:g} seconds"


@dataclass(frozen=True, slots=True)
class Flag:
    expected: str = "true or false"


@dataclass(frozen=True, slots=True)
class FileName:
    """A path, relative to the file's folder. `exists`: a file must be there when it is loaded."""

    exists: bool = False

    @property
    def expected(self) -> str:
        return "the path of a file" if self.exists else "a path"


@dataclass(frozen=True, slots=True)
class SecretText:
    """A string or `{file: path}`. Never repeated in an error, whatever it holds."""

    soft: bool = False
    expected: str = "a string or {file: path}"


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Shape
    at_least: int = 0

    @property
    def expected(self) -> str:
        return "a list" if not self.at_least else "a list that is not empty"


@dataclass(frozen=True, slots=True)
class Table:
    """Names that a person chooses, each with a `value`. `pattern` is of the names."""

    value: Shape
    pattern: str
    names: str
    """what a name may be made of, for people"""
    at_most: int | None = None

    @property
    def expected(self) -> str:
        return "names with a value each"


@dataclass(frozen=True, slots=True)
class Field:
    """`default` is for the reference; the values themselves are `schema.py`'s."""

    shape: Shape
    doc: str
    default: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Either:
    """The same in few words or in more; the kind of what stands there tells which."""

    short: Leaf | SecretText | ListOf
    more: ListOf | Block | Either

    @property
    def forms(self) -> tuple[Leaf | SecretText | ListOf | Block, ...]:
        """All ways to say it: at most one is a word, one a list and one a block. A secret is a
        word, or a block of `file:` alone."""
        more = self.more.forms if isinstance(self.more, Either) else (self.more,)
        return (self.short, *more)

    @property
    def expected(self) -> str:
        return ", or ".join(form.expected for form in self.forms)


@dataclass(frozen=True, slots=True)
class Block:
    """Keys that we know. `one_of`: exactly one of these keys is there."""

    fields: Mapping[str, Field]
    one_of: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        return f"keys such as `{next(iter(self.fields))}:`"


Leaf: TypeAlias = Text | Choice | Number | Size | Duration | Flag | FileName
Shape: TypeAlias = Leaf | SecretText | ListOf | Table | Either | Block


def bounds(shape: Number) -> str:
    """` from 0 to 10`, or as much of it as there is."""
    if shape.above is not None:
        most = "" if shape.high is None else f" and at most {shape.high:.15g}"
        return f" more than {shape.above:g}{most}"
    if shape.low is not None and shape.high is not None:
        return f" from {shape.low:.15g} to {shape.high:.15g}"
    return f" of at least {shape.low:g}" if shape.low is not None else ""


def size(value: int) -> str:
    """Bytes for people: 33554432 is `32MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % SIZES[unit] == 0:
            return f"{value // SIZES[unit]}{unit}"
    return str(value)

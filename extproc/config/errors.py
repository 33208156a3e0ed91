"""What is wrong with a configuration, as values: all of it at once, each with its place.

Takes facts, gives lines for people. No error ever holds a secret, and nothing here
reads a file.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = "environment"
"""the `file` of an error that a variable of the environment caused"""

_SHOWN = 40
"""characters of a value that a message repeats"""


@dataclass(frozen=True, slots=True)
class Place:
    """`line` and `column` count from 1; 0 where there is none (the environment, no file)."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One thing that is wrong.

    `path` is the key's (`keys[0].name`), or the variable's name when `file` is
    `environment`; empty for the file as a whole. `message` says what was found
    and what is expected; `hint` is the nearest thing that would have been right.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None

    def render(self) -> str:
        """`file:line:column: path: message (hint)`, leaving out what there is none of."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        parts = [place, self.path, self.message] if self.path else [place, self.message]
        return ": ".join(parts) + (f" ({self.hint})" if self.hint else "")

    __str__ = render


class ConfigErrors(Exception):
    """Every error of one configuration, sorted by place; those of the environment come last.

    `files` are those that it names, as far as it could be read.
    """

    def __init__(self, errors: Iterable[ConfigError], files: Iterable[Path] = ()) -> None:
        self.files = tuple(sorted(files))
        unique = dict.fromkeys(errors)
        self.errors = tuple(sorted(unique, key=_order))
        super().__init__(self.render())

    def render(self) -> str:
        """One line each, without a final newline."""
        return "\n".join(error.render() for error in self.errors)

    def __str__(self) -> str:
        return self.render()


def _order(error: ConfigError) -> tuple[bool, str, int, int, str, str]:
    return (
        error.file == ENVIRONMENT,
        error.file,
        error.line,
        error.column,
        error.path,
        error.message,
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the known name that `name` most likely means, or None."""
    candidates = sorted(known)
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    wanted = name.lower().replace("-", "_")
    found = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6)
    return f'did you mean "{folded[found[0]]}"?' if found else None


def quoted(text: str) -> str:
    """A value as a message repeats it: escaped, on one line, not too long."""
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return json.dumps(short, ensure_ascii=not short.isprintable())


def listed(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = list(names)
    return f"{', '.join(most)} or {last}" if most else last

"""What checking a configuration finds beside its values: errors, warnings, places, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from extproc.config.errors import ENVIRONMENT, ConfigError, Place, quoted
from extproc.config.nodes import Node, Scalar

KeyPath: TypeAlias = tuple[str | int, ...]
T = TypeVar("T")
V = TypeVar("V")


def spell(path: KeyPath) -> str:
    """`keys[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


@dataclass(slots=True)
class Findings:
    """What checking found beside the values.

    `places` has every key that is there, wrong or not. `missing` says, for
    values that may be missing, why they are (`OPENAI_API_KEY is not set`). `kept`
    are the places in the file's lists of the values that were not left out.
    `left_out` are providers that ALL_PROVIDERS does not name. `files` are those that values
    name and that must be there, whether they are or not.
    """

    file: str
    errors: list[ConfigError] = field(default_factory=list[ConfigError])
    warnings: list[str] = field(default_factory=list[str])
    places: dict[KeyPath, Node] = field(default_factory=dict[KeyPath, Node])
    keys: dict[KeyPath, Place] = field(default_factory=dict[KeyPath, Place])
    missing: dict[KeyPath, str] = field(default_factory=dict[KeyPath, str])
    left_out: set[str] = field(default_factory=set[str])
    files: set[Path] = field(default_factory=set[Path])
    kept: dict[KeyPath, list[int]] = field(default_factory=dict[KeyPath, "list[int]"])
    moved: dict[KeyPath, KeyPath] = field(default_factory=dict[KeyPath, KeyPath])
    """of a view (`within`): where what is found at a path stands in the file"""

    def spelled(self, path: KeyPath) -> str:
        """The path as it is in the file."""
        for length in range(len(path), 0, -1) if self.moved else ():
            if (real := self.moved.get(path[:length])) is not None:
                return spell((*real, *path[length:]))
        return spell(path)

    def has(self, *path: str | int) -> bool:
        return path in self.places

    def items(self, path: KeyPath, values: Iterable[T]) -> Iterator[tuple[KeyPath, T]]:
        """The checked values of the list at `path`, each with its own path in the file."""
        places = self.kept.get(path, [])
        return (((*path, at), value) for at, value in zip(places, values, strict=True))

    def within(self, path: KeyPath, inner: KeyPath, hidden: Collection[str]) -> Findings:
        """As if the keys of the block at `inner` stood in the one at `path`: before those of the same
        name, and without those that are `hidden`. Whatever is wrong is told by its place in the
        file; `take` brings it back."""
        own = {
            part[len(inner)]
            for part in self.places
            if len(part) > len(inner) and part[: len(inner)] == inner
        }

        def seen(table: Mapping[KeyPath, V]) -> dict[KeyPath, V]:
            outer = {
                at: value
                for at, value in table.items()
                if len(at) > len(path)
                and at[: len(path)] == path
                and at[len(path)] not in own
                and at[len(path)] not in hidden
            }
            more = {
                (*path, *at[len(inner) :]): value
                for at, value in table.items()
                if at[: len(inner)] == inner
            }
            return {**outer, **more}

        return Findings(
            self.file,
            places=seen(self.places),
            keys={path: self.places[inner].place, **seen(self.keys)},
            missing=seen(self.missing),
            kept=seen(self.kept),
            files=self.files,
            moved=seen({at: at for at in self.places}),
        )

    def take(self, view: Findings) -> None:
        """What a view found, each thing once."""
        self.errors += view.errors
        self.warnings += [one for one in view.warnings if one not in self.warnings]

    def shown(self, path: KeyPath) -> str:
        """The text at `path` as the file has it: a variable's name, never its value."""
        node = self.places[path]
        return quoted(node.text) if isinstance(node, Scalar) else "here"

    def at(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        """An error of the value at `path`, or of the nearest thing around it that is there."""
        around = path
        while around and around not in self.places:
            around = around[:-1]
        self.of(self.places[around], path, message, hint)

    def of(self, node: Node, path: KeyPath, message: str, hint: str | None = None) -> None:
        """An error of a node. One from the environment is known by its variable, not by its path."""
        self._add(node.place, node.variable or self.spelled(path), message, hint)

    def of_key(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        """An error of the key itself."""
        variable = self.places[path].variable if path in self.places else None
        self._add(self.keys[path], variable or self.spelled(path), message, hint)

    def _add(self, place: Place, path: str, message: str, hint: str | None) -> None:
        self.errors.append(ConfigError(place.file, place.line, place.column, path, message, hint))

    def of_variable(self, name: str, message: str, hint: str | None = None) -> None:
        self.errors.append(ConfigError(ENVIRONMENT, 0, 0, name, message, hint))

    def warn(self, path: KeyPath, message: str) -> None:
        self.warnings.append(f"{self.spelled(path)}: {message}" if path else message)

"""YAML text to a tree of nodes.

Takes bytes, gives a `Map`. Bounded in size, depth and aliases, so that no file
can make it run long. Never resolves variables, never judges what a key means,
and never repeats a value of the file in an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from extproc.config.errors import ConfigError, Place, quoted
from extproc.config.nodes import Entry, Kind, List, Map, Node, Scalar, plain_kind

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000
"""nodes of the tree once every alias is spelled out"""


class Unreadable(Exception):
    """The text is not one YAML document; `error` says where and why."""

    def __init__(self, error: ConfigError) -> None:
        super().__init__(error.render())
        self.error = error


class _Mark(Protocol):
    """A place as the parser says it: counted from 0."""

    line: int
    column: int


class _Event(Protocol):
    start_mark: _Mark


class _NodeEvent(_Event, Protocol):
    anchor: str | None


class _ScalarEvent(_NodeEvent, Protocol):
    value: str
    tag: str | None
    style: str | None


class _Complaint(Protocol):
    problem: str | None
    context: str | None
    problem_mark: _Mark | None
    context_mark: _Mark | None


def read(content: bytes, file: str) -> tuple[Map, list[ConfigError]]:
    """The document's top level, and the errors that did not hinder reading it.

    Raises `Unreadable` for what is not UTF-8, not YAML, too big, or not a map.
    """
    text = _decode(content, file)
    builder = _Builder(file)
    try:
        for event in _events(text):
            builder.feed(event)
    except MarkedYAMLError as error:
        raise Unreadable(_syntax(cast("_Complaint", error), text, file)) from None
    except ReaderError as error:
        place = _place_of(text, cast("int", error.position), file)  # pyright: ignore[reportUnknownMemberType]
        raise Unreadable(_error(place, "found a control character, expected text")) from None
    except YAMLError:
        raise Unreadable(_error(Place(file, 1, 1), "this is not YAML")) from None
    root = builder.root
    if root is None or (isinstance(root, Scalar) and root.kind is Kind.NOTHING):
        return Map({}, Place(file, 1, 1)), builder.errors
    if not isinstance(root, Map):
        found = "a list" if isinstance(root, List) else f"a {root.kind.value}"
        raise Unreadable(_error(root.place, f"found {found}, expected keys such as `server:`"))
    return root, builder.errors


def _events(text: str) -> Iterator[object]:
    parser = YAML(typ="safe", pure=True)
    return cast("Iterator[object]", parser.parse(text))  # pyright: ignore[reportUnknownMemberType]


def _decode(content: bytes, file: str) -> str:
    if len(content) > MAX_BYTES:
        message = f"found {len(content)} bytes, expected a file of at most {MAX_BYTES}"
        raise Unreadable(_error(Place(file, 1, 1), message))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        place = _place_of(before, len(before), file)
        raise Unreadable(_error(place, "found a byte that is not UTF-8, expected text")) from None


def _place_of(text: str, position: int, file: str) -> Place:
    before = text[:position]
    return Place(file, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


def _error(place: Place, message: str, path: str = "", hint: str | None = None) -> ConfigError:
    return ConfigError(place.file, place.line, place.column, path, message, hint)


def _syntax(error: _Complaint, text: str, file: str) -> ConfigError:
    """The parser's complaint, with what it quotes from the file taken out: that may be a secret."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    place = Place(file, line + 1, column + 1)
    lines = text.splitlines()
    around = lines[line] if line < len(lines) else ""
    if "\\t" in str(error.problem):
        return _error(place, "found a tab, expected spaces: YAML does not indent with tabs")
    said = " ".join(word for word in (error.problem, error.context) if word)
    problem = _QUOTE.sub(_short_quote, said or "cannot be read")
    hint = 'inside { } and [ ], write "${NAME}" with its quotes' if "${" in around else None
    return _error(place, f"this is not YAML: {problem}", hint=hint)


_QUOTE = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def _short_quote(quote: re.Match[str]) -> str:
    inner = quote[1] or quote[2] or ""
    return quote[0] if len(inner) <= 2 or inner.startswith("<") else "…"


@dataclass(slots=True)
class _Open:
    """A list or map that has begun and not ended."""

    place: Place
    anchor: str | None
    is_map: bool
    items: list[Node] = field(default_factory=list["Node"])
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    key: Scalar | None = None
    merges: list[Map] = field(default_factory=list[Map])
    weight: int = 1


class _Builder:
    """Feed it events; `root` is the tree at the end, `errors` what a person should mend."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.errors: list[ConfigError] = []
        self._file = file
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0

    def feed(self, event: object) -> None:
        match event:
            case DocumentStartEvent():
                self._document(cast("_Event", event))
            case ScalarEvent():
                self._scalar(cast("_ScalarEvent", event))
            case AliasEvent():
                self._alias(cast("_NodeEvent", event))
            case MappingStartEvent() | SequenceStartEvent():
                is_map = isinstance(event, MappingStartEvent)
                self._begin(cast("_NodeEvent", event), is_map=is_map)
            case MappingEndEvent() | SequenceEndEvent():
                self._end()
            case _:
                pass

    def _place(self, event: _Event) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _document(self, event: _Event) -> None:
        self._documents += 1
        if self._documents > 1:
            message = "found a second document (`---`), expected one"
            raise Unreadable(_error(self._place(event), message))

    def _scalar(self, event: _ScalarEvent) -> None:
        place, tag = self._place(event), event.tag
        if tag not in (None, "!", "tag:yaml.org,2002:str"):
            self.errors.append(_error(place, "found a YAML tag (`!...`), expected a plain value"))
        plain = not event.style and tag is None
        kind = plain_kind(event.value) if plain else Kind.TEXT
        self._add(Scalar(event.value, kind, place), event.anchor)

    def _alias(self, event: _NodeEvent) -> None:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            message = "found an alias (`*name`), expected one of a value that ends above it"
            raise Unreadable(_error(self._place(event), message))
        self._add(node, None)

    def _begin(self, event: _NodeEvent, *, is_map: bool) -> None:
        place = self._place(event)
        if len(self._stack) >= MAX_DEPTH:
            raise Unreadable(_error(place, f"nested too deep, expected at most {MAX_DEPTH} levels"))
        self._stack.append(_Open(place, event.anchor, is_map))

    def _end(self) -> None:
        done = self._stack.pop()
        if done.is_map:
            for merged in done.merges:
                for key, entry in merged.entries.items():
                    done.entries.setdefault(key, entry)
            self._add(Map(done.entries, done.place, weight=done.weight), done.anchor)
        else:
            self._add(List(tuple(done.items), done.place, weight=done.weight), done.anchor)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.weight += node.weight
        if parent.weight > MAX_NODES:
            raise Unreadable(
                _error(
                    node.place,
                    f"found too many values, expected at most {MAX_NODES}, aliases spelled out",
                )
            )
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            self._entry(parent, parent.key, node)
            parent.key = None

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar):
            return node
        raise Unreadable(_error(node.place, "found a list or a map as a key, expected a name"))

    def _entry(self, parent: _Open, key: Scalar, value: Node) -> None:
        if key.text == "<<" and _merged(value):
            parent.merges.extend(_merged(value))
        elif key.text in parent.entries:
            first = parent.entries[key.text].place
            message = f"found {quoted(key.text)} a second time, expected it once; the first is on line {first.line}"
            self.errors.append(_error(key.place, message))
        else:
            parent.entries[key.text] = Entry(key.place, value)


def _merged(value: Node) -> list[Map]:
    """The maps that `<<: value` merges in; none when it is no merge."""
    items = value.items if isinstance(value, List) else (value,)
    maps = [item for item in items if isinstance(item, Map)]
    return maps if len(maps) == len(items) else []

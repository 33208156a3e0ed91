"""Nodes against shapes: gives plain values, and notes every error with its place.

What is wrong is left out of the values, so that one look finds all errors.
Reads the files that `{file: ...}` names and looks whether certificate files are
there; the environment is passed in. Never repeats a secret or a variable's value.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from extproc.config.errors import listed, nearest, quoted
from extproc.config.findings import Findings, KeyPath
from extproc.config.interpolate import Filled, fill
from extproc.config.nodes import Kind, List, Map, Node, Scalar, plain_kind
from extproc.config.schema import Secret
from extproc.config.shapes import (
    Block,
    Either,
    FileName,
    Leaf,
    ListOf,
    SecretText,
    Shape,
    Table,
    Text,
)
from extproc.config.values import OMIT, Omit, describe, leaf_value, spelling

SECRET_FILE_MAX = 64 * 1024


class Checker:
    """`folder` is what relative paths are relative to."""

    def __init__(self, found: Findings, env: Mapping[str, str], folder: Path) -> None:
        self._found = found
        self._env = env
        self._folder = folder

    def check(self, shape: Shape, node: Node, path: KeyPath) -> object:
        """The node's value: str, int, float, bool, Path, Secret, list or dict; or OMIT."""
        self._found.places[path] = node
        match shape:
            case Block():
                return self._block(shape, node, path)
            case Table():
                return self._table(shape, node, path)
            case ListOf():
                return self._list(shape, node, path)
            case Either():
                return self._either(shape, node, path)
            case SecretText():
                return self._secret(shape, node, path)
            case _:
                return self._leaf(shape, node, path)

    def _wrong(
        self,
        node: Node,
        path: KeyPath,
        expected: str,
        *,
        quiet: bool = False,
        hint: str | None = None,
    ) -> Omit:
        message = f"found {describe(node, quiet=quiet)}, expected {expected}"
        self._found.of(node, path, message, hint)
        return OMIT

    def _map(self, shape: Block | Table, node: Node, path: KeyPath) -> Map | None:
        if isinstance(node, Scalar) and node.kind is Kind.NOTHING:
            return Map({}, node.place)
        if isinstance(node, Map):
            for key, entry in node.entries.items():
                self._found.keys[(*path, key)] = entry.place
            return node
        self._wrong(node, path, shape.expected, quiet=True)
        return None

    def _block(self, shape: Block, node: Node, path: KeyPath) -> object:
        table = self._map(shape, node, path)
        if table is None:
            return OMIT
        values: dict[str, object] = {}
        for key, entry in table.entries.items():
            known = shape.fields.get(key)
            if known is None:
                message = f"unknown key, expected {listed(shape.fields)}"
                self._found.of_key((*path, key), message, nearest(key, shape.fields))
            else:
                _keep(values, key, self.check(known.shape, entry.value, (*path, key)))
        self._required(shape, node, table, path)
        return values

    def _required(self, shape: Block, node: Node, table: Map, path: KeyPath) -> None:
        for name, known in shape.fields.items():
            if known.required and name not in table.entries:
                self._found.of(node, path, f"`{name}:` is missing, expected {known.shape.expected}")
        there = [name for name in shape.one_of if name in table.entries]
        if shape.one_of and len(there) != 1:
            two = len(shape.one_of) == 2
            what = ("both" if two else "several") if there else ("neither" if two else "none")
            *most, last = (f"`{name}:`" for name in shape.one_of)
            names = f"{', '.join(most)} and {last}"
            self._found.of(node, path, f"found {what} of {names}, expected one of them")

    def _table(self, shape: Table, node: Node, path: KeyPath) -> object:
        table = self._map(shape, node, path)
        if table is None:
            return OMIT
        if shape.at_most is not None and len(table.entries) > shape.at_most:
            message = f"found {len(table.entries)} names, expected at most {shape.at_most}"
            self._found.of(node, path, message)
        values: dict[str, object] = {}
        for key, entry in table.entries.items():
            if not re.fullmatch(shape.pattern, key):
                message = f"found the name {quoted(key)}, expected {shape.names}"
                self._found.of_key((*path, key), message)
            _keep(values, key, self.check(shape.value, entry.value, (*path, key)))
        return values

    def _list(self, shape: ListOf, node: Node, path: KeyPath) -> object:
        if not isinstance(node, List):
            return self._wrong(node, path, shape.expected, quiet=True)
        if len(node.items) < shape.at_least:
            return self._wrong(node, path, shape.expected, quiet=True)
        checked = [self.check(shape.item, one, (*path, at)) for at, one in enumerate(node.items)]
        kept = [at for at, value in enumerate(checked) if value is not OMIT]
        self._found.kept[path] = kept
        return [checked[at] for at in kept]

    def _either(self, shape: Either, node: Node, path: KeyPath) -> object:
        for form in shape.forms:
            if _fits(form, node):
                return self.check(form, node, path)
        return self._wrong(node, path, shape.expected, quiet=True)

    def _fill(self, node: Scalar, path: KeyPath, *, soft: bool) -> Filled | None:
        """The text with its variables; None when an error or a lack is noted."""
        if node.kind is not Kind.TEXT:
            return Filled(node.text)
        filled = fill(node.text, self._env)
        if filled.malformed:
            message = "found `${` without `NAME}`, expected `${NAME}`, `${NAME:-default}` or `$${` for `${`"
            self._found.of(node, path, message)
            return None
        empty = filled.variables if not filled.text.strip() and not filled.missing else ()
        if soft and (filled.missing or empty):
            lacks = [f"{name} is not set" for name in dict.fromkeys(filled.missing)]
            lacks += [f"{name} is empty" for name in dict.fromkeys(empty)]
            self._found.missing[path] = ", ".join(lacks)
            return None
        for name in dict.fromkeys(filled.missing):
            self._found.of(node, path, f"{name} is not set, expected a variable of the environment")
        return None if filled.missing else filled

    def _leaf(self, shape: Leaf, node: Node, path: KeyPath) -> object:
        quiet = isinstance(shape, Text) and shape.quiet
        if not isinstance(node, Scalar):
            return self._wrong(node, path, shape.expected, quiet=True)
        filled = self._fill(node, path, soft=isinstance(shape, Text) and shape.soft)
        if filled is None:
            return OMIT
        kind = node.kind
        if filled.variables or node.variable:
            kind = plain_kind(filled.text) if not isinstance(shape, Text | FileName) else Kind.TEXT
        value = leaf_value(shape, filled.text, kind)
        if isinstance(value, str) and isinstance(shape, Text) and shape.problem is not None:
            problem = shape.problem(value)
            if problem is not None and filled.variables and not quiet:
                return self._wrong(node, path, shape.expected)
            if problem is not None:
                self._found.of(node, path, f"{problem}, expected {shape.expected}")
                return OMIT
        if value is OMIT:
            hint = None if quiet else spelling(shape, node)
            return self._wrong(node, path, shape.expected, quiet=quiet, hint=hint)
        if isinstance(shape, FileName) and isinstance(value, str):
            return self._file(shape, value, node, path)
        return value

    def _file(self, shape: FileName, text: str, node: Scalar, path: KeyPath) -> object:
        name = self._folder / text
        if shape.exists:
            self._found.files.add(name)
        if not shape.exists or is_file(name):
            return name
        what = "a folder or the like" if name.exists() else "no file there"
        self._found.of(node, path, f"found {what}, expected {shape.expected}")
        return OMIT

    def _secret(self, shape: SecretText, node: Node, path: KeyPath) -> object:
        if isinstance(node, Map):
            return self._secret_file(shape, node, path)
        if not isinstance(node, Scalar) or node.kind is not Kind.TEXT:
            return self._wrong(node, path, shape.expected, quiet=True)
        filled = self._fill(node, path, soft=shape.soft)
        if filled is None:
            return OMIT
        if not filled.variables and node.variable is None:
            self._found.warn(
                path,
                "the secret stands in the file itself; `${VAR}` or `{file: path}` keeps it out",
            )
        source = listed(filled.variables) if filled.variables else "the value"
        return self._kept(filled.text, source, shape, node, path)

    def _secret_file(self, shape: SecretText, node: Map, path: KeyPath) -> object:
        entry = node.entries.get("file")
        if entry is None or len(node.entries) != 1:
            self._found.of(node, path, f"found other keys than `file:`, expected {shape.expected}")
            return OMIT
        value = self.check(FileName(), entry.value, (*path, "file"))
        if not isinstance(value, Path):
            return OMIT
        self._found.files.add(value)
        try:
            with value.open("rb") as source:
                content = source.read(SECRET_FILE_MAX + 1)
            mode = value.stat().st_mode
        except (OSError, ValueError) as error:
            reason = (
                error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
            )
            return self._lack(f"its file cannot be read ({reason})", shape, node, path)
        if mode & stat.S_IROTH:
            self._found.warn(
                (*path, "file"), "every user of this machine can read it; `chmod 600` it"
            )
        try:
            return self._kept(content.decode(), "its file", shape, node, path)
        except UnicodeDecodeError:
            return self._lack("its file is not UTF-8 text", shape, node, path)

    def _kept(self, text: str, source: str, shape: SecretText, node: Node, path: KeyPath) -> object:
        secret = text.strip()
        if not secret:
            return self._lack(f"{source} is empty", shape, node, path)
        if len(secret) > SECRET_FILE_MAX or not all(
            "!" <= character <= "~" for character in secret
        ):
            what = "characters that a header cannot carry"
            return self._lack(f"{source} holds {what}", shape, node, path)
        return Secret(secret)

    def _lack(self, reason: str, shape: SecretText, node: Node, path: KeyPath) -> Omit:
        if shape.soft:
            self._found.missing[path] = reason
        else:
            self._found.of(node, path, f"{reason}, expected {shape.expected}")
        return OMIT


def _fits(form: Leaf | SecretText | ListOf | Block, node: Node) -> bool:
    """Whether a value of this kind is meant."""
    match node:
        case List():
            return isinstance(form, ListOf)
        case Map() if isinstance(form, SecretText):
            return node.entries.keys() == {"file"}
        case Map():
            return isinstance(form, Block)
        case Scalar():
            return node.kind is not Kind.NOTHING and not isinstance(form, ListOf | Block)


def _keep(values: dict[str, object], key: str, value: object) -> None:
    if value is not OMIT:
        values[key] = value


def is_file(path: Path) -> bool:
    """Whether a file is there; a path that no system can have is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False

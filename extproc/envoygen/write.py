"""Puts Envoy's files on the disk, and only those that changed. The only writer here.

Each file is written beside its place and renamed into it: Envoy watches for the
rename, and nobody ever sees half a file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from extproc.config.layout import Layout
from extproc.envoygen.nodes import Node
from extproc.envoygen.render import KINDS, EnvoyFiles, Kind, dump

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def write(files: EnvoyFiles, layout: Layout, kinds: Iterable[Kind] = KINDS) -> tuple[str, ...]:
    """Writes the bootstrap and the xDS types in `kinds`, in the order of KINDS.

    Gives the names of what changed: xDS types and `bootstrap`. Raises OSError
    with the old files in place where the disk refuses.
    """
    chosen = set(kinds)
    for folder in (layout.data, layout.envoy, layout.xds("lds").parent):
        _folder(folder)
    changed: list[str] = []
    if _replace(layout.bootstrap, files.bootstrap):
        changed.append("bootstrap")
    for kind in KINDS:
        if kind not in chosen:
            continue
        folder = layout.xds(kind)
        _folder(folder)
        if _replace(folder / f"{kind}.json", files[kind]):
            changed.append(kind)
    return tuple(changed)


def _folder(path: Path) -> None:
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def _replace(path: Path, node: Node) -> bool:
    """Whether the file at `path` is another one now."""
    content = dump(node).encode()
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return False
    # beside the watched folder's file under a name Envoy does not read, on one file system
    beside = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return True

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
from extproc.envoygen.render import KINDS, EnvoyFiles, Kind, dump

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def write(files: EnvoyFiles, layout: Layout, kinds: Iterable[Kind] = KINDS) -> tuple[str, ...]:
    """Writes the bootstrap and the xDS types in `kinds`, in the order of KINDS.

    Gives the names of what changed: xDS types and `bootstrap`. Raises OSError
    with the old files in place where the disk refuses.
    """
    chosen: frozenset[Kind] = frozenset(kinds)
    for folder in (layout.data, layout.envoy, layout.xds("lds").parent):
        _folder(folder)
    changed: list[str] = []
    if put(layout.bootstrap, dump(files.bootstrap).encode()):
        changed.append("bootstrap")
    for kind in KINDS:
        if kind not in chosen:
            continue
        path = layout.xds(kind) / f"{kind}.json"
        _folder(path.parent)
        if put(path, dump(files[kind]).encode()):
            changed.append(kind)
    return tuple(changed)


def _folder(path: Path) -> None:
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def put(path: Path, content: bytes) -> bool:
    """Writes one file, private, and whole or not at all. Whether it is another one now."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return False
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

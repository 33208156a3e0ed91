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
from extproc.envoygen.render import KINDS, EnvoyFiles, Kind, texts

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def write(files: EnvoyFiles, layout: Layout, kinds: Iterable[Kind] = KINDS) -> tuple[str, ...]:
    """Writes the bootstrap and the xDS types in `kinds`, in the order of KINDS.

    Gives the names of what changed: xDS types and `bootstrap`. Raises OSError
    with the old files in place where the disk refuses.
    """
    chosen = {"bootstrap", *kinds}
    for folder in (layout.data, layout.envoy, layout.xds("lds").parent):
        _folder(folder)
    changed: list[str] = []
    for name, text in texts(files).items():
        path = layout.bootstrap if name == "bootstrap" else layout.xds(name) / f"{name}.json"
        if name not in chosen:
            continue
        _folder(path.parent)
        if _replace(path, text.encode()):
            changed.append(name)
    return tuple(changed)


def _folder(path: Path) -> None:
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def _replace(path: Path, content: bytes) -> bool:
    """Whether the file at `path` is another one now."""
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

"""What Envoy is told, and whether it does as it is told.

Renders the active configuration with the sockets that the supervisor names, and
writes what changed of it. A change is proved by `envoy --mode validate` first, and
waited for after. Ways to the providers of earlier configurations stay until they
are dropped: exchanges may still name them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from extproc.config.layout import Layout
from extproc.config.schema import Settings
from extproc.envoygen.render import (
    KINDS,
    VERSION_STATS,
    EnvoyFiles,
    Kind,
    Ways,
    joined,
    ways,
)
from extproc.envoygen.static import static
from extproc.envoygen.write import put, write
from extproc.model.ports import Clock
from extproc.supervisor.envoy import EnvoyAdmin, Followed, read_line, validation
from extproc.supervisor.process import Process

Sockets: TypeAlias = tuple[Sequence[Path], Path, Sequence[Path]]
Render = Callable[[Settings, Sequence[Path], Path, Sequence[Path]], EnvoyFiles]
"""settings, and the sockets of workers, admin process and leaving workers"""

PROOF = 10.0
"""seconds for `envoy --mode validate`"""
FOLLOWS = 10.0
"""seconds for Envoy to make a change live"""
WARMS = 3.0
"""seconds for names of providers to be looked up: a new cluster is unknown until then"""
_POLL = 0.01
_SHARED: Sequence[Kind] = ("cds", "ecds", "rds", "lds")
"""what a configuration changes; the rest are sockets"""


class NotTaken(Exception):
    """Envoy does not take a configuration. The text is for people."""


class Xds:
    def __init__(
        self, settings: Settings, render: Render, layout: Layout, envoy: Path, clock: Clock
    ) -> None:
        self._settings = settings
        self._render = render
        self._layout = layout
        self._binary = envoy
        self._clock = clock
        self._admin = EnvoyAdmin(layout.envoy_admin_socket)
        self._sockets: Sockets | None = None
        self._files: EnvoyFiles | None = None
        self._latest: tuple[Settings, Sockets, EnvoyFiles] | None = None
        self._held: dict[int, Ways] = {}
        self._written: dict[Kind, str] = {}

    def publish(self, workers: Sequence[Path], admin: Path, leaving: Sequence[Path]) -> None:
        """Writes the files for these sockets. Raises OSError, RenderError."""
        self._sockets = (workers, admin, leaving)
        self._write(self._rendered(self._settings))

    async def prove(self, settings: Settings) -> None:
        """Raises NotTaken with Envoy's own words when it would refuse these settings, RenderError
        when they cannot even be written down."""
        files = self._rendered(settings)
        if self._files is not None and not _changed(self._files, files):
            return
        path = self._layout.envoy / "candidate.json"
        put(path, json.dumps(static(files)).encode())
        try:
            await self._prove(path)
        finally:
            path.unlink(missing_ok=True)

    async def change(self, before: int, settings: Settings) -> None:
        """Makes these settings live. Ways of the former ones stay, as those of `before`.

        Raises NotTaken or OSError, with the former settings in place again.
        """
        former, files = self._settings, self._rendered(settings)
        assert self._files is not None
        standing = await self._followed()
        if standing is None:
            raise NotTaken("Envoy does not answer in time")
        refused = standing.refused
        self._held[before] = ways(self._files)
        self._settings = settings
        try:
            self._write(files)
            await self._until_live(refused)
        except BaseException:
            self._settings = former
            del self._held[before]
            with contextlib.suppress(OSError):
                self._write(self._rendered(former))
            raise

    @property
    def held(self) -> Iterable[int]:
        """The serial numbers of former configurations whose ways are still there."""
        return tuple(self._held)

    def drop(self, serials: Iterable[int]) -> None:
        """Takes the ways away that only these configurations have. Raises OSError."""
        for serial in serials:
            self._held.pop(serial, None)
        if self._files is not None:
            self._write(self._files)

    def _rendered(self, settings: Settings) -> EnvoyFiles:
        assert self._sockets is not None
        known = self._latest
        if known is not None and known[0] is settings and known[1] == self._sockets:
            return known[2]
        files = self._render(settings, *self._sockets)
        self._latest = (settings, self._sockets, files)
        return files

    def _write(self, files: EnvoyFiles) -> None:
        whole = joined(files, self._held.values())
        kinds: list[Kind] = [
            kind for kind in KINDS if self._written.get(kind) != whole.version(kind)
        ]
        write(whole, self._layout, kinds)
        self._files = files
        self._written = {kind: whole.version(kind) for kind in KINDS}

    async def _prove(self, path: Path) -> None:
        process = await Process.start(validation(self._binary, path))
        said: list[str] = []
        try:
            async with asyncio.timeout(PROOF):
                while line := await process.line():
                    if (told := read_line(line)) is not None:
                        said.append(told.text)
                status = await process.wait()
        except TimeoutError:
            raise NotTaken(f"Envoy did not judge it within {PROOF:g} s") from None
        finally:
            if process.running:
                await process.end(0.0)
        if status:
            raise NotTaken(f"Envoy refuses it: {' '.join(said) or f'exit {status}'}")

    async def _until_live(self, refused: int) -> None:
        """Raises NotTaken when Envoy refuses, or does nothing for too long."""
        began = self._clock.monotonic()
        while (waited := self._clock.monotonic() - began) < FOLLOWS:
            told = await self._followed()
            if told is None:
                continue
            live = all(told.live.get(VERSION_STATS[one]) == self._written[one] for one in _SHARED)
            if live and (not told.warming or waited > WARMS):
                return
            if told.refused > refused:
                raise NotTaken("Envoy refuses it; its own messages above say why")
            await asyncio.sleep(_POLL)
        raise NotTaken(f"Envoy did not follow within {FOLLOWS:g} s")

    async def _followed(self) -> Followed | None:
        """None: Envoy is too busy to answer, with what it shall follow perhaps."""
        try:
            return await self._admin.followed()
        except TimeoutError:
            return None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise NotTaken(f"Envoy does not answer: {reason}") from error


def _changed(old: EnvoyFiles, new: EnvoyFiles) -> bool:
    return any(old.version(kind) != new.version(kind) for kind in _SHARED)

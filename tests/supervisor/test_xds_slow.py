"""An Envoy that is slow to say how far it is: a change waits for it, and not for ever.

Envoy's admin socket is played here. It follows the files at once, and leaves the questions
unanswered whose numbers it is told, as an Envoy does that is busy with a large change.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace as with_changes

from extproc.config.layout import Layout
from extproc.config.schema import Settings
from extproc.envoygen.render import KINDS, VERSION_STATS, EnvoyFiles
from extproc.supervisor.xds import FOLLOWS, NotTaken, Xds
from tests.envoygen.cases import minimal, rendered
from tests.envoygen.kit_envoy import short_layout
from tests.kit import FakeClock, provider


@dataclass
class Scene:
    """`asked` counts the questions."""

    xds: Xds
    layout: Layout
    clock: FakeClock
    after: Settings
    asked: int = 0

    def told(self) -> dict[str, str]:
        """The version of each file, by Envoy's name for it."""
        return {VERSION_STATS[kind]: self._version(self.layout.xds(kind)) for kind in KINDS}

    def _version(self, folder: Path) -> str:
        (file,) = folder.glob("*.json")
        return json.loads(file.read_text())["version_info"]


@asynccontextmanager
async def scene(
    silent: Container[int], meanwhile: Callable[[Scene], None] = lambda _: None
) -> AsyncIterator[Scene]:
    """`silent` are the questions, from 1, that get no answer; `meanwhile` is called for each."""
    async with short_layout() as layout:
        clock, before = FakeClock(), with_changes(minimal(), providers={"acme": provider()})

        def render(wanted: Settings, *_: Sequence[Path] | Path) -> EnvoyFiles:
            return rendered(wanted, layout)

        xds = Xds(before, render, layout, Path("/no/such/envoy"), clock)
        xds.publish([], layout.admin_socket(1), [])
        after = with_changes(before, providers={"other": provider("other")})
        one = Scene(xds, layout, clock, after)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            one.asked += 1
            await reader.readuntil(b"\r\n\r\n")
            if one.asked in silent:
                meanwhile(one)
                await reader.read()  # until who asked has given up
            else:
                lines = [f'{name}: "{version}"\n' for name, version in one.told().items()]
                body = "".join(lines).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body)
            writer.close()

        async with await asyncio.start_unix_server(answer, str(layout.envoy_admin_socket)):
            yield one


async def test_a_change_waits_for_an_envoy_that_is_busy_with_it() -> None:
    async with scene(silent={2}) as one:
        old = one.told()
        await one.xds.change(1, one.after)
        assert one.asked == 3
        assert one.told() != old
        assert list(one.xds.held) == [1]


async def test_a_busy_envoy_is_not_waited_for_for_ever() -> None:
    async with scene({2}, meanwhile=lambda one: one.clock.advance(FOLLOWS)) as one:
        old = one.told()
        with pytest.raises(NotTaken, match="did not follow"):
            await one.xds.change(1, one.after)
        assert one.asked == 2
        assert one.told() == old, "taken back"
        assert list(one.xds.held) == []


async def test_nothing_is_changed_for_an_envoy_that_is_busy_already() -> None:
    async with scene(silent={1}) as one:
        old = one.told()
        with pytest.raises(NotTaken, match="does not answer in time"):
            await one.xds.change(1, one.after)
        assert one.told() == old
        assert one.asked == 1
        await one.xds.change(1, one.after)
        assert one.told() != old

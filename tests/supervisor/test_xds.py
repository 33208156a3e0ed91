"""What Envoy is told, with a real Envoy at the other end: proved, live, taken back, dropped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_changes

from extproc.child import SystemClock
from extproc.config.layout import Layout
from extproc.config.schema import Limits, Server, Settings
from extproc.envoygen.binary import envoy_binary
from extproc.envoygen.render import EnvoyFiles
from extproc.supervisor.xds import NotTaken, Xds
from tests.envoygen.cases import minimal, rendered
from tests.envoygen.kit_envoy import RunningEnvoy, running, short_layout
from tests.kit import provider
from tests.ports import free_port

pytestmark = pytest.mark.e2e


@dataclass
class Scene:
    xds: Xds
    layout: Layout
    envoy: RunningEnvoy
    settings: Settings

    def clusters(self) -> set[str]:
        """Of providers, as written."""
        told = json.loads((self.layout.xds("cds") / "cds.json").read_text())["resources"]
        return {one["name"] for one in told if one["name"].startswith("provider-")}

    def with_providers(self, *names: str, **changes: object) -> Settings:
        there = {name: provider(name) for name in names}
        return with_changes(self.settings, providers=there, **changes)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with short_layout() as layout:
        settings = with_changes(
            minimal(), server=Server(port=free_port()), providers={"acme": provider()}
        )

        def render(
            wanted: Settings, workers: Sequence[Path], admin: Path, leaving: Sequence[Path]
        ) -> EnvoyFiles:
            del workers, admin, leaving
            files = rendered(wanted, layout)
            if "broken" not in wanted.providers:
                return files
            return replace(files, cds={"version_info": "b", "resources": [{"name": "no type"}]})

        xds = Xds(settings, render, layout, envoy_binary(), SystemClock())
        xds.publish([], layout.admin_socket(1), [])
        async with running(layout) as envoy:
            yield Scene(xds, layout, envoy, settings)


async def test_a_change_goes_live_beside_what_was_there() -> None:
    async with scene() as one:
        assert one.clusters() == {"provider-acme"}
        wanted = one.with_providers("other", limits=Limits(idle_timeout=9.0, stage_timeout=3.0))
        await one.xds.prove(wanted)
        assert not (one.layout.envoy / "candidate.json").exists()
        await one.xds.change(1, wanted)
        assert one.clusters() == {"provider-acme", "provider-other"}
        assert list(one.xds.held) == [1]
        told = (await one.envoy.admin.get("/clusters")).text
        assert "provider-other::" in told
        assert "provider-acme::" in told
        one.xds.publish([one.layout.worker_socket(1, 2)], one.layout.admin_socket(1), [])
        assert one.clusters() == {"provider-acme", "provider-other"}
        one.xds.drop([1])
        assert one.clusters() == {"provider-other"}
        written = json.loads((one.layout.xds("cds") / "cds.json").read_text())["version_info"]
        await one.envoy.until("cds", written)
        assert "provider-acme::" not in (await one.envoy.admin.get("/clusters")).text
        assert one.envoy.log.read_text() == ""


async def test_what_envoy_refuses_is_taken_back() -> None:
    async with scene() as one:
        broken = one.with_providers("acme", "broken")
        with pytest.raises(NotTaken, match="Envoy refuses it"):
            await one.xds.prove(broken)
        with pytest.raises(NotTaken, match="Envoy refuses it"):
            await one.xds.change(1, broken)
        assert one.clusters() == {"provider-acme"}
        assert list(one.xds.held) == []
        await one.xds.change(1, one.with_providers("acme", "next"))
        assert one.clusters() == {"provider-acme", "provider-next"}


async def test_an_envoy_that_is_gone_changes_nothing() -> None:
    async with scene() as one:
        one.envoy.process.kill()
        one.envoy.process.wait()
        with pytest.raises(NotTaken, match="Envoy does not answer"):
            await one.xds.change(1, one.with_providers("other"))
        assert one.clusters() == {"provider-acme"}


async def test_what_changes_nothing_for_envoy_is_not_asked() -> None:
    """A broken binary would say no."""
    async with scene() as one:
        asked = Xds(
            one.settings,
            lambda wanted, *_: rendered(wanted, one.layout),
            one.layout,
            Path("/no/such/envoy"),
            SystemClock(),
        )
        asked.publish([], one.layout.admin_socket(1), [])
        await asked.prove(with_changes(one.settings, models={}))
        with pytest.raises(NotTaken):
            await asked.prove(one.with_providers("other"))

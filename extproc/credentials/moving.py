"""Credentials that move from one configuration to the next, so that a reload fetches nothing anew.

Takes what builds a provider's credential; gives the one that is there already where
nothing changed that it is made of. Those that expire are kept fresh from `start` until
`keep` no longer names them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable

from extproc.config.schema import Provider, Secret
from extproc.credentials.fetching import kept_fresh
from extproc.credentials.refresh import Refreshing
from extproc.model.ports import Credential

_OF_NO_MATTER = frozenset(
    {
        "model",
        "models",
        "capabilities",
        "on_lossy",
        "timeout",
        "security_level",
        "cost_per_token",
        "prices",
        "probe",
        "probing",
        "regions",
        "revision",
    }
)
"""fields of a provider that no signature is made of"""


class Moving:
    def __init__(self, build: Callable[[Provider], Credential]) -> None:
        self._build = build
        self._latest: dict[tuple[str, Secret | None], tuple[dict[str, object], Credential]] = {}
        """by provider, or region, and key, with what the credential was made of"""
        self._running: dict[int, asyncio.Task[None]] = {}

    def of(self, provider: Provider) -> Credential:
        made_of, place = _essence(provider), (provider.full_name, provider.api_key)
        known = self._latest.get(place)
        if known is not None and known[0] == made_of:
            return known[1]
        credential = self._build(provider)
        self._latest[place] = (made_of, credential)
        return credential

    async def start(self, credentials: Iterable[Credential]) -> None:
        """Returns when those that are new have been asked for once, or have had their time."""
        asked: list[asyncio.Event] = []
        for one in credentials:
            if _expires(one) and id(one) not in self._running:
                asked.append(asyncio.Event())
                self._running[id(one)] = asyncio.create_task(_run(one, asked[-1]))
        for event in asked:
            await event.wait()

    def keep(self, credentials: Collection[Credential]) -> None:
        """Ends the loops of all others."""
        wanted = {id(one) for one in credentials}
        for key in [key for key in self._running if key not in wanted]:
            self._running.pop(key).cancel()
        used = [(name, one) for name, one in self._latest.items() if id(one[1]) in wanted]
        self._latest = dict(used)

    async def close(self) -> None:
        tasks = list(self._running.values())
        self.keep(())
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(credential: Credential, asked: asyncio.Event) -> None:
    async with kept_fresh([credential]):
        asked.set()
        await asyncio.Event().wait()


def _expires(credential: Credential) -> bool:
    return isinstance(credential, Refreshing)


def _essence(provider: Provider) -> dict[str, object]:
    fields = (name for name in provider.__struct_fields__ if name not in _OF_NO_MATTER)
    return {name: getattr(provider, name) for name in fields}

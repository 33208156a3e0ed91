"""How each provider stands: available, unavailable, or not known; since when, and why.

Looks every few seconds, off the path of any exchange, in two ways. A probe is a
TCP connection to the provider's own host, closed at once: it carries no byte and no
credential, and is left out behind a proxy and where `probe: false` says so. Where `probe:`
asks for exchanges, what those found takes its place (`probing.py`). And our own numbers tell
how exchanges went, which is all there is where no probe is made.
One whose every target the workers leave alone is unavailable too, for as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from socket import gaierror
from urllib.parse import urlsplit

from extproc.admin.probing import NEVER, Probed
from extproc.admin.targets import Targets
from extproc.config.schema import Provider
from extproc.model.ports import Clock
from extproc.telemetry.exposition import Answers, answers

LOOK_EVERY = 5.0
"""seconds between two looks: with a probe's patience, what ends is seen within 10"""
PATIENCE = 2.0
"""seconds for a connection"""
AT_ONCE = 16
"""probes that run at a time"""
ENOUGH = 3
"""failed answers in a row, with no good one between, after which a host that takes connections is
still called unavailable"""
FORGET = 60.0
"""seconds after which failed answers say nothing of the present"""

NO_CREDENTIAL = "no credential"
ALL_OPEN = "the breakers of all its targets are open"


class Status(StrEnum):
    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """`checked`: when this was last found to be so; `since`: when it became unavailable.

    Both in unix seconds, or None: never looked at, not unavailable.
    """

    status: Status = Status.UNKNOWN
    checked: float | None = None
    reason: str | None = None
    since: float | None = None

    def found(self, reason: str | None, now: float) -> Standing:
        """Looked at now: unavailable for that reason, or available where there is none."""
        if reason is None:
            return Standing(Status.AVAILABLE, now)
        since = now if self.since is None else self.since
        return Standing(Status.UNAVAILABLE, now, reason, since)


@dataclass(slots=True)
class _Watched:
    """`failed` counts failed answers since the last good one, the latest of them at `failed_at`."""

    provider: Provider
    standing: Standing
    counted: Answers | None = None
    failed: int = 0
    failed_at: float = 0.0

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """Those that are probed, one for each region. It is there as long as one of them is, so a
        single one behind a proxy means that nothing is known."""
        one, regions = self.provider, self.provider.by_region()
        if not one.probe or one.probing is not None or any(each.proxy for each in regions):
            return []
        return [address(each.endpoint) for each in regions]

    def heard(self, total: Answers, now: float) -> bool:
        """Takes what was counted; whether a good answer came since that was done last."""
        before, self.counted = self.counted or total, total
        if total.bad > before.bad:
            self.failed += total.bad - before.bad
            self.failed_at = now
        if total.good > before.good:
            self.failed = 0
        return total.good > before.good

    def conclude(self, good: bool, probed: bool, unreachable: str | None, now: float) -> None:
        """The standing after a look: `unreachable` is what a probe met, where one was made."""
        if unreachable is not None:
            # What failed for want of a connection says nothing once there is one again.
            self.failed = 0
            self.standing = self.standing.found(unreachable, now)
        elif self.failed >= ENOUGH and now - self.failed_at < FORGET:
            reason = f"none of its last {self.failed} answers was a good one"
            self.standing = self.standing.found(reason, self.failed_at)
        elif good or probed:
            self.standing = self.standing.found(None, now)
        elif self.standing.status is Status.UNAVAILABLE:
            self.standing = Standing(checked=self.standing.checked)


def _never(_: str) -> Probed:
    return NEVER


@dataclass(slots=True)
class Watch:
    """`standing` of every provider, always at hand; `look` makes it current.

    `numbers` is the directory that all parts count into; `probed` what probes by exchanges say.
    """

    providers: Mapping[str, Provider]
    numbers: Path
    clock: Clock
    targets: Targets = field(default_factory=Targets)
    probed: Callable[[str], Probed] = _never
    _watched: dict[str, _Watched] = field(init=False)
    _free: asyncio.Semaphore = field(init=False)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock.time()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._watched = {
            name: _Watched(one, Standing())
            for name, one in self.providers.items()
            if one.unavailable is None
        }

    def configure(self, providers: Mapping[str, Provider]) -> None:
        """Watches these from now on; what is known of one that stays where it was is kept."""
        before = self._watched
        self.providers = providers
        self._watched = {}
        for name, one in providers.items():
            if one.unavailable is None:
                known = before.get(name)
                same = known is not None and _endpoints(known.provider) == _endpoints(one)
                self._watched[name] = known if known and same else _Watched(one, Standing())
                self._watched[name].provider = one

    def standing(self, name: str) -> Standing:
        """What the configuration lacks stays so, and is looked at by asking."""
        lack = self.providers[name].unavailable
        if lack is None:
            found, probed = self._watched[name].standing, self.probed(name)
            if probed.reason is not None:
                return Standing(Status.UNAVAILABLE, probed.at, probed.reason, probed.since)
            since = self.targets.shut(name)
            if since is None or found.status is Status.UNAVAILABLE:
                return found
            return Standing(Status.UNAVAILABLE, self.clock.time(), ALL_OPEN, since)
        keys = all(part.startswith("api_key") for part in lack.split("; "))
        reason = NO_CREDENTIAL if keys else lack
        return Standing(Status.UNAVAILABLE, self.clock.time(), reason, self._started)

    async def look(self) -> None:
        """One look at all of them; takes at most about PATIENCE where few are silent.

        Raises OSError when the numbers cannot be read.
        """
        counted = await asyncio.to_thread(answers, self.numbers)
        now = self.clock.time()
        probes: dict[tuple[str, int], asyncio.Task[str | None]] = {}
        async with asyncio.TaskGroup() as group:
            for one in self._watched.values():
                for place in one.hosts:
                    if place not in probes:
                        probes[place] = group.create_task(self._probe(*place))
        for name, one in self._watched.items():
            good = one.heard(counted.get(name, Answers()), now)
            if one.provider.probing is not None:
                probed = self.probed(name)
                one.conclude(good, probed.at is not None, probed.reason, self.clock.time())
                continue
            met = [probes[place].result() for place in one.hosts]
            unreachable = None if None in met else next(iter(met), None)
            one.conclude(good, bool(met), unreachable, self.clock.time())

    async def _probe(self, host: str, port: int) -> str | None:
        async with self._free:
            return await connect(host, port)


def _endpoints(provider: Provider) -> list[str]:
    return [one.endpoint for one in provider.by_region()]


def address(endpoint: str) -> tuple[str, int]:
    """Host, without brackets, and port of a URL that the configuration has checked."""
    url = urlsplit(endpoint)
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


async def connect(host: str, port: int) -> str | None:
    """Connects and hangs up. None when that worked, else why not, in words that name no address."""
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no connection within {PATIENCE:g} s"
    except (gaierror, UnicodeError):
        return "its host's name has no address"
    except ConnectionRefusedError:
        return "connection refused"
    except OSError as error:
        return f"no connection: {error.strerror or type(error).__name__}"
    writer.close()
    return None

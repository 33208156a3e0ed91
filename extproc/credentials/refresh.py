"""A credential that expires, kept fresh off the path of requests.

Takes `fetch`, which asks for a new secret, and `sign`, which makes headers of
it; gives a `Credential` whose `headers()` reads memory alone. `run()` is the
loop beside it: it fetches early, tries again with growing pauses, and keeps
what is still good. A request without a valid credential is refused and told
why, never sent without one. Logs nothing: `on_failure` hears of every failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from extproc.credentials.asking import FetchFailed
from extproc.model.errors import Overloaded
from extproc.model.ports import Clock, Signable

CODE = "credential_unavailable"


class Secret(Protocol):
    """What `AwsKeys` and `Token` have in common."""

    @property
    def expires(self) -> float | None:
        """Unix seconds; None: never."""
        ...


S = TypeVar("S", bound=Secret)


@dataclass(frozen=True, slots=True)
class Policy:
    """All in seconds.

    `margin`: how long before its end a credential is replaced, at most half of its life.
    `spread`: by how much of the margin, drawn at random, that is earlier still, so that many
    workers do not ask at once. `last`: so close to its end it is no longer used, since a request
    needs time to arrive. `patience`: of one fetch. `first_pause` doubles up to `longest_pause`.
    `step`: how long we sleep at most before looking at the clock again, since a machine may be
    suspended.
    """

    margin: float = 300.0
    spread: float = 0.2
    last: float = 5.0
    patience: float = 20.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    step: float = 30.0


@dataclass(frozen=True, slots=True)
class Status:
    """How it stands, for health pages. `reason` is of the last failure, None after a success."""

    usable: bool
    expires: float | None
    failures: int
    reason: str | None


def _unheard(provider: str, reason: str, pause: float) -> None:
    del provider, reason, pause


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is passed in so that a test can hold it: time, pauses, chance in [0, 1), variables.

    `on_failure(provider, reason, pause)` hears of every fetch that failed, and in how many
    seconds we try again.
    """

    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    on_failure: Callable[[str, str, float], None] = _unheard


@dataclass(frozen=True, slots=True)
class _Held(Generic[S]):
    """A secret and its end on both clocks: either may say that it is over."""

    secret: S = field(repr=False)
    unix_end: float
    monotonic_end: float


def _deaf(reason: str, pause: float) -> None:
    del reason, pause


class Refreshing(Generic[S]):
    """The credential of `provider`. `on_failure(reason, pause)` hears why, and when we try again."""

    def __init__(
        self,
        provider: str,
        fetch: Callable[[], Awaitable[S]],
        sign: Callable[[S, Signable], Mapping[str, str]],
        around: Surroundings,
        policy: Policy = Policy(),
        on_failure: Callable[[str, float], None] = _deaf,
    ) -> None:
        self._provider = provider
        self._fetch = fetch
        self._sign = sign
        self._around = around
        self._policy = policy
        self._on_failure = on_failure
        self._held: _Held[S] | None = None
        self._flight: asyncio.Task[None] | None = None
        self._failures = 0
        self._reason: str | None = None
        self._next = 0.0

    def headers(self, request: Signable) -> Mapping[str, str]:
        held = self._held
        if held is None or not self._usable(held):
            raise self._refusal()
        return self._sign(held.secret, request)

    @property
    def status(self) -> Status:
        held = self._held
        usable = held is not None and self._usable(held)
        expires = held.secret.expires if held is not None else None
        return Status(usable, expires, self._failures, self._reason)

    async def refresh(self) -> None:
        """Fetches now; callers at the same time share one fetch. What fails is in `status`."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fetch_once())
        await asyncio.shield(self._flight)

    async def run(self) -> None:
        """Keeps the credential fresh until it is cancelled. To be started once."""
        try:
            while True:
                await self.refresh()
                await self._rest()
        finally:
            if self._flight is not None:
                self._flight.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._flight

    async def _fetch_once(self) -> None:
        try:
            async with asyncio.timeout(self._policy.patience):
                secret = await self._fetch()
            self._accept(secret)
        except FetchFailed as error:
            self._fail(str(error))
        except TimeoutError:
            self._fail("no answer in time")
        except Exception as error:
            # A defect in a source must not end the loop; its text may hold a secret, its name not.
            self._fail(f"unexpected {type(error).__name__}")

    def _accept(self, secret: S) -> None:
        clock, policy = self._around.clock, self._policy
        now, monotonic = clock.time(), clock.monotonic()
        life = float("inf") if secret.expires is None else secret.expires - now
        life -= policy.last
        # What is over before the first pause would have us ask without any pause.
        if life < policy.first_pause:
            raise FetchFailed("the answer had already expired")
        self._held = _Held(secret, now + life, monotonic + life)
        self._failures, self._reason = 0, None
        early = min(policy.margin, life / 2) * (1 + policy.spread * self._around.random())
        self._next = monotonic + max(life - early, policy.first_pause)

    def _fail(self, reason: str) -> None:
        policy = self._policy
        doubled = policy.first_pause * 2.0 ** min(self._failures, 30)
        pause = min(doubled, policy.longest_pause) * (0.5 + 0.5 * self._around.random())
        self._failures += 1
        self._reason = reason
        self._next = self._around.clock.monotonic() + pause
        self._on_failure(reason, pause)

    async def _rest(self) -> None:
        """Sleeps until the next fetch is due, or what we hold is over by either clock."""
        clock = self._around.clock
        while (left := self._next - clock.monotonic()) > 0:
            if self._failures == 0 and self._held is not None and not self._usable(self._held):
                return
            await self._around.sleep(min(left, self._policy.step))

    def _usable(self, held: _Held[S]) -> bool:
        clock = self._around.clock
        return clock.time() < held.unix_end and clock.monotonic() < held.monotonic_end

    def _refusal(self) -> Overloaded:
        reason = self._reason or "a new one is being fetched"
        left = max(1.0, self._next - self._around.clock.monotonic())
        return Overloaded(
            f"credential of provider {self._provider} could not be refreshed: {reason}",
            code=CODE,
            retry_after=left,
        )

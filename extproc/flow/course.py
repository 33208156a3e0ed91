"""All attempts of one exchange: which target is next, when there is none, and what was tried.

Takes a `Plan`, in order, and what each `Attempt` finds; gives the next attempt
its target and keeps `Record.tried` and `Record.why`. A target is taken before
an attempt gives way to it, so that nobody gives way to nothing. Each attempt
is counted once, whoever ended it. Renders nothing itself and never waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol

from extproc.config.names import END_HEADER
from extproc.flow.attempt import MOST_HELD, Attempt, End, Stage
from extproc.flow.cuts import broke, silent
from extproc.flow.failures import IN_BODIES, VIA_UPSTREAM, Notes, reads_bodies
from extproc.flow.machine import Machine
from extproc.flow.messages import Continue, ResponseHead
from extproc.flow.record import Record
from extproc.flow.reply import Returning
from extproc.model.call import Failure, Outcome, Tried
from extproc.model.embed import Opaque, Routed
from extproc.model.errors import GatewayError, Origin, Overloaded, Timeout, Unsupported, UpstreamBad
from extproc.model.ports import Clock
from extproc.routing.backend import Plan, Planned
from extproc.routing.health import Health
from extproc.routing.reasons import Why, fallback

TOO_LATE = 0.02
"""seconds before the deadline within which nobody is asked any more"""
_OF_A_KEY = (Failure.RATE_LIMIT, Failure.CREDENTIAL)
"""failures that say nothing of the target's other keys"""


class Sends(Protocol):
    """Renders an attempt for a target, at the hop with these headers, and says it `asked`."""

    def __call__(
        self, course: Course, attempt: Attempt, to: Planned, number: int, headers: Mapping[str, str]
    ) -> Awaitable[Continue]: ...


class Course:
    """`passed` is the attempt whose reply goes to the client. `pause` is in seconds, before the next."""

    __slots__ = (
        "_at",
        "_closed",
        "_current",
        "_health",
        "_idle",
        "_next",
        "_original",
        "_plan",
        "_record",
        "_sends",
        "clock",
        "deadline",
        "error",
        "holds",
        "most_held",
        "number",
        "passed",
        "pause",
        "returning",
        "triggers",
        "window",
    )

    def __init__(
        self,
        plan: Plan,
        record: Record,
        clock: Clock,
        health: Health,
        sends: Sends,
        *,
        stream: bool,
        deadline: float | None,
        idle: float,
    ) -> None:
        """`deadline` is on `clock`; `idle` is the seconds of silence after which Envoy gives an
        attempt up."""
        self._plan = plan
        self._record = record
        self._health = health
        self._idle = idle
        self._sends = sends
        self.clock = clock
        self.deadline = deadline
        self.triggers = plan.triggers
        self.window = plan.window if stream else None
        self.holds = self.window is not None or reads_bodies(plan.triggers, plan.targets)
        self.most_held = min(self.window.bytes, MOST_HELD) if self.window else MOST_HELD
        self._at = 0
        self._next: tuple[Planned, float] | None = None
        """taken, and since when"""
        self._current: Attempt | None = None
        self._original: Attempt | None = None
        self._closed = False
        self.number = 0
        self.pause = 0.0
        self.passed: Attempt | None = None
        self.returning: Returning | None = None
        """of the last attempt that left"""
        self.error: GatewayError | None = None
        """what the client is told when no attempt passes"""

    @property
    def late(self) -> bool:
        left = self.left
        return left is not None and left <= TOO_LATE

    @property
    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self.deadline is None else self.deadline - self.clock.monotonic()

    @property
    def notes(self) -> Notes | None:
        """Of the attempt whose reply goes to the client."""
        return None if self.passed is None else self.passed.notes

    @property
    def first(self) -> Planned:
        return self._plan.targets[0]

    def said(self, number: int) -> tuple[tuple[str, str], ...]:
        return self._record.reasons(number)

    # --- the next target ---

    def set_out(self) -> None:
        """Takes the first target. Raises Overloaded or Timeout where there is none."""
        if not self._take():
            if self.late:
                raise Timeout("The time that this call may take is over before it began.")
            raise resting(self._plan.name)

    def goes_on(self, failure: Failure) -> bool:
        """Whether the next target shall be asked after this, and can: then it is taken."""
        if failure is Failure.OURS or failure not in self.triggers:
            return False
        return self._next is not None or self._take(failure)

    def _take(self, after: Failure | None = None) -> bool:
        """`after` is what became of the one before."""
        plan, health = self._plan, self._health
        targets = plan.targets
        while not self._closed and self._at < len(targets):
            to = targets[self._at]
            pause = plan.pauses[self._at] if self._at < len(plan.pauses) else 0.0
            left = self.left
            if left is not None and left - pause <= TOO_LATE:
                self._record.why += (Why.STRUCK_DEADLINE,)
                return False
            # A storm is made of asking the same one again: whoever is next was not asked yet.
            again = self._at > 0 and _again(to, targets[self._at - 1], after)
            self._at += 1
            if again and not health.may_retry():
                self._record.why += (Why.STRUCK_BUDGET,)
            elif not health.admits(to.key):
                self._record.why += (Why.STRUCK_BREAKER,)
            else:
                health.begun(to.key)
                self._next, self.pause = (to, self.clock.monotonic()), pause
                return True
        return False

    # --- attempts ---

    async def begin(self, attempt: Attempt, headers: Mapping[str, str]) -> Continue | End:
        """Renders the attempt for the target that was taken. Whoever is undecided before it was lost."""
        before, self._current = self._current, attempt
        # One that has passed is followed only where its reply broke before its head was outside.
        if before is not None and (before is self.passed or before.undecided):
            self.passed = None
            failure = self._lost(before)
            if self.goes_on(failure):
                self._record.why += (fallback(failure),)
            else:
                self._closed = True
        while not self._closed and (self._next is not None or self._take()):
            assert self._next is not None
            taken, self._next = self._next, None
            to = taken[0]
            if self.late:
                self._leave(taken)
                self.error = Timeout("No provider answered in time.", origin=Origin.NETWORK)
                break
            try:
                answer = await self._sends(self, attempt, to, self.number + 1, headers)
            except Unsupported as refused:
                self._leave(taken)
                self._record.why += (Why.STRUCK_UNSUPPORTED,)
                self.error = self.error or refused
                continue
            except GatewayError as refused:
                self._leave(taken)
                self.error, self._original = refused, None
                break
            except BaseException:
                self._leave(taken)
                raise
            if self._closed or self._current is not attempt:
                self._leave(taken)
                attempt.stage = Stage.OVER
                return End(self._nothing())
            self.number += 1
            self.returning = attempt.returning
            return answer
        attempt.stage = Stage.OVER
        self._closed = True
        return End(self.error or self._nothing())

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """Its reply, which `error` says, goes to nobody: the next target is asked."""
        if self._original is None and failure in IN_BODIES:
            self._original = attempt
        self.given_up(attempt, failure)
        self._record.why += (fallback(failure),)

    def given_up(self, attempt: Attempt, failure: Failure) -> None:
        """As `failed`, but that nobody is asked any more."""
        self.error = attempt.error
        self._settle(attempt, failure)

    def _lost(self, attempt: Attempt) -> Failure:
        """A reply broke or fell silent while it was held, or before its head."""
        notes = attempt.notes
        assert notes is not None
        attempt.lost()
        if attempt.stage is not Stage.LOST:
            attempt.ended = self.clock.monotonic()
        attempt.stage = Stage.OVER
        provider = notes.to.target.provider
        since = notes.began if notes.head_at is None else notes.head_at
        begun = notes.head_at is not None
        if attempt.ended - since > self._idle - TOO_LATE:
            failure, error = Failure.TIMEOUT, silent(provider, begun=begun)
        else:
            failure, error = Failure.RESET, broke(provider, begun=begun)
        self.error = error
        self._settle(attempt, failure)
        return failure

    def _too_long(self, attempt: Attempt) -> None:
        """The hop holds a whole reply, and this one is more than it holds."""
        assert attempt.notes is not None
        attempt.lost()
        attempt.stage = Stage.OVER
        self.error = UpstreamBad(
            f"Provider {attempt.notes.to.target.provider} sent a longer reply than this gateway takes.",
            origin=Origin.PROVIDER,
        )
        self._settle(attempt, Failure.STREAM_ERROR)

    def _settle(self, attempt: Attempt, failure: Failure | None) -> None:
        """Counts it, for good: whoever settles an attempt makes sure that nobody else will."""
        notes, record = attempt.notes, self._record
        assert notes is not None
        tried = notes.tried(failure, attempt.ended)
        record.tried += (tried,)
        tell(self._health, notes.to, tried)

    def _leave(self, taken: tuple[Planned, float]) -> None:
        to, began = taken
        self._health.left(to.key, began)

    # --- what the client is told ---

    def arrived(self, head: ResponseHead) -> Attempt | None:
        """The attempt whose reply this is; None: of no provider, and `error` says why.

        Nothing begins after this.
        """
        self._release()
        if self.passed is not None:
            return self._first_told(self.passed)
        current = self._current
        if current is not None and current.undecided:
            assert current.notes is not None
            if END_HEADER in head.headers:
                self._too_long(current)
            elif current.stage is Stage.LOST:
                self._lost(current)
            else:
                current.lost()
                current.stage = Stage.OVER
                self.error = self._nothing(head)
                self._settle(current, Failure.OURS)
        self.error = self.error or self._nothing(head)
        return self._original

    def _first_told(self, passed: Attempt) -> Attempt:
        """Where no target could help, what the first one said of the request itself is the answer."""
        notes = passed.notes
        assert notes is not None
        bad = notes.status >= 400 or notes.details != VIA_UPSTREAM
        return self._original if bad and self._original is not None else passed

    def _nothing(self, head: ResponseHead | None = None) -> GatewayError:
        """No attempt came to anything, and nobody said why: the way to the hop itself failed."""
        details = head.details if head is not None else ""
        if "overflow" in details:
            return Overloaded(
                "The gateway has too many calls open; try again.",
                code="gateway_busy",
                retry_after=1.0,
            )
        if self.late or (head is not None and head.headers.get(":status") == "504"):
            return Timeout("No provider answered in time.", origin=Origin.NETWORK)
        return UpstreamBad("No provider could be asked.", origin=Origin.NETWORK)

    # --- the end ---

    def _release(self) -> None:
        self._closed = True
        if self._next is not None:
            self._leave(self._next)
            self._next = None

    def close(self, outcome: Outcome) -> None:
        """The exchange is over: what ran until now is counted."""
        self._release()
        last = self.passed or self._current
        if last is None or last.notes is None:
            return
        if last is self.passed:
            self.passed = None
            last.ended = self._record.ended
            last.notes.usage = self._record.usage
            if last.notes.first_at is None:
                last.notes.first_at = self._record.first_byte
            self._settle(last, last.notes.last(outcome, self._record.error_code))
        elif last.undecided:
            last.lost()
            last.stage = Stage.OVER
            self._settle(last, Failure.LEFT)


def _again(to: Planned, before: Planned, after: Failure | None) -> bool:
    """Whether the same is asked once more. Another region is another one; so is another key, unless
    what failed is not the key's fault."""
    if to.key == before.key:
        return True
    one, other = to.target, before.target
    same = (one.provider, one.region_name, one.model) == (
        other.provider,
        other.region_name,
        other.model,
    )
    return same and after is not None and after not in _OF_A_KEY


def needs_hop(chosen: Plan, asked: Routed) -> bool:
    """A window is for streams, and a request without a body has never been through the hop."""
    if len(chosen.targets) == 1 and not asked.stream:
        return False
    return bool(asked.raw) or not isinstance(asked, Opaque)


def patience_of(chosen: Plan, asked: Routed) -> float | None:
    """Seconds until the reply's first byte, over all attempts, as configured and as the client wishes."""
    limit, wish = chosen.deadline, asked.options.timeout
    if limit is None or wish is None:
        return limit if wish is None else wish
    return min(limit, wish)


def resting(model: str) -> Overloaded:
    return Overloaded(
        f"All targets of model {model} are resting after failures; try again.",
        code="no_target",
        retry_after=1.0,
    )


def tell(health: Health, to: Planned, tried: Tried) -> None:
    """What became of a target that was `begun`."""
    if tried.failure in (Failure.LEFT, Failure.OURS):
        health.left(to.key, tried.began)
    else:
        health.ended(tried, tried.usage.output if tried.usage is not None else 0)


def tell_of_one(machine: Machine, notes: Notes, record: Record) -> None:
    """What became of the only attempt of an exchange that needed no hop."""
    notes.usage = record.usage
    if notes.first_at is None:
        notes.first_at = record.first_byte
    failure = notes.last(record.outcome, record.error_code) if record.attempts else Failure.OURS
    tried = notes.tried(failure, record.ended)
    if record.attempts:
        record.tried = (tried,)
    tell(machine.health, notes.to, tried)

"""All attempts of one exchange: which target is next, when there is none, and what was tried.

Takes a `Plan`, in order, and what each `Attempt` finds; gives the next attempt
its target and keeps `Record.tried` and `Record.why`. A target is taken before
an attempt gives way to it, so that nobody gives way to nothing. Each attempt
is counted once, whoever ended it. Renders nothing itself and never waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol

from extproc.flow.attempt import MOST_HELD, Attempt, End, Stage
from extproc.flow.failures import IN_BODIES, VIA_UPSTREAM, Notes
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
    ) -> None:
        """`deadline` is on `clock`."""
        self._plan = plan
        self._record = record
        self._health = health
        self._sends = sends
        self.clock = clock
        self.deadline = deadline
        self.triggers = plan.triggers
        self.window = plan.window if stream else None
        self.holds = self.window is not None or bool(plan.triggers & IN_BODIES)
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
        if self.passed is not None:
            # Its reply broke before a byte had gone out, or it would not be asked again.
            self._settle(self.passed, Failure.RESET)
            self.error, self.passed = self._broke(self.passed), None
            self._closed = True
        elif before is not None and before.undecided:
            self._lost(before)
            if self.goes_on(Failure.RESET):
                self._record.why += (fallback(Failure.RESET),)
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

    def _lost(self, attempt: Attempt) -> None:
        """A reply broke while it was held, or before its head."""
        attempt.lost()
        attempt.stage = Stage.OVER
        self.error = self._broke(attempt)
        self._settle(attempt, Failure.RESET)

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
            if current.stage is Stage.LOST:
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

    def _broke(self, attempt: Attempt) -> GatewayError:
        assert attempt.notes is not None
        return UpstreamBad(
            f"The connection to provider {attempt.notes.to.target.provider} broke"
            " before it answered.",
            code="connection_lost",
            origin=Origin.NETWORK,
        )

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
            self._settle(last, last.notes.last(outcome))
        elif last.undecided:
            last.lost()
            last.stage = Stage.OVER
            self._settle(last, Failure.LEFT)


def _again(to: Planned, before: Planned, after: Failure | None) -> bool:
    """Whether the same is asked once more. Another key is another one, unless what failed is not
    the key's fault."""
    if to.key == before.key:
        return True
    one, other = to.target, before.target
    same = one.provider == other.provider and one.model == other.model
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
    failure = notes.last(record.outcome) if record.attempts else Failure.OURS
    tried = notes.tried(failure, record.ended)
    if record.attempts:
        record.tried = (tried,)
    tell(machine.health, notes.to, tried)

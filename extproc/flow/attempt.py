"""One attempt of an exchange that may have several: rendered, watched, judged.

    NEW --begin--> ASKED --on_head--> HELD --on_piece*, on_time--> OVER
      ASKED or HELD --lost--> LOST       whoever comes next says what that was

Takes what the hop tells of one provider's reply and says what becomes of it:
it passes, is held until more is known, or gives way to the next target. Held
pieces stay with Envoy; what they say is decoded and forgotten. Does no I/O and
keeps no timer: `wait` says when `on_time` wants to be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from extproc.config.names import AGAIN_HEADER, FLOW_BUFFERS
from extproc.flow.cuts import silent
from extproc.flow.failures import VIA_UPSTREAM, Notes, in_body, is_content, of_error
from extproc.flow.messages import Continue, ResponseBody, ResponseHead
from extproc.flow.reply import Returning, network_error
from extproc.model.call import Failure
from extproc.model.chat import Chat, Json, Output, OutputKind
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.embed import Opaque, Routed
from extproc.model.errors import (
    ContentBlocked,
    GatewayError,
    Kind,
    Origin,
    Timeout,
    UpstreamBad,
)
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    PartKind,
    PartStarted,
    Reason,
    TextDelta,
    Used,
)
from extproc.model.value import value

if TYPE_CHECKING:
    from extproc.flow.course import Course

MOST_HELD = FLOW_BUFFERS[0]
"""bytes of a reply that may be held: with more Envoy would wait for us, and we for Envoy"""
_NO_HEADERS: Mapping[str, str] = {}
_JUDGING_SECONDS = 2.0
"""for the body of a reply that is held without a window"""


class Word(Enum):
    PASS = "pass"  # noqa: S105
    """the reply goes to the client"""
    CLEAN = "clean"
    """so it does, without a header that would ask for the next attempt"""
    HOLD = "hold"
    """nothing goes on yet"""


@value
class Again:
    """The reply is thrown away, and the next target is asked."""

    failure: Failure


@value
class End:
    """No target is asked any more; the client gets `error`."""

    error: GatewayError


Verdict: TypeAlias = Word | Again | End


class Stage(Enum):
    NEW = "new"
    ASKED = "asked"
    HELD = "held"
    LOST = "lost"
    OVER = "over"


class Attempt:
    """Made for each stream of the hop. `notes` and `returning` are there once it has begun."""

    __slots__ = (
        "_clean",
        "_course",
        "_decoder",
        "_filtered",
        "_headers",
        "_held",
        "_opaque",
        "_output",
        "_rendered",
        "_text",
        "_until_content",
        "ended",
        "error",
        "notes",
        "returning",
        "stage",
        "wakes",
    )

    def __init__(self, course: Course) -> None:
        self._course = course
        self.stage = Stage.NEW
        self.notes: Notes | None = None
        self.returning: Returning | None = None
        self.error: GatewayError | None = None
        """what a held reply said"""
        self.ended = 0.0
        self.wakes: float | None = None
        self._rendered: Rendered | None = None
        self._output: Output | None = None
        self._decoder: ReplyDecoder | None = None
        self._until_content = False
        self._headers = _NO_HEADERS
        self._clean = False
        self._filtered = False
        self._opaque = False
        self._held = 0
        self._text: list[str] = []

    @property
    def pause(self) -> float:
        """Seconds to wait before `begin`."""
        return self._course.pause

    def wait(self) -> float | None:
        """Seconds until `on_time` wants to be asked. None: it does not."""
        if self.wakes is None:
            return None
        return max(0.0, self.wakes - self._course.clock.monotonic())

    @property
    def undecided(self) -> bool:
        return self.stage in (Stage.ASKED, Stage.HELD, Stage.LOST)

    async def begin(self, headers: Mapping[str, str]) -> Continue | End:
        """The request for the next target; `headers` are those that the hop has now."""
        return await self._course.begin(self, headers)

    def asked(
        self, notes: Notes, rendered: Rendered, returning: Returning, request: Routed
    ) -> None:
        """The course has rendered it, and it leaves."""
        self.notes, self.returning, self._rendered = notes, returning, rendered
        self._opaque = isinstance(request, Opaque)
        if isinstance(request, Chat) and Failure.BAD_OUTPUT in self._course.triggers:
            self._output = request.output
        self.stage = Stage.ASKED

    # --- what the hop tells ---

    def on_head(self, head: ResponseHead) -> Verdict:
        """The reply's head, or Envoy's own in its place."""
        if self.stage is not Stage.ASKED:
            return self._late()
        assert self.notes is not None
        self._clean, self._headers = AGAIN_HEADER in head.headers, head.headers
        self.notes.head(head, self._course.clock)
        status, failure = self.notes.status, self.notes.failure
        if failure is not None:
            return self._failed(failure)
        if head.end:
            empty = 200 <= status < 300 and not self._opaque
            return self._failed(Failure.EMPTY) if empty else self._pass()
        if not self._course.holds or not self._tells(ReplyHead(status, head.headers)):
            return self._pass()
        self.stage = Stage.HELD
        return Word.HOLD

    def on_piece(self, piece: ResponseBody) -> Verdict:
        """A piece of a held reply's body."""
        if self.stage is not Stage.HELD:
            return self._late()
        assert self._decoder is not None
        self._held += len(piece.body)
        events: Sequence[Event] = self._decoder.feed(piece.body)
        self._decoder.take()  # it keeps what might pass untouched until it is asked for
        verdict = self._heard(events, broken=Failure.STREAM_ERROR)
        if verdict is None and piece.end:
            verdict = self._heard(self._decoder.close(), broken=Failure.EMPTY)
        if verdict is not None:
            return verdict
        if piece.end:
            return self._whole()
        return self._pass() if self._held >= self._course.most_held else Word.HOLD

    def on_time(self) -> Verdict:
        """It is `wakes` o'clock, or later."""
        if self.stage is not Stage.HELD:
            return self._late()
        if self._course.late:
            assert self.notes is not None
            self.error = silent(self.notes.to.target.provider, begun=False)
            self._over()
            self._course.given_up(self, Failure.TIMEOUT)
            return End(self.error)
        return self._failed(Failure.FIRST_EVENT) if self._until_content else self._pass()

    def lost(self) -> None:
        """The hop's stream has ended undecided: the provider broke off, or the client did."""
        if self.stage in (Stage.ASKED, Stage.HELD):
            self.stage = Stage.LOST
            self.ended = self._course.clock.monotonic()
            self._forget()

    def _late(self) -> Verdict:
        """Of a stream that has its verdict, or never asked anybody: nothing depends on it."""
        return Word.PASS if self.stage is Stage.OVER else Word.HOLD

    # --- what is looked for ---

    def _tells(self, head: ReplyHead) -> bool:
        """Whether the body decides: if so, a decoder is made for it."""
        course = self._course
        good = 200 <= head.status < 300
        self._until_content = good and head.streams and course.window is not None
        # A whole reply is read where a trigger asks for it, a stream only up to its first content.
        assert self.notes is not None and self._rendered is not None
        if not self._until_content and (
            (good and head.streams) or not in_body(course.triggers, self.notes.to, head.status)
        ):
            return False
        self._decoder = self.notes.to.dialect.decoder(head, self._rendered)
        seconds = _JUDGING_SECONDS if course.window is None else course.window.seconds
        until = course.clock.monotonic() + seconds
        self.wakes = until if course.deadline is None else min(until, course.deadline)
        return True

    def _heard(self, events: Sequence[Event], broken: Failure) -> Verdict | None:
        """None: nothing among these decides."""
        assert self.notes is not None
        for event in events:
            match event:
                case Failed(error):
                    self.error = error
                    if self.notes.status >= 400:
                        failure = of_error(error)
                        if error.retry_after is not None:
                            self.notes.retry_after = error.retry_after
                        return self._pass() if failure is None else self._failed(failure)
                    if not self._until_content:
                        broken = Failure.BAD_OUTPUT
                    elif broken is Failure.EMPTY and not _is_cut(error):
                        broken = Failure.STREAM_ERROR
                    return self._failed(of_error(error) or broken)
                case Used(usage):
                    self.notes.usage = usage
                case ChoiceEnded(reason=Reason.FILTER):
                    self._filtered = True
                case TextDelta(text=text, choice=0) if not self._until_content:
                    if self._output is not None:
                        self._text.append(text)
                case PartStarted(kind=PartKind.REFUSAL):
                    self._output = None  # words, whatever was asked for
                case Finished():
                    return self._whole()
                case _:
                    if self._until_content and is_content(event):
                        self.notes.first_at = self._course.clock.monotonic()
                        return self._pass()
        return None

    def _whole(self) -> Verdict:
        """The reply is complete, and held from its first byte to its last."""
        if self._filtered:
            assert self.notes is not None
            provider = self.notes.to.target.provider
            self.error = ContentBlocked(
                f"The content filter of provider {provider} stopped the reply.",
                origin=Origin.PROVIDER,
            )
            return self._failed(Failure.CONTENT_FILTER)
        if self._output is not None and not self._until_content:
            why = _misshapen("".join(self._text), self._output)
            if why is not None:
                self.error = UpstreamBad(why, code="bad_output", origin=Origin.PROVIDER)
                return self._failed(Failure.BAD_OUTPUT)
        return self._pass()

    # --- verdicts ---

    def _failed(self, failure: Failure) -> Verdict:
        assert self.notes is not None
        self.notes.failure = failure
        if not self._course.goes_on(failure):
            return self._pass()
        if self.error is None:
            self.error = self._reason(failure)
        self._over()
        self._course.failed(self, failure)
        return Again(failure)

    def _reason(self, failure: Failure) -> GatewayError:
        """What the client would be told of it, without the body that nobody reads."""
        notes, rendered = self.notes, self._rendered
        assert notes is not None and rendered is not None
        provider = notes.to.target.provider
        if notes.details != VIA_UPSTREAM:
            return network_error(notes.status, notes.details, provider)
        if failure is Failure.FIRST_EVENT:
            return Timeout(f"Provider {provider} began and fell silent.", origin=Origin.NETWORK)
        head = ReplyHead(notes.status, self._headers)
        for event in notes.to.dialect.decoder(head, rendered).close():
            if isinstance(event, Failed):
                return event.error
        return UpstreamBad(f"Provider {provider} sent an empty reply.", origin=Origin.PROVIDER)

    def _pass(self) -> Verdict:
        self._over()
        self._course.passed = self
        return Word.CLEAN if self._clean else Word.PASS

    def _over(self) -> None:
        self.stage = Stage.OVER
        self.ended = self._course.clock.monotonic()
        self._forget()

    def _forget(self) -> None:
        self.wakes = self._decoder = self._rendered = None
        self._headers = _NO_HEADERS
        self._text.clear()


def _is_cut(error: GatewayError) -> bool:
    """What a decoder says of a stream that lacks its end, and no provider's own words."""
    return error.kind is Kind.UPSTREAM_BAD and error.status == UpstreamBad.status


def _misshapen(text: str, output: Output) -> str | None:
    """What is wrong with a reply that was asked for in JSON; None where nothing is seen.

    Of a schema only the members that an object must have are looked at.
    """
    if output.kind is OutputKind.TEXT or not text:
        return None
    try:
        found: Json = json.loads(text)
    except (ValueError, RecursionError):
        return "The provider's reply is not the JSON that was asked for."
    schema = output.schema if isinstance(output.schema, dict) else {}
    required = schema.get("required")
    names = [n for n in required if isinstance(n, str)] if isinstance(required, list) else []
    if schema.get("type") != "object":
        return None
    if not isinstance(found, dict):
        return "The provider's reply is not the JSON object that was asked for."
    missing = [name for name in names if name not in found]
    return f"The provider's reply lacks `{missing[0][:64]}`." if missing else None

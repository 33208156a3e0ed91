"""The state machine of one HTTP exchange: a message in, its answer out, no gRPC in sight.

    HEAD --RequestHead--> BODY --RequestBody--> SENT --ResponseHead--> REPLY --ResponseBody*--> OVER
      any state --Reply, last body or close()--> OVER

Whatever goes wrong ends in a refusal in the client's own dialect; a request
that was not decided never leaves. `close` runs once, whoever hung up.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum

from extproc.config.names import CALL_HEADER, COUNT_HEADER
from extproc.flow import messages
from extproc.flow.estimate import estimated
from extproc.flow.identify import without_key
from extproc.flow.live import Live
from extproc.flow.messages import Continue, Incoming, Mode, Outgoing, Reply
from extproc.flow.pipeline import NO_STAGES, Pipeline
from extproc.flow.record import Record
from extproc.flow.reply import Returning, header_safe
from extproc.flow.sending import leave
from extproc.flow.snapshot import Claimed, Snapshot
from extproc.model.call import Attempt, Call, Caller, Outcome
from extproc.model.chat import NO_OPTIONS, ListModels, Options
from extproc.model.dialect import Dialect, ReplyContext, RequestHead
from extproc.model.embed import Count, Routed
from extproc.model.errors import GatewayError, Internal, InvalidRequest, TooLarge, Unsupported
from extproc.model.fields import Field
from extproc.model.ports import Clock
from extproc.model.reply import Event
from extproc.model.stage import Answer
from extproc.model.value import value
from extproc.routing.backend import Planned
from extproc.routing.router import plan
from extproc.telemetry.log import Log

_NOTHING_MORE: Mapping[str, str] = {}
_MOST_TOLD = 32
_LONGEST_TOLD = 64
_READ_ON = Continue(mode=Mode.REQUEST)


class State(Enum):
    HEAD = "head"
    BODY = "body"
    SENT = "sent"
    REPLY = "reply"
    OVER = "over"


class OutOfTurn(Exception):
    """Envoy sent a message that the state does not allow: the exchange cannot be trusted any more."""


@value
class Machine:
    """What all exchanges of a worker share. `snapshot` is pinned by an exchange when it begins."""

    snapshot: Snapshot
    live: Live
    clock: Clock
    log: Log


class Exchange:
    """One exchange. `handle` gives the answer to each message; `close` gives the `Record`."""

    __slots__ = (
        "_claimed",
        "_held",
        "_machine",
        "_pipeline",
        "_request_head",
        "_returning",
        "_state",
        "record",
    )

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._state = State.HEAD
        standing = machine.snapshot.standing
        self._pipeline = Pipeline(standing) if standing else NO_STAGES
        self._held = 0
        self._claimed: Claimed | None = None
        self._request_head: RequestHead | None = None
        self._returning: Returning | None = None
        self.record = Record(started=machine.clock.monotonic())
        machine.live.enter()

    @property
    def over(self) -> bool:
        """Nothing more is owed to Envoy. Until then the transport must not end cleanly."""
        return self._state is State.OVER

    @property
    def settles(self) -> bool:
        """`close` may wait, so it must be shielded from whoever gives up on the transport."""
        return self._pipeline.settles

    @property
    def flows(self) -> bool:
        """A stream flows to the client: `on_piece` takes what comes next, and nothing waits."""
        returning = self._returning
        return returning is not None and returning.flows and self._state is State.REPLY

    async def handle(self, message: Incoming) -> Outgoing:
        """The answer to one message. Raises OutOfTurn, and nothing else."""
        begun = self._machine.clock.monotonic()
        try:
            return await self._turn(message)
        except OutOfTurn:
            raise
        except Exception as error:
            return self._caught(error)
        finally:
            self.record.own_seconds += self._machine.clock.monotonic() - begun

    def on_piece(self, message: messages.ResponseBody) -> Outgoing:
        """As `handle`, for a piece of a stream that `flows`. Raises nothing."""
        monotonic = self._machine.clock.monotonic
        begun = monotonic()
        try:
            return self._on_response_body(message)
        except Exception as error:
            return self._caught(error)
        finally:
            self.record.own_seconds += monotonic() - begun

    def _caught(self, error: Exception) -> Outgoing:
        """Called in an `except` block: what was raised becomes the client's answer."""
        if isinstance(error, GatewayError):
            return self._refuse(error)
        self._machine.log.error(
            "defect", call=self.record.call_id, traceback=traceback.format_exc(limit=-8)
        )
        return self._refuse(
            Internal("The gateway failed while it handled this call. Its log has the call id.")
        )

    async def _turn(self, message: Incoming) -> Outgoing:
        match self._state, message:
            case State.REPLY, messages.ResponseBody():
                return self._on_response_body(message)
            case State.HEAD, messages.RequestHead():
                return await self._on_request_head(message)
            case State.BODY, messages.RequestBody():
                return await self._on_request_body(message.body)
            case State.SENT, messages.ResponseHead():
                return self._on_response_head(message)
            case State.BODY, messages.ResponseHead():
                return self._on_early_reply(message)
            case _:
                raise OutOfTurn(f"{type(message).__name__} in state {self._state.value}")

    # --- the request's way in ---

    async def _on_request_head(self, message: messages.RequestHead) -> Outgoing:
        headers, record, snapshot = message.headers, self.record, self._machine.snapshot
        record.call_id, record.peer = message.call_id, message.peer
        path, _, query = headers.get(":path", "/").partition("?")
        method = headers.get(":method", "GET")
        claimed = snapshot.claim(method, path, headers)
        dialect = (
            claimed.dialect if isinstance(claimed, Claimed) else snapshot.speaker(path, headers)
        )
        record.dialect, record.method, record.path = dialect.name, method, path
        caller = snapshot.identifier.identify(headers, query, message.peer)
        record.caller = caller
        if isinstance(claimed, GatewayError):
            raise claimed
        self._claimed = claimed
        self._request_head = head = RequestHead(
            method, path, without_key(query), headers, claimed.endpoint.operation
        )
        if message.end:
            answer = await self._on_request_body(b"")
            # Nothing else is asked before the reply, so its head must be asked for here.
            return replace(answer, mode=Mode.REQUEST) if isinstance(answer, Continue) else answer
        if claimed.endpoint.upload and self._is_large(headers):
            return await self._on_upload(claimed.dialect, head, caller)
        self._check_body(headers)
        self._state = State.BODY
        return _READ_ON

    def _is_large(self, headers: messages.Mapping[str, str]) -> bool:
        length = headers.get("content-length", "")
        return length.isdecimal() and int(length) > self._machine.snapshot.settings.limits.body

    async def _on_upload(self, dialect: Dialect, head: RequestHead, caller: Caller) -> Outgoing:
        """Larger than what we hold: decided on its head alone, and the body passes by."""
        if self._pipeline.reads_requests:
            raise TooLarge(
                "An upload above the body limit cannot be looked at, and this gateway's policy"
                " looks at every request."
            )
        request = dialect.parse_request(head, b"")
        assert not isinstance(request, ListModels)
        return await self._on_routed(dialect, head, caller, request, upload=True)

    def _check_body(self, headers: messages.Mapping[str, str]) -> None:
        """Refuses what can be refused before Envoy has read a single byte of the body."""
        limit = self._machine.snapshot.settings.limits.body
        length = headers.get("content-length", "")
        if length.isdecimal():
            _within(int(length), limit)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise InvalidRequest(
                "The request body is compressed; send it without content-encoding.",
                param="content-encoding",
                status=415,
            )

    async def _on_request_body(self, body: bytes) -> Outgoing:
        head, claimed, record = self._request_head, self._claimed, self.record
        assert head is not None and claimed is not None and record.caller is not None
        record.bytes_in = len(body)
        # Envoy looks at its own limit only between reads: a quick chunked body may pass it.
        _within(len(body), self._machine.snapshot.settings.limits.body)
        self._hold(len(body))
        request = claimed.dialect.parse_request(head, body)
        match request:
            case ListModels():
                return self._answer_models(claimed.dialect, record.caller, request)
            case _:
                return await self._on_routed(claimed.dialect, head, record.caller, request)

    def _answer_models(self, dialect: Dialect, caller: Caller, request: ListModels) -> Outgoing:
        cards = self._machine.snapshot.models_for(caller)
        reply = dialect.render_models(cards, request, self.record.call_id)
        headers = {**reply.headers, **self._identity(dialect)}
        return self._answered(reply.status, Reply(reply.status, headers, reply.body))

    async def _on_routed(
        self,
        dialect: Dialect,
        head: RequestHead,
        caller: Caller,
        request: Routed,
        *,
        upload: bool = False,
    ) -> Outgoing:
        snapshot, record = self._machine.snapshot, self.record
        record.asked = request.model
        record.stream = request.stream
        if request.options is not NO_OPTIONS:
            # Nothing has run yet: the whole pipeline takes the place of the shorter one.
            self._pipeline = Pipeline(snapshot.stages)
        call = await self._pipeline.on_request(Call(record.call_id, caller, request))
        if isinstance(call, Answer):
            return self._answer(dialect, request, call.events)
        asked = call.request
        assert not isinstance(asked, ListModels)
        chosen = plan(snapshot.atlas, caller, asked)
        first = chosen.targets[0]
        record.target, record.model = first.target, chosen.name
        await self._pipeline.on_attempt(call, Attempt(1, first.target))
        try:
            rendered = first.dialect.render_request(asked, first.target)
        except Unsupported as refused:
            if not isinstance(asked, Count):
                raise _in_words_of(dialect, refused) from None
            return self._answer(dialect, request, estimated(asked), {COUNT_HEADER: "estimate"})
        dropped, wishes = rendered.dropped, asked.options
        if wishes.conversation is not None or wishes.format is not None:
            dropped = (*dropped, *_ungranted(wishes))
        if dropped:
            lost = _told(dialect, dropped)
            if asked.options.strict:
                raise Unsupported(
                    f"Provider {first.target.provider} cannot carry {', '.join(lost)}, and"
                    " x-sluice-strict forbids to drop it.",
                    param=lost[0],
                )
            record.dropped = lost
        record.attempts = 1
        self._returning = Returning(
            limit=snapshot.settings.limits.body,
            client=dialect,
            to=first,
            request=asked,
            rendered=rendered,
            context=self._context(first, request),
            pipeline=self._pipeline,
            record=record,
            clock=self._machine.clock,
        )
        self._state = State.SENT
        self._request_head = None
        return leave(head, first, rendered, record, received=request.raw, upload=upload)

    def _context(self, planned: Planned, request: Routed) -> ReplyContext:
        record = self.record
        return ReplyContext(
            call_id=record.call_id,
            model=request.model or planned.target.model,
            created=int(self._machine.clock.time()),
            provider=planned.target.provider,
            started=record.started,
            price_per_token=planned.backend.provider.cost_per_token or 0.0,
            clock=self._machine.clock,
        )

    def _answer(
        self,
        dialect: Dialect,
        request: Routed,
        events: Sequence[Event],
        said: Mapping[str, str] = _NOTHING_MORE,
    ) -> Outgoing:
        """The answer is known here: its events go out in the client's language, at once."""
        context = ReplyContext(
            call_id=self.record.call_id,
            model=request.model,
            created=int(self._machine.clock.time()),
            started=self.record.started,
            clock=self._machine.clock,
        )
        encoder = dialect.encoder(request, context)
        body = b"".join(encoder.feed(event) for event in self._pipeline.on_events(tuple(events)))
        status, headers = encoder.head()
        headers = {**headers, **self._identity(dialect), **said}
        return self._answered(status, Reply(status, headers, body))

    def _identity(self, dialect: Dialect) -> dict[str, str]:
        """The call id where this dialect's SDK looks for it."""
        name = dialect.request_id_header
        return {name: self.record.call_id} if name else {}

    # --- the reply's way out ---

    def _on_early_reply(self, message: messages.ResponseHead) -> Outgoing:
        """Envoy refused by itself (413, a broken upload): it has already used the client's dialect."""
        self.record.status = int(message.headers.get(":status", "0") or 0)
        self.record.outcome = Outcome.REFUSED
        self.record.error = message.details
        self._state = State.OVER
        return messages.CONTINUE

    def _on_response_head(self, message: messages.ResponseHead) -> Outgoing:
        self._release()
        assert self._returning is not None
        answer = self._returning.on_head(message)
        if isinstance(answer, Reply) or message.end:
            self._state = State.OVER
        else:
            self._state = State.REPLY
        return answer

    def _on_response_body(self, message: messages.ResponseBody) -> Outgoing:
        assert self._returning is not None
        answer = self._returning.on_body(message)
        if message.end or isinstance(answer, Reply):
            self._state = State.OVER
        return answer

    # --- endings ---

    def _refuse(self, error: GatewayError) -> Outgoing:
        """The error in the client's dialect; once bytes of a stream are out, as its last event."""
        record = self.record
        record.refused(error)
        if self._returning is not None and self._returning.committed:
            return self._returning.break_off(error)
        snapshot = self._machine.snapshot
        dialect = snapshot.dialects.get(record.dialect, snapshot.error_dialect)
        wire = dialect.render_error(error, record.call_id)
        record.status = wire.status
        self._state = State.OVER
        self._release()
        headers = {
            **wire.headers,
            # Envoy adds it too, but not to a request without a route (CONNECT).
            CALL_HEADER: record.call_id,
            "x-sluice-error-origin": error.origin.value,
        }
        return Reply(wire.status, headers, wire.body)

    def _answered(self, status: int, reply: Reply) -> Reply:
        self.record.status, self.record.outcome = status, Outcome.OK
        self._state = State.OVER
        self._release()
        return reply

    def _hold(self, size: int) -> None:
        self._machine.live.hold(size)
        self._held += size

    def _release(self) -> None:
        self._machine.live.release(self._held)
        self._held = 0

    async def close(self) -> Record:
        """Settles everything, exactly once: call it when the transport's stream has ended.

        An exchange that was not over by then was left by the client or cut by
        the provider: what came counts, and it is never called finished.
        """
        if self.record.closed:
            return self.record
        record = self.record
        record.closed = True
        if self._state is State.REPLY and self._returning is not None:
            self._returning.left()
        self._state = State.OVER
        self._release()
        self._machine.live.leave()
        record.duration = self._machine.clock.monotonic() - record.started
        defect = await self._pipeline.on_end(record.ending())
        if defect is not None:
            self._machine.log.error(
                "defect", call=record.call_id, traceback="".join(traceback.format_exception(defect))
            )
        return record


def _within(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"The request body has {size} bytes; the limit is {limit}.")


def _word(dialect: Dialect, name: str) -> str:
    """What the client calls it; a member of its own is no `Field`, and has its name already."""
    return dialect.field_names.get(name, name) if isinstance(name, Field) else name


def _told(dialect: Dialect, dropped: Sequence[str]) -> tuple[str, ...]:
    """What was lost, fit for a header: a client chooses its own members' names, and how many."""
    names = dict.fromkeys(header_safe(_word(dialect, name))[:_LONGEST_TOLD] for name in dropped)
    told = tuple(names)[:_MOST_TOLD]
    more = len(names) - len(told)
    return (*told, f"and {more} more") if more else told


def _ungranted(wishes: Options) -> Iterator[Field]:
    """Wishes that a stage would have taken away, if there were one for them."""
    if wishes.conversation is not None:
        yield Field.CONVERSATION
    if wishes.format is not None:
        yield Field.FORMAT


def _in_words_of(dialect: Dialect, refused: Unsupported) -> Unsupported:
    """The refusal, with the field called as the client calls it."""
    word = _word(dialect, refused.param or "")
    return refused if word == refused.param else refused.named(word)


__all__ = ["Exchange", "Machine", "OutOfTurn", "State"]

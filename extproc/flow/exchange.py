"""The state machine of one HTTP exchange: a message in, its answer out, no gRPC in sight.

    HEAD --RequestHead--> BODY --RequestBody--> SENT --ResponseHead--> REPLY --ResponseBody*--> OVER
    HEAD --RequestHead--> PROBE --ResponseHead--> OVER    (a request of our own: `probing.py`)
      any state --Reply, last body or close()--> OVER

Whatever goes wrong ends in a refusal in the client's own dialect; a request
that was not decided never leaves. `close` runs once, whoever hung up.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum

from extproc.config.names import CALL_HEADER, COUNT_HEADER, SHADOW_HEADER
from extproc.flow import attempt as hop
from extproc.flow import bounds, explaining, messages, probing
from extproc.flow.copying import Probe, Shadow
from extproc.flow.course import Course, needs_hop, patience_of, resting, tell_of_one
from extproc.flow.cuts import Cut, ended_by
from extproc.flow.departing import Departing
from extproc.flow.estimate import estimated
from extproc.flow.failures import Notes
from extproc.flow.identify import without_key
from extproc.flow.machine import Machine
from extproc.flow.messages import Continue, Incoming, Mode, Outgoing, Reply
from extproc.flow.pipeline import NO_STAGES, Pipeline
from extproc.flow.record import Record
from extproc.flow.reply import Returning
from extproc.flow.sending import depart, in_words_of, leave, prepared
from extproc.flow.snapshot import Claimed
from extproc.model.call import Attempt, Call, Caller, Outcome
from extproc.model.chat import NO_OPTIONS, ListModels
from extproc.model.dialect import Dialect, ReplyContext, RequestHead
from extproc.model.embed import Count, Routed
from extproc.model.errors import GatewayError, Internal, Unsupported
from extproc.model.reply import Event
from extproc.model.stage import Answer
from extproc.routing.backend import Plan, Planned
from extproc.routing.hearing import Asked
from extproc.routing.parameters import fit
from extproc.routing.router import alone, chosen, find

_NOTHING_MORE: Mapping[str, str] = {}
_READ_ON = Continue(mode=Mode.REQUEST)


class State(Enum):
    HEAD = "head"
    BODY = "body"
    SENT = "sent"
    REPLY = "reply"
    PROBE = "probe"
    OVER = "over"


class OutOfTurn(Exception):
    """Envoy sent a message that the state does not allow: the exchange cannot be trusted any more."""


class Exchange:
    """One exchange. `handle` gives the answer to each message; `close` gives the `Record`."""

    __slots__ = (
        "_claimed",
        "_course",
        "_departing",
        "_held",
        "_machine",
        "_notes",
        "_pipeline",
        "_request_head",
        "_returning",
        "_shadow",
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
        self._course: Course | None = None
        self._departing: Departing | None = None
        self._notes: Notes | None = None
        self._shadow: Shadow | None = None
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
            case State.PROBE, messages.ResponseHead():
                self._state = State.OVER
                return probing.answered(self._machine.snapshot.atlas, message, self.record)
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
        if SHADOW_HEADER in headers:
            own = self._machine.known_by(headers[SHADOW_HEADER])
            if isinstance(own, Probe):
                self._state = State.PROBE
                return probing.asking(snapshot.atlas, own, headers, record)
            self._shadow, record.shadow = own, own.of
            caller = snapshot.identifier.named(own.caller)
        else:
            caller = snapshot.identifier.identify(headers, query, message.peer)
        record.caller = caller
        if isinstance(claimed, GatewayError):
            self._request_head = explaining.posed(claimed, method, path, headers)
            self._state = State.BODY
            return await self._on_request_body(b"") if message.end else _READ_ON
        self._claimed = claimed
        self._request_head = head = RequestHead(
            method, path, without_key(query), headers, claimed.endpoint.operation
        )
        if message.end:
            answer = await self._on_request_body(b"")
            # Nothing else is asked before the reply, so its head must be asked for here.
            return replace(answer, mode=Mode.REQUEST) if isinstance(answer, Continue) else answer
        most = snapshot.settings.limits.body
        if claimed.endpoint.upload and bounds.is_large(headers, most):
            return await self._on_upload(claimed.dialect, head, caller)
        bounds.check_head(headers, most)
        self._state = State.BODY
        return _READ_ON

    async def _on_upload(self, dialect: Dialect, head: RequestHead, caller: Caller) -> Outgoing:
        """Larger than what we hold: decided on its head alone, and the body passes by."""
        bounds.check_unseen(looked_at=self._pipeline.reads_requests)
        request = dialect.parse_request(head, b"")
        assert not isinstance(request, ListModels)
        return await self._on_routed(dialect, head, caller, request, upload=True)

    async def _on_request_body(self, body: bytes) -> Outgoing:
        head, claimed, record = self._request_head, self._claimed, self.record
        assert head is not None and record.caller is not None
        record.bytes_in = len(body)
        # Envoy looks at its own limit only between reads: a quick chunked body may pass it.
        bounds.within(len(body), self._machine.snapshot.settings.limits.body)
        self._hold(len(body))
        if claimed is None:
            return self._answered(200, explaining.replied(self._machine, record, head, body))
        request = claimed.dialect.parse_request(head, body)
        if isinstance(request, ListModels):
            return self._answer_models(claimed.dialect, record.caller, request)
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
        call = Call(record.call_id, caller, request, shadow=record.shadow)
        call = await self._pipeline.on_request(call)
        if isinstance(call, Answer):
            return self._answer(dialect, request, call.events)
        asked = call.request
        assert not isinstance(asked, ListModels)
        shadow = self._shadow
        if shadow is not None:
            found = alone(snapshot.atlas, asked, shadow.model, shadow.provider, shadow.asked)
        else:
            found = find(snapshot.atlas, caller, asked)
        machine = self._machine
        plan = found
        if not isinstance(plan, Plan):
            now = Asked(call, head.headers, machine.clock.time())
            plan = chosen(snapshot.atlas, plan, machine.health, now)
        if plan.shadow is not None and machine.copying is not None and not upload:
            machine.copying.send(head, call, request, plan)
        record.model, record.why, record.label = plan.name, plan.why, plan.label
        first, *others = plan.targets
        if (others or plan.window is not None) and not upload and needs_hop(plan, asked):
            return self._set_out(plan, dialect, head, call, request, asked)
        record.target = first.target
        if plan.pauses:
            self._watch(first)
        asked = fit(asked, first.ref)
        await self._pipeline.on_attempt(call, Attempt(1, first.target))
        try:
            rendered = first.dialect.render_request(asked, first.target)
        except Unsupported as refused:
            if not isinstance(asked, Count):
                raise in_words_of(dialect, refused) from None
            return self._answer(dialect, request, estimated(asked), {COUNT_HEADER: "estimate"})
        self._returning = prepared(
            dialect,
            first,
            request,
            asked,
            rendered,
            limit=snapshot.settings.limits.body,
            pipeline=self._pipeline,
            record=record,
            clock=self._machine.clock,
        )
        if self._notes is not None:
            self._returning.watch(self._notes)
            self._returning.said = record.reasons(1)
        record.attempts = 1
        self._state = State.SENT
        self._request_head = None
        patience = patience_of(plan, asked)
        return leave(
            head,
            first,
            asked,
            rendered,
            record,
            received=request.raw,
            upload=upload,
            timeout=None if patience is None else min(patience, first.target.timeout),
            mark=machine.mark,
        )

    def _watch(self, to: Planned) -> None:
        """It was chosen among several, by how they stand: what becomes of it is told."""
        health = self._machine.health
        if not health.admits(to.key):
            raise resting(self.record.model)
        health.begun(to.key)
        self._notes = Notes(1, to, self._machine.clock.monotonic())

    def _set_out(
        self,
        plan: Plan,
        client: Dialect,
        head: RequestHead,
        call: Call,
        request: Routed,
        asked: Routed,
    ) -> Outgoing:
        """Several targets: the request goes to the hop, and each attempt is rendered there."""
        machine, record = self._machine, self.record
        self._departing = departing = Departing(
            head, client, call, request, asked, machine, self._pipeline, record
        )
        patience = patience_of(plan, asked)
        self._course = course = Course(
            plan,
            record,
            machine.clock,
            machine.health,
            departing,
            stream=asked.stream,
            deadline=None if patience is None else record.started + patience,
            idle=machine.snapshot.settings.limits.idle_timeout,
        )
        course.set_out()
        machine.running[record.call_id] = self
        self._state = State.SENT
        self._request_head = None
        return depart(head, asked, record, machine.address, hold=course.holds, mark=machine.mark)

    def attempt(self) -> hop.Attempt:
        """For a stream of the hop. Only of exchanges that are `Machine.running`."""
        assert self._course is not None
        return hop.Attempt(self._course)

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
        if self._notes is not None:
            self._notes.head(message, self._machine.clock)
        if self._course is not None:
            answer = self._on_hop_head(self._course, message)
        else:
            assert self._returning is not None
            answer = self._returning.on_head(message)
        ends = isinstance(answer, Reply) or message.end
        self._state = State.OVER if ends else State.REPLY
        return answer

    def _on_hop_head(self, course: Course, message: messages.ResponseHead) -> Outgoing:
        """Of an attempt that passed, or of the hop itself."""
        departing, self._departing = self._departing, None
        assert departing is not None
        found = departing.arrived(course, message)
        if found is None:
            asked = departing.asked
            assert isinstance(asked, Count)
            said = {COUNT_HEADER: "estimate"}
            return self._answer(departing.client, departing.request, estimated(asked), said)
        self._returning, answer = found
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

    def cut_off(self) -> bool:
        """The transport's stream has ended. True: in the midst of a reply, and Envoy knows by whom."""
        record = self.record
        if self._state is not State.REPLY or record.outcome is not Outcome.ABORTED:
            return False
        record.duration = self._machine.clock.monotonic() - record.started
        self._machine.running.pop(record.call_id, None)
        return True

    async def close(self, cut: Cut | None = None) -> Record:
        """Settles everything, exactly once: call it when the transport's stream has ended.

        An exchange that was not over by then was left by the client, or as `cut`
        says: what came counts, and it is never called finished.
        """
        record = self.record
        if record.closed:
            return record
        record.closed = True
        if self._state is State.REPLY and self._returning is not None:
            self._returning.left()
        self._state = State.OVER
        self._release()
        self._machine.live.leave()
        record.duration = record.duration or self._machine.clock.monotonic() - record.started
        if cut is not None:
            ended_by(cut, record, self._notes if self._course is None else self._course.notes)
        if self._course is not None:
            self._course.close(record.outcome)
            self._machine.running.pop(record.call_id, None)
        elif self._notes is not None:
            tell_of_one(self._machine, self._notes, record)
        defect = await self._pipeline.on_end(record.ending())
        if defect is not None:
            told = "".join(traceback.format_exception(defect))
            self._machine.log.error("defect", call=record.call_id, traceback=told)
        return record


__all__ = ["Exchange", "Machine", "OutOfTurn", "State"]

"""How an attempt of an exchange with several targets leaves: rendered afresh from the canonical request.

Nothing of one attempt is in another: each has its own target's language, credential,
headers and body, and names its own losses. Waits only where a stage does.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import replace

from extproc.config.names import CLUSTER
from extproc.flow.attempt import Attempt
from extproc.flow.course import Course
from extproc.flow.failures import VIA_UPSTREAM, Notes
from extproc.flow.machine import Machine
from extproc.flow.messages import Continue, Outgoing, ResponseHead, Route
from extproc.flow.pipeline import Pipeline
from extproc.flow.record import Record
from extproc.flow.reply import Returning
from extproc.flow.sending import carried, in_words_of, kept, leave, prepared
from extproc.model.call import Attempt as Try
from extproc.model.call import Call
from extproc.model.dialect import Dialect, Rendered, RequestHead
from extproc.model.embed import Count, Routed
from extproc.model.errors import GatewayError, Internal, Unsupported
from extproc.model.value import value
from extproc.routing.backend import Planned
from extproc.routing.parameters import fit

_UNLIKE_ANY = b"\0"
"""no rendered body *is* this object, so a body always leaves"""


@value
class Departing:
    """`request` is the client's own, `asked` what the stages made of it; `head` is the client's."""

    head: RequestHead
    client: Dialect
    call: Call
    request: Routed
    asked: Routed
    machine: Machine
    pipeline: Pipeline
    record: Record

    async def __call__(
        self, course: Course, attempt: Attempt, to: Planned, number: int, headers: Mapping[str, str]
    ) -> Continue:
        """Raises Unsupported when this target cannot carry the request; any other refusal is final."""
        begun = self.machine.clock.monotonic()
        try:
            return await self._sent(course, attempt, to, number, headers)
        except GatewayError:
            raise
        except Exception:
            told = traceback.format_exc(limit=-8)
            self.machine.log.error("defect", call=self.record.call_id, traceback=told)
            raise Internal(
                "The gateway failed while it handled this call. Its log has the call id."
            ) from None
        finally:
            self.record.own_seconds += self.machine.clock.monotonic() - begun

    async def _sent(
        self, course: Course, attempt: Attempt, to: Planned, number: int, headers: Mapping[str, str]
    ) -> Continue:
        record, asked = self.record, fit(self.asked, to.ref)
        await self.pipeline.on_attempt(self.call, Try(number, to.target))
        try:
            rendered = to.dialect.render_request(asked, to.target)
        except Unsupported as refused:
            raise in_words_of(self.client, refused) from None
        record.dropped = ()
        returning = self._returning(to, asked, rendered, course.said(number))
        left = course.left
        out = leave(
            RequestHead("POST", "/", "", headers),
            to,
            asked,
            rendered,
            record,
            received=_UNLIKE_ANY,
            timeout=None if left is None else min(left, to.target.timeout),
        )
        written = {name for name, _ in out.set}
        own = tuple(pair for pair in carried(self.head, to).items() if pair[0] not in written)
        assert out.route is not None
        record.target, record.attempts = to.target, number
        notes = Notes(number, to, self.machine.clock.monotonic())
        returning.watch(notes)
        attempt.asked(notes, rendered, returning, asked)
        plan = kept(asked, len(rendered.body))
        return replace(out, set=(*out.set, *own), route=Route(out.route.clusters, plan))

    def _returning(
        self, to: Planned, asked: Routed, rendered: Rendered, said: tuple[tuple[str, str], ...]
    ) -> Returning:
        return prepared(
            self.client,
            to,
            self.request,
            asked,
            rendered,
            limit=self.machine.snapshot.settings.limits.body,
            pipeline=self.pipeline,
            record=self.record,
            clock=self.machine.clock,
            said=said,
        )

    def arrived(self, course: Course, message: ResponseHead) -> tuple[Returning, Outgoing] | None:
        """The reply's head outside of the hop, answered: of the attempt that passed, or an error.

        None: a question for tokens that no target can be asked.
        """
        attempt = course.arrived(message)
        if attempt is not None and attempt is course.passed:
            returning, notes = attempt.returning, attempt.notes
            assert returning is not None and notes is not None
            returning.said = course.said(course.number)
            if message.details == VIA_UPSTREAM:
                # The hop is an upstream too: what happened behind it, only the attempt knows.
                message = replace(message, details=notes.details)
            answer = returning.on_head(message)
            if isinstance(answer, Continue):
                answer = replace(answer, route=self._told(notes.to))
            return returning, answer
        returning, error = course.returning, course.error
        if attempt is not None:
            assert attempt.notes is not None and attempt.returning is not None
            returning, error = attempt.returning, attempt.error
            # Others were asked after it, to no avail.
            returning.said = course.said(course.number)
            self.record.target = attempt.notes.to.target
        elif isinstance(error, Unsupported) and isinstance(self.asked, Count):
            return None
        if returning is None:
            returning = self._returning(course.first, self.asked, Rendered("", b""), ())
        assert error is not None
        self.record.status = error.status
        return returning, returning.instead(message, error)

    def _told(self, to: Planned) -> Route:
        """For the access log: who answered. It leads nowhere."""
        record = self.record
        caller = record.caller
        assert caller is not None
        return Route(
            clusters=(),
            plan=(
                ("caller", caller.name),
                (CLUSTER, to.target.cluster),
                ("dialect", record.dialect),
                ("model", record.model),
                ("provider", to.target.provider),
            ),
        )

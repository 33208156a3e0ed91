"""The request as it goes out: what a provider gets, what of the client's stays here, what was lost.

Pure but for the credential, which signs and never waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from extproc.config.names import (
    ATTEMPT_CLUSTER,
    CALL_METADATA,
    DEST_HEADER,
    FLOW_BUFFERS,
    FLOWS,
    HOLD_HEADER,
    WHOLE,
)
from extproc.flow.machine import Mark
from extproc.flow.messages import Continue, Mode, Route
from extproc.flow.pipeline import Pipeline
from extproc.flow.record import Record
from extproc.flow.reply import Returning, header_safe
from extproc.model.chat import NO_OPTIONS, Options
from extproc.model.dialect import Dialect, Rendered, ReplyContext, RequestHead
from extproc.model.embed import Opaque, Routed
from extproc.model.errors import Unsupported
from extproc.model.fields import Field
from extproc.model.ports import Clock, Signable
from extproc.routing.backend import Planned

_ROUTING_HEADERS = frozenset({"x-forwarded-proto", "content-length", "content-type"})
"""Envoy's own business, or overwritten anyway: never removed by name"""
_PER_TRY = "x-envoy-upstream-rq-per-try-timeout-ms"
VERBOSE = "verbose"
"""what a client says in `x-sluice-why` to be told of a plain exchange too"""
_REMEMBERED = 1024
_NARROW = tuple((size, ((FLOWS, str(size)),)) for size in FLOW_BUFFERS)
_WHOLE = ((WHOLE, "1"),)
_MOST_TOLD = 32
_LONGEST_TOLD = 64


def prepared(
    client: Dialect,
    to: Planned,
    request: Routed,
    asked: Routed,
    rendered: Rendered,
    *,
    limit: int,
    pipeline: Pipeline,
    record: Record,
    clock: Clock,
    said: tuple[tuple[str, str], ...] = (),
) -> Returning:
    """What waits for the reply. `request` is the client's, `asked` what the stages made of it.

    What the provider's language cannot carry is in the record then. Raises
    Unsupported when the client allows no loss.
    """
    dropped, wishes = rendered.dropped, asked.options
    if wishes is not NO_OPTIONS:
        dropped = (*dropped, *_ungranted(wishes))
        if wishes.why == VERBOSE and not said:
            said = record.reasons(1)
    if dropped:
        lost = _told(client, dropped)
        if wishes.strict:
            raise Unsupported(
                f"Provider {to.target.provider} cannot carry {', '.join(lost)}, and"
                " x-sluice-strict forbids to drop it.",
                param=lost[0],
            )
        record.dropped = lost
    context = ReplyContext(
        call_id=record.call_id,
        model=request.model or to.target.model,
        created=int(clock.time()),
        provider=to.target.provider,
        started=record.started,
        price=to.target.price,
        clock=clock,
    )
    return Returning(
        limit=limit,
        held=min(limit, FLOW_BUFFERS[0]) if flows(asked) else limit,
        client=client,
        to=to,
        request=asked,
        rendered=rendered,
        context=context,
        pipeline=pipeline,
        record=record,
        clock=clock,
        said=said,
    )


def flows(asked: Routed) -> bool:
    """Whether the reply is expected in pieces."""
    return asked.stream or isinstance(asked, Opaque)


def narrow(asked: Routed, size: int) -> tuple[tuple[str, str], ...]:
    """For `Route.plan`: how little is to be held of a request of `size` bytes and its reply."""
    if flows(asked):
        for most, told in _NARROW:
            if size <= most:
                return told
    return ()


def kept(asked: Routed, size: int) -> tuple[tuple[str, str], ...]:
    """As `narrow`, for an attempt that others may follow: what does not flow is held until it is whole."""
    return narrow(asked, size) if flows(asked) else _WHOLE


def leave(
    head: RequestHead,
    to: Planned,
    asked: Routed,
    rendered: Rendered,
    record: Record,
    *,
    received: bytes,
    upload: bool = False,
    timeout: float | None = None,
    mark: Mark = (),
) -> Continue:
    """`received` is the body as it came; with `upload` nobody has it, and it passes by us.

    `timeout` is in seconds, where it is less than the provider's own. `mark` is this worker's.
    """
    target, backend = to.target, to.backend
    path = target.base_path + rendered.path
    body = rendered.body
    signable = Signable(rendered.method, target.authority, path, rendered.headers, body)
    changes = [
        (":path", path),
        *backend.fixed,
        *rendered.headers.items(),
        *backend.credential.headers(signable).items(),
    ]
    if not upload:
        changes.append(("content-length", str(len(body))))
    if rendered.method != head.method:
        changes.append((":method", rendered.method))
    if timeout is not None:
        changes.append((_PER_TRY, str(max(1, int(timeout * 1000)))))
    allowed = to.dialect.request_headers
    written = frozenset([name for name, _ in changes])
    caller = record.caller
    assert caller is not None
    return Continue(
        set=tuple(changes),
        remove=_removed(tuple(head.headers), allowed, written),
        body=None if upload or body is received else body,
        mode=Mode.UPLOAD if upload else None,
        route=Route(
            clusters=(target.cluster,),
            plan=(
                ("caller", caller.name),
                ("dialect", record.dialect),
                ("model", record.model),
                ("provider", target.provider),
                *mark,
                *(() if upload else narrow(asked, len(body))),
            ),
        ),
    )


def depart(
    head: RequestHead,
    asked: Routed,
    record: Record,
    address: str,
    *,
    hold: bool,
    mark: Mark = (),
) -> Continue:
    """To the hop, with nothing of the client's: each attempt is written there, from the beginning.

    `address` and `mark` are this worker's own. `hold`: replies may have to be held.
    """
    caller = record.caller
    assert caller is not None
    plan = (
        ("caller", caller.name),
        ("dialect", record.dialect),
        ("model", record.model),
        *mark,
        *narrow(asked, 0),
    )
    to_hop = (
        (":path", "/"),
        (":method", "POST"),
        ("content-length", "0"),
        (CALL_METADATA, record.call_id),
        (DEST_HEADER, address),
    )
    return Continue(
        set=(*to_hop, (HOLD_HEADER, "1")) if hold else to_hop,
        remove=_none_of(tuple(head.headers)),
        body=b"",
        route=Route((ATTEMPT_CLUSTER,), plan),
    )


@lru_cache(maxsize=_REMEMBERED)
def _removed(
    names: tuple[str, ...], allowed: frozenset[str], written: frozenset[str]
) -> tuple[str, ...]:
    """The client's headers that do not travel. Clients of one kind send the same names each time."""
    return tuple(
        name
        for name in names
        if name not in allowed
        and name not in written
        and name not in _ROUTING_HEADERS
        and name[0] != ":"
    )


@lru_cache(maxsize=_REMEMBERED)
def _none_of(names: tuple[str, ...]) -> tuple[str, ...]:
    kept = ("content-length", "x-forwarded-proto")
    return tuple(name for name in names if name[0] != ":" and name not in kept)


# --- what is lost, in the client's words ---


def in_words_of(dialect: Dialect, refused: Unsupported) -> Unsupported:
    """The refusal, with the field called as the client calls it."""
    word = _word(dialect, refused.param or "")
    return refused if word == refused.param else refused.named(word)


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


def carried(head: RequestHead, to: Planned) -> Mapping[str, str]:
    """The client's headers that may travel to this target, for a request that has none of them."""
    allowed = to.dialect.request_headers
    return {name: value for name, value in head.headers.items() if name in allowed}

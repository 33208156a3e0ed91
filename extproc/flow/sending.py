"""The request as it goes out: what a provider gets, and what of the client's stays here.

Pure but for the credential, which signs and never waits.
"""

from __future__ import annotations

from functools import lru_cache

from extproc.flow.messages import Continue, Mode, Route
from extproc.flow.record import Record
from extproc.model.dialect import Rendered, RequestHead
from extproc.model.ports import Signable
from extproc.routing.backend import Planned

_ROUTING_HEADERS = frozenset({"x-forwarded-proto", "content-length", "content-type"})
"""Envoy's own business, or overwritten anyway: never removed by name"""
_REMEMBERED = 1024


def leave(
    head: RequestHead,
    to: Planned,
    rendered: Rendered,
    record: Record,
    *,
    received: bytes,
    upload: bool = False,
) -> Continue:
    """`received` is the body as it came; with `upload` nobody has it, and it passes by us."""
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
            ),
        ),
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

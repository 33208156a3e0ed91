"""What Envoy shall say when it answers in our place, in every client dialect.

Each dialect renders its own errors; here is only which failure means what. A status alone
does not tell a provider from a worker: Envoy's response flags do.
"""

from __future__ import annotations

from collections.abc import Iterator

from extproc.envoygen.local_replies import CALL_ID_TOKEN, ClientPath, LocalReply
from extproc.flow.snapshot import ERROR_DIALECT, Registry
from extproc.model.dialect import Dialect
from extproc.model.errors import (
    GatewayError,
    Internal,
    InvalidRequest,
    Origin,
    Overloaded,
    PermissionDenied,
    Timeout,
    TooLarge,
    UpstreamBad,
)

_ENVOYS = frozenset({"content-type", "x-sluice-call-id", "x-sluice-error-origin"})
"""headers of a rendered error that Envoy sets itself"""

_BROKE = ("UC", "UPE", "UR", "LR")
_SILENT = ("SI", "UT")
"""response flags of a reply that had begun and was still held"""
_CUT: tuple[tuple[int, tuple[str, ...], GatewayError], ...] = (
    (
        502,
        _BROKE,
        UpstreamBad(
            "The connection to the provider broke in the midst of its reply.",
            code="connection_lost",
            origin=Origin.NETWORK,
        ),
    ),
    (
        504,
        _SILENT,
        Timeout("The provider began its reply and fell silent.", origin=Origin.NETWORK),
    ),
)
_ERRORS: tuple[tuple[int | None, GatewayError], ...] = (
    (400, InvalidRequest("The request is not valid HTTP.", code="bad_request")),
    (
        403,
        PermissionDenied(
            "The gateway does not serve upgrades such as WebSocket.", code="upgrade_not_supported"
        ),
    ),
    (
        408,
        Timeout("The request did not arrive whole in time.", code="request_timeout", status=408),
    ),
    (
        413,
        TooLarge(
            "The request is larger than the gateway takes (`limits.body`).",
            code="request_too_large",
        ),
    ),
    (
        426,
        InvalidRequest("The gateway speaks HTTP/1.1 and HTTP/2.", code="http_version", status=426),
    ),
    (
        431,
        InvalidRequest(
            "The request's headers are larger or more than the gateway takes"
            " (`limits.header_bytes`, `limits.header_count`).",
            code="headers_too_large",
            status=431,
        ),
    ),
    (500, Internal("The gateway failed on this request.", code="internal_error")),
    (502, UpstreamBad("The provider's reply broke off.", code="bad_gateway")),
    (
        503,
        Overloaded("The gateway cannot serve this now; try again.", code="gateway_unavailable"),
    ),
    (504, Timeout("Nobody answered in time.", code="gateway_timeout")),
    (None, Internal("The gateway could not serve this request.", code="gateway_error")),
)


def local_replies(registry: Registry) -> tuple[LocalReply, ...]:
    """One for each dialect and failure, then the same for paths that belong to no dialect."""
    replies: list[LocalReply] = []
    for _, dialect in sorted(registry.dialects.items()):
        for apart in (True, False):
            paths = tuple(
                ClientPath(one.path, one.method, one.header)
                for one in dialect.endpoints
                if bool(one.header) is apart
            )
            if paths:
                replies.extend(_of(dialect, paths))
    replies.extend(_of(registry.dialects[ERROR_DIALECT], ()))
    return tuple(replies)


def _of(dialect: Dialect, paths: tuple[ClientPath, ...]) -> Iterator[LocalReply]:
    for status, flags, error in (*_CUT, *((status, (), error) for status, error in _ERRORS)):
        reply = dialect.render_error(error, CALL_ID_TOKEN)
        kind = reply.headers.get("content-type", "application/json")
        headers = tuple(pair for pair in reply.headers.items() if pair[0] not in _ENVOYS)
        yield LocalReply(
            dialect.name,
            paths,
            status,
            kind,
            reply.body.decode(),
            headers,
            flags,
            error.origin.value,
        )

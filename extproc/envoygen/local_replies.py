"""What Envoy answers by itself (413, 431, no worker, a timeout), in the client's dialect.

Takes bodies that the dialects rendered beforehand; gives the mappers of
`local_reply_config`, of which Envoy applies the first that matches. Replies of a
worker pass the same mappers, and are exempt: a worker marks them as answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from extproc.config.names import ANSWERED, CALL_HEADER, CALL_STATE
from extproc.envoygen.nodes import Node, first_of, planned, set_header

CALL_ID_TOKEN = "@CALL_ID@"  # noqa: S105 a placeholder, not a secret
ERROR_ORIGIN_HEADER = "x-sluice-error-origin"
DIALECT = "dialect"
"""key in PLAN_NAMESPACE: the client's dialect, once a worker knows it"""

CALL_ID_OR_TIME = first_of(("FILTER_STATE", f"{CALL_STATE}:PLAIN"), ("START_TIME", "gw-%s%9f"))
"""A call id also for what failed before any filter ran, from the time it came in."""


@dataclass(frozen=True, slots=True)
class ClientPath:
    """Where a dialect answers: `path` is exact or a prefix that ends in `*`.

    `method` and `header` (one that must be there) are empty where any will do.
    """

    path: str
    method: str = ""
    header: str = ""


@dataclass(frozen=True, slots=True)
class LocalReply:
    """One body for one kind of failure.

    `dialect` is the dialect's name. `paths` are where it answers; none at all
    means every request, also one whose path was never read. `status` is the
    status it is for, None for any; `flags` are Envoy's response flags, of which one must
    be there. `headers` and `body` are sent as they are, with `@CALL_ID@` replaced.
    `origin` is whose failure it is.
    """

    dialect: str
    paths: tuple[ClientPath, ...]
    status: int | None
    content_type: str
    body: str
    headers: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()
    origin: str = "gateway"

    @property
    def rank(self) -> tuple[bool, bool, bool, bool]:
        """Told apart by a header, then by the path, then by the status, then by the flags."""
        told_apart = any(path.header for path in self.paths)
        return not told_apart, not self.paths, self.status is None, not self.flags


def local_reply_config(replies: Sequence[LocalReply]) -> Node:
    """Mappers from the most to the least particular. Order within one rank is kept."""
    ranked = sorted(replies, key=lambda reply: reply.rank)
    return {"mappers": [_mapper(reply) for reply in ranked]}


def _mapper(reply: LocalReply) -> Node:
    filters = [planned(ANSWERED, "never", when_absent=True)]
    if reply.status is not None:
        filters.append(_status(reply.status))
    if reply.flags:
        filters.append({"response_flag_filter": {"flags": list(reply.flags)}})
    if reply.paths:
        # a worker changes the path, and then it speaks of the provider's dialect
        filters.append(planned(DIALECT, reply.dialect, when_absent=True))
        known = planned(DIALECT, reply.dialect, when_absent=False)
        filters.append(_any([known, *map(_path, reply.paths)]))
    return {
        "filter": {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0],
        "headers_to_add": [
            set_header(CALL_HEADER, CALL_ID_OR_TIME),
            set_header(ERROR_ORIGIN_HEADER, reply.origin),
            *(set_header(name, _format(value)) for name, value in reply.headers),
        ],
        "body_format_override": {
            "text_format_source": {"inline_string": _format(reply.body)},
            "content_type": reply.content_type,
        },
    }


def _format(body: str) -> str:
    return body.replace("%", "%%").replace(CALL_ID_TOKEN, CALL_ID_OR_TIME)


def _status(status: int) -> Node:
    value = {"default_value": status, "runtime_key": "sluice.local_reply.status"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _path(where: ClientPath) -> Node:
    """The whole `:path` is matched, so what is exact may have a query."""
    path = where.path
    if path.endswith("*"):
        found = _header(":path", {"prefix": path[:-1]})
    else:
        found = _any([_header(":path", {"exact": path}), _header(":path", {"prefix": path + "?"})])
    filters = [found]
    if where.method:
        filters.append(_header(":method", {"exact": where.method}))
    if where.header:
        filters.append({"header_filter": {"header": {"name": where.header, "present_match": True}}})
    return {"and_filter": {"filters": filters}} if len(filters) > 1 else found


def _header(name: str, value: Node) -> Node:
    return {"header_filter": {"header": {"name": name, "string_match": value}}}


def _any(filters: list[Node]) -> Node:
    return {"or_filter": {"filters": filters}}

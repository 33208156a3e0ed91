"""RDS: which cluster a request goes to.

Management paths go to the admin process, past the workers. Everything else has
no cluster of its own: a worker names it in dynamic metadata, and what no worker
named ends at the deny cluster, which has no host.
"""

from __future__ import annotations

from collections.abc import Sequence

from extproc.config.names import (
    ADMIN_CLUSTER,
    AGAIN_HEADER,
    CALL_HEADER,
    COPIES_LISTENER,
    DENY_CLUSTER,
    DEST_HEADER,
    FLOW_BUFFERS,
    FLOWS,
    MANAGEMENT_PATHS,
    PEER_METADATA,
    PLAN_NAMESPACE,
    ROUTE_NAMESPACE,
)
from extproc.config.schema import Limits
from extproc.envoygen.nodes import (
    CALL_ID,
    FILTER,
    NARROW,
    PEER,
    PER_ROUTE_TYPE,
    ROUTES,
    Node,
    extension,
    seconds,
    set_header,
    typed,
)

MANAGEMENT_TIMEOUT = 30.0
MOST_ATTEMPTS = 16
"""of an exchange: a guard; the worker ends its list of targets long before"""
_AT_ONCE = "0.001s"
"""the shortest back-off that Envoy knows: the worker waits, where that helps"""
_NARROW = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
WIDE: Node = {NARROW: typed(_NARROW, disabled=True)}
"""a virtual host's `typed_per_filter_config`: only the routes of `flowing` narrow anything"""


def routes(limits: Limits) -> Node:
    """The clients' RouteConfiguration, as RDS has it."""
    table = _table(ROUTES, limits, _management())
    return typed("envoy.config.route.v3.RouteConfiguration", **table)


def routes_of_ours(limits: Limits) -> Node:
    """The same for our own requests, which manage nothing: as a part of their listener."""
    return _table(COPIES_LISTENER, limits, [])


def _table(name: str, limits: Limits, particular: list[Node]) -> Node:
    model = as_told(limits.idle_timeout)
    hop = _to_hop(limits)
    to_hop: Node = {"name": DEST_HEADER, "present_match": True}
    host: Node = {
        "name": "all",
        "domains": ["*"],
        # also bounds whole replies while they are buffered
        "request_body_buffer_limit": limits.body,
        "typed_per_filter_config": WIDE,
        "response_headers_to_add": [set_header(CALL_HEADER, CALL_ID)],
        # here and not in ext_proc: a route is looked up again after ext_proc, and
        # finds nothing when this one is missing
        "request_headers_to_remove": ["x-forwarded-proto"],
        "routes": [
            *particular,
            # what goes to the hop has the limit on silence for each of its attempts
            *flowing(limits, hop, to_hop),
            {"match": {"prefix": "/", "headers": [to_hop]}, "route": hop},
            # a stream may last as long as it speaks; silence is what ends it
            *flowing(limits, model),
            {"match": {"prefix": "/"}, "route": model},
        ],
    }
    return {"name": name, "virtual_hosts": [host]}


def _management() -> list[Node]:
    matches: list[Node] = [
        *({"path": path} for path in MANAGEMENT_PATHS),
        {"path": "/admin"},
        {"prefix": "/admin/"},
    ]
    return [
        {
            "match": match,
            "route": {"cluster": ADMIN_CLUSTER, "timeout": seconds(MANAGEMENT_TIMEOUT)},
            "request_headers_to_add": [
                set_header(PEER_METADATA, PEER),
                set_header(CALL_HEADER, CALL_ID),
            ],
            "typed_per_filter_config": {FILTER: typed(PER_ROUTE_TYPE, disabled=True)},
        }
        for match in matches
    ]


def flowing(limits: Limits, action: Node, *headers: Node) -> list[Node]:
    """Routes with this RouteAction for replies that flow: of one no more is held than its route says.

    A worker's answer picks one, into which the request fits: Envoy buffers it once more.
    `headers` have to match too.
    """
    return [_narrowed(size, action, headers) for size in FLOW_BUFFERS if size < limits.body]


def _to_hop(limits: Limits) -> Node:
    """A RouteAction with the only retry policy for requests that there is.

    The next attempt follows on a worker's word. It also does where the hop broke one off before
    its reply's head, or one was silent for too long: the worker, asked for the next, knows.
    """
    silence = limits.idle_timeout
    policy = {
        "retry_on": "retriable-headers,reset",
        "retriable_headers": [{"name": AGAIN_HEADER, "present_match": True}],
        "num_retries": MOST_ATTEMPTS,
        # goes on after the head: a stream's silence is bounded too
        "per_try_idle_timeout": seconds(silence),
        "retry_back_off": {"base_interval": _AT_ONCE, "max_interval": _AT_ONCE},
    }
    told = as_told((MOST_ATTEMPTS + 1) * silence)
    return {**told, "flush_timeout": seconds(silence), "retry_policy": policy}


def where_told(key: str, value: str) -> Node:
    """A RouteMatch for what a worker's answer has so in PLAN_NAMESPACE."""
    told = {
        "filter": PLAN_NAMESPACE,
        "path": [{"key": key}],
        "value": {"string_match": {"exact": value}},
    }
    return {"prefix": "/", "dynamic_metadata": [told]}


def _narrowed(size: int, action: Node, headers: Sequence[Node]) -> Node:
    match = where_told(FLOWS, str(size))
    return {
        "match": {**match, "headers": list(headers)} if headers else match,
        "route": action,
        # the router raises the limit to its route's
        "request_body_buffer_limit": size,
        "typed_per_filter_config": {NARROW: typed(_NARROW, buffer={"max_request_bytes": size})},
    }


def as_told(idle: float) -> Node:
    """A RouteAction to the cluster that a worker names. `idle`: seconds of silence, 0 for any."""
    deny = {"name": DENY_CLUSTER, "clusters": [{"cluster_name": DENY_CLUSTER, "weight": 1}]}
    return {
        "inline_cluster_specifier_plugin": {
            "extension": extension(
                "envoy.router.cluster_specifier_plugin.priority_group",
                "envoy.extensions.router.cluster_specifiers.priority_group.v3"
                ".PriorityGroupClusterSpecifier",
                override_metadata_namespace=ROUTE_NAMESPACE,
                priority_groups=[deny],
            )
        },
        "timeout": "0s",
        "idle_timeout": seconds(idle),
    }

"""LDS: the listener that clients connect to, the private one, and the inner ones of the tunnels.

A change of the client listener drains its connections, so what changes often
lives elsewhere: routes in RDS, the ext_proc filter in ECDS.

The private listener is for requests of our own, which pass all that clients' requests pass
(decision 018). Its unix socket is for us alone. It is there even if no model needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from extproc.config.layout import Layout
from extproc.config.names import COPIES_LISTENER, PROBE, SHADOW_HEADER
from extproc.config.schema import Limits, Server, Settings
from extproc.envoygen import cuts, tls, tunnels
from extproc.envoygen.access_log import access_log
from extproc.envoygen.clusters import available, origin
from extproc.envoygen.filters import early_headers, http_filters
from extproc.envoygen.local_replies import LocalReply, local_reply_config
from extproc.envoygen.nodes import (
    BUFFER,
    LISTENER,
    OURS_ALONE,
    ROUTES,
    STAT_PREFIX,
    WINDOW,
    Node,
    RenderError,
    extension,
    is_ip,
    pipe,
    planned,
    seconds,
    typed,
    watched,
)
from extproc.envoygen.routes import routes_of_ours

HEADERS_TIMEOUT = 10.0
"""seconds for a client to send its header block; the body has `limits.request_timeout`"""
_OUR_HEADERS, _OUR_HEADER_BYTES = 8, 8192
"""what we may add to the headers of a client"""


def listeners(settings: Settings, layout: Layout, replies: Sequence[LocalReply]) -> list[Node]:
    inner = [
        tunnels.listener(provider, _authority(target.host, target.port))
        for provider in available(settings)
        if provider.proxy is not None and (target := origin(provider))
    ]
    return [_client(settings, layout, replies), _ours(settings, layout, replies), *inner]


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _client(settings: Settings, layout: Layout, replies: Sequence[LocalReply]) -> Node:
    manager = _manager(
        STAT_PREFIX,
        layout,
        replies,
        [*(access_log(layout) if settings.log.access else []), *cuts.logs(settings)],
        **_time_and_size(settings.limits),
        **_identity(SHADOW_HEADER),
        rds={"route_config_name": ROUTES, "config_source": watched(layout.xds("rds"))},
    )
    chain: Node = {"filters": [manager]}
    if settings.server.tls is not None:
        chain["transport_socket"] = tls.downstream(settings.server.tls)
        chain["transport_socket_connect_timeout"] = seconds(HEADERS_TIMEOUT)
    return typed(
        "envoy.config.listener.v3.Listener",
        name=LISTENER,
        address=_address(settings.server),
        per_connection_buffer_limit_bytes=BUFFER,
        filter_chains=[chain],
    )


def _ours(settings: Settings, layout: Layout, replies: Sequence[LocalReply]) -> Node:
    manager = _manager(
        COPIES_LISTENER,
        layout,
        replies,
        [*(_own_log(layout) if settings.log.access else []), *cuts.logs(settings)],
        **_time_and_size(settings.limits, _OUR_HEADERS, _OUR_HEADER_BYTES),
        **_identity(),
        # whoever posts waits for the end of the connection
        delayed_close_timeout="0s",
        route_config=routes_of_ours(settings.limits),
    )
    return typed(
        "envoy.config.listener.v3.Listener",
        name=COPIES_LISTENER,
        address=pipe(layout.copies_socket, OURS_ALONE),
        per_connection_buffer_limit_bytes=BUFFER,
        # clients' connections are counted, and bounded, without ours
        ignore_global_conn_limit=True,
        filter_chains=[{"filters": [manager]}],
    )


def _own_log(layout: Layout) -> list[Node]:
    """Copies and probes, told apart by what a worker said."""
    copies, probes = access_log(layout, shadow="yes"), access_log(layout, probe="yes")
    no = planned(PROBE, "no", when_absent=True)
    yes = planned(PROBE, "yes", when_absent=False)
    return [{**one, "filter": no} for one in copies] + [{**one, "filter": yes} for one in probes]


def _manager(
    name: str, layout: Layout, replies: Sequence[LocalReply], log: list[Node], **own: object
) -> Node:
    return extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        **own,
        http_filters=http_filters(layout),
        local_reply_config=local_reply_config(replies),
        access_log=log,
    )


def _address(server: Server) -> Node:
    host = "127.0.0.1" if server.host == "localhost" else server.host
    if not is_ip(host):
        raise RenderError(f"server.host: expected an IP address to listen on, found {host!r}")
    if server.port == 0:
        raise RenderError("server.port: 0 must be replaced by a free port before Envoy is given it")
    both = {"ipv4_compat": True} if host == "::" else {}
    return {"socket_address": {"address": host, "port_value": server.port, **both}}


def _time_and_size(limits: Limits, headers: int = 0, header_bytes: int = 0) -> Node:
    """With room for so many headers more, and so many bytes in them."""
    return {
        "max_request_headers_kb": max(1, math.ceil((limits.header_bytes + header_bytes) / 1024)),
        "request_timeout": seconds(limits.request_timeout),
        "request_headers_timeout": seconds(min(limits.request_timeout, HEADERS_TIMEOUT)),
        "stream_idle_timeout": seconds(limits.idle_timeout),
        "common_http_protocol_options": {
            "idle_timeout": seconds(limits.idle_timeout),
            "max_headers_count": limits.header_count + headers,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": WINDOW,
            "initial_connection_window_size": 4 * WINDOW,
        },
    }


def _identity(*taken: str) -> Node:
    """Who is on the other end, and what of it is told to others: nothing. `taken` are headers
    that nobody may send."""
    return {
        "early_header_mutation_extensions": early_headers(*taken),
        "use_remote_address": True,
        "skip_xff_append": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        # what a provider is told is how we reach it, not how the client reached us
        "scheme_header_transformation": {"match_upstream": True},
        "normalize_path": True,
        "merge_slashes": True,
        # an escaped slash may be part of a model's name
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    }

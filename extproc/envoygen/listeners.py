"""LDS: the listener that clients connect to, and the inner ones of the tunnels.

A change of the client listener drains its connections, so what changes often
lives elsewhere: routes in RDS, the ext_proc filter in ECDS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from extproc.config.layout import Layout
from extproc.config.schema import Limits, Server, Settings
from extproc.envoygen import tls, tunnels
from extproc.envoygen.access_log import access_log
from extproc.envoygen.clusters import available, origin
from extproc.envoygen.filters import early_headers, http_filters
from extproc.envoygen.local_replies import LocalReply, local_reply_config
from extproc.envoygen.nodes import (
    BUFFER,
    LISTENER,
    ROUTES,
    STAT_PREFIX,
    Node,
    RenderError,
    extension,
    is_ip,
    seconds,
    typed,
    watched,
)

HEADERS_TIMEOUT = 10.0
"""seconds for a client to send its header block; the body has `limits.request_timeout`"""


def listeners(settings: Settings, layout: Layout, replies: Sequence[LocalReply]) -> list[Node]:
    inner = [
        tunnels.listener(provider, _authority(target.host, target.port))
        for provider in available(settings)
        if provider.proxy is not None and (target := origin(provider))
    ]
    return [_client(settings, layout, replies), *inner]


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _client(settings: Settings, layout: Layout, replies: Sequence[LocalReply]) -> Node:
    chain: Node = {
        "filters": [
            extension(
                "envoy.filters.network.http_connection_manager",
                "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                stat_prefix=STAT_PREFIX,
                codec_type="AUTO",
                **_time_and_size(settings.limits),
                **_identity(),
                rds={"route_config_name": ROUTES, "config_source": watched(layout.xds("rds"))},
                http_filters=http_filters(layout),
                local_reply_config=local_reply_config(replies),
                **({"access_log": access_log(layout)} if settings.log.access else {}),
            )
        ]
    }
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


def _address(server: Server) -> Node:
    host = "127.0.0.1" if server.host == "localhost" else server.host
    if not is_ip(host):
        raise RenderError(f"server.host: expected an IP address to listen on, found {host!r}")
    if server.port == 0:
        raise RenderError("server.port: 0 must be replaced by a free port before Envoy is given it")
    both = {"ipv4_compat": True} if host == "::" else {}
    return {"socket_address": {"address": host, "port_value": server.port, **both}}


def _time_and_size(limits: Limits) -> Node:
    return {
        "max_request_headers_kb": max(1, math.ceil(limits.header_bytes / 1024)),
        "request_timeout": seconds(limits.request_timeout),
        "request_headers_timeout": seconds(min(limits.request_timeout, HEADERS_TIMEOUT)),
        "stream_idle_timeout": seconds(limits.idle_timeout),
        "common_http_protocol_options": {
            "idle_timeout": seconds(limits.idle_timeout),
            "max_headers_count": limits.header_count,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": BUFFER,
            "initial_connection_window_size": 4 * BUFFER,
        },
    }


def _identity() -> Node:
    """Who is on the other end, and what of it is told to others: nothing."""
    return {
        "early_header_mutation_extensions": early_headers(),
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

"""CDS and EDS: whom Envoy may talk to.

The workers and the admin process come by EDS, so that swapping them changes no
cluster (a change of the ext_proc cluster itself costs running exchanges). Each
provider is a cluster of its own; a provider that is not available has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from extproc.config.layout import Layout
from extproc.config.names import (
    ADMIN_CLUSTER,
    DENY_CLUSTER,
    EXT_PROC_CLUSTER,
    provider_cluster,
)
from extproc.config.schema import Limits, Provider, Settings
from extproc.envoygen import tls, tunnels
from extproc.envoygen.nodes import (
    BUFFER,
    KEEP_FREE,
    Node,
    RenderError,
    assignment,
    by_name,
    endpoint,
    extension,
    is_ip,
    pipe,
    remove_prefix,
    seconds,
    socket,
    typed,
    watched,
)

CONNECT_TIMEOUT = 5.0
POOL_IDLE = 30.0
"""seconds that an unused connection to a provider is kept: shorter than servers keep theirs,
so that a request seldom meets a connection that is being closed"""
MAX_RETRIES = 1000
"""Envoy's own default of 3 at a time made failovers fail when many came at once"""

_HEALTH: Node = {
    # a dead socket refuses at once; the timeout is for a worker that hangs, and is
    # longer than one may be busy with a large body
    "timeout": "1s",
    "interval": "0.3s",
    "no_traffic_interval": "0.3s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "grpc_health_check": {},
}

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def endpoints(cluster: str, sockets: Sequence[Path]) -> Node:
    """EDS: the unix sockets behind a cluster. Envoy takes one of these a file."""
    return typed(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        **assignment(cluster, [endpoint(pipe(path)) for path in sockets]),
    )


def clusters(settings: Settings, layout: Layout, roots: Path | None) -> list[Node]:
    """CDS, in a stable order."""
    limits = settings.limits
    own = [_ext_proc(layout), _admin(layout, limits), _deny()]
    for provider in available(settings):
        own.append(_provider(provider, limits, roots))
        if provider.proxy is not None:
            own.append(tunnels.cluster(provider))
    return own


def available(settings: Settings) -> list[Provider]:
    """The providers that can be used, by name."""
    return [p for _, p in sorted(settings.providers.items()) if p.unavailable is None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an endpoint's URL points. `host` has no brackets."""

    https: bool
    host: str
    port: int


def origin(provider: Provider) -> Origin:
    """The server behind `provider.endpoint`. Its path is the worker's business."""
    try:
        url = urlsplit(provider.endpoint)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise RenderError(f"providers.{provider.name}.endpoint: {error}") from error
    if url.scheme not in ("http", "https") or host is None:
        raise RenderError(
            f"providers.{provider.name}.endpoint: expected http(s)://host[:port][/path]"
        )
    https = url.scheme == "https"
    return Origin(https, host, port or (443 if https else 80))


def _cluster(name: str, **fields: object) -> Node:
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        circuit_breakers={
            "thresholds": [
                {
                    "max_connections": KEEP_FREE,
                    "max_pending_requests": KEEP_FREE,
                    "max_requests": KEEP_FREE,
                    "max_retries": MAX_RETRIES,
                }
            ]
        },
        **fields,
    )


def _options(**fields: object) -> Node:
    return {_OPTIONS: typed(_OPTIONS, **fields)}


def _ext_proc(layout: Layout) -> Node:
    return _cluster(
        EXT_PROC_CLUSTER,
        type="EDS",
        eds_cluster_config={"eds_config": watched(layout.xds("eds"))},
        connect_timeout="1s",
        lb_policy="LEAST_REQUEST",
        # a worker taken off the list is draining: it gets no new exchange, even while healthy
        ignore_health_on_host_removal=True,
        health_checks=[_HEALTH],
        typed_extension_protocol_options=_options(
            explicit_http_config={
                "http2_protocol_options": {
                    # both what a worker may send ahead, and what may wait for it before the
                    # provider (or the client) is told to wait
                    "initial_stream_window_size": BUFFER,
                    "initial_connection_window_size": 64 * BUFFER,
                }
            }
        ),
    )


def _admin(layout: Layout, limits: Limits) -> Node:
    return _cluster(
        ADMIN_CLUSTER,
        type="EDS",
        eds_cluster_config={"eds_config": watched(layout.xds("eds_admin"))},
        connect_timeout="1s",
        typed_extension_protocol_options=_options(
            common_http_protocol_options={"idle_timeout": seconds(min(limits.idle_timeout, 3.0))},
            explicit_http_config={"http_protocol_options": {}},
        ),
    )


def _deny() -> Node:
    # No host at all: a port where nothing listens today is one that somebody may take tomorrow.
    return _cluster(
        DENY_CLUSTER,
        type="STATIC",
        connect_timeout="0.25s",
        load_assignment={"cluster_name": DENY_CLUSTER},
    )


def _provider(provider: Provider, limits: Limits, roots: Path | None) -> Node:
    target = origin(provider)
    name = provider_cluster(provider.name)
    secured: Node = {}
    if target.https:
        secured = {"transport_socket": tls.upstream(provider, target.host, roots)}
    return _cluster(
        name,
        **_reached(provider, target, name),
        connect_timeout=seconds(min(CONNECT_TIMEOUT, provider.timeout)),
        per_connection_buffer_limit_bytes=BUFFER,
        typed_extension_protocol_options=_options(
            common_http_protocol_options={
                "idle_timeout": seconds(min(limits.idle_timeout, POOL_IDLE)),
                "max_headers_count": 200,
                "max_response_headers_kb": 64,
            },
            http_filters=_hygiene(),
            **_protocol(target.https),
        ),
        **secured,
    )


def _reached(provider: Provider, target: Origin, name: str) -> Node:
    """How the connection is made: by address, by name, or through a proxy."""
    if provider.proxy is not None:
        host = endpoint(tunnels.address(provider), target.host)
        return {"type": "STATIC", "load_assignment": assignment(name, [host])}
    host = endpoint(socket(target.host, target.port), target.host)
    keepalive: Node = {
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 60, "keepalive_interval": 15, "keepalive_probes": 4}
        },
        "load_assignment": assignment(name, [host]),
    }
    return {**({"type": "STATIC"} if is_ip(target.host) else by_name()), **keepalive}


def _protocol(https: bool) -> Node:
    """HTTP/2 where the TLS handshake agrees on it, else HTTP/1.1."""
    if not https:
        return {"explicit_http_config": {"http_protocol_options": {}}}
    return {
        "auto_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {
                "initial_stream_window_size": BUFFER,
                "initial_connection_window_size": 16 * 1024 * 1024,
                # a model may think for minutes: tell a slow answer from a dead connection
                "connection_keepalive": {"interval": "30s", "timeout": "10s"},
            },
        }
    }


def _hygiene() -> list[Node]:
    """The last word on headers, after the router added its own: ours and Envoy's stay inside."""
    inside = [remove_prefix(prefix) for prefix in ("x-envoy-", "x-sluice-", "x-forwarded-")]
    return [
        extension(
            "sluice.hygiene",
            "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": inside, "response_mutations": inside[:2]},
        ),
        extension(
            "envoy.filters.http.upstream_codec",
            "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
        ),
    ]

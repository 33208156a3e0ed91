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
    DEST_HEADER,
    EXT_PROC_CLUSTER,
    provider_cluster,
)
from extproc.config.schema import Limits, Provider, Settings
from extproc.envoygen import tls, tunnels
from extproc.envoygen.nodes import (
    BUFFER,
    KEEP_FREE,
    WINDOW,
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


def endpoints(name: str, sockets: Sequence[Path], leaving: Sequence[Path] = ()) -> Node:
    """EDS: the unix sockets behind a cluster. Envoy takes one of these a file.

    Those in `leaving` get no new exchange, but the attempts of those that they hold.
    """
    hosts = [endpoint(pipe(path)) for path in sockets]
    hosts += [{**endpoint(pipe(path)), "health_status": "DRAINING"} for path in leaving]
    return typed(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        **assignment(name, hosts),
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
    """The providers that can be used, by name; one with several regions once for each."""
    usable = (p for _, p in sorted(settings.providers.items()) if p.unavailable is None)
    return [region for provider in usable for region in provider.by_region()]


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


def cluster(name: str, **fields: object) -> Node:
    """A cluster with what is the same for all of them."""
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        circuit_breakers={
            "thresholds": [
                {
                    "max_connections": KEEP_FREE,
                    "max_pending_requests": KEEP_FREE,
                    "max_requests": KEEP_FREE,
                    "max_retries": KEEP_FREE,
                }
            ]
        },
        **fields,
    )


def options(**fields: object) -> Node:
    """What a cluster has to say about HTTP: its `typed_extension_protocol_options`."""
    return {_OPTIONS: typed(_OPTIONS, **fields)}


def _ext_proc(layout: Layout) -> Node:
    return cluster(
        EXT_PROC_CLUSTER,
        type="EDS",
        eds_cluster_config={"eds_config": watched(layout.xds("eds"))},
        connect_timeout="1s",
        load_balancing_policy=_holder_or_least_busy(),
        # who leaves or is ill gets no exchange from now on, not from up to a second later
        common_lb_config={"update_merge_window": "0s"},
        # a worker taken off the list is gone, whatever its last health check said
        ignore_health_on_host_removal=True,
        health_checks=[_HEALTH],
        typed_extension_protocol_options=options(
            explicit_http_config={
                "http2_protocol_options": {
                    # both what a worker may send ahead, and what may wait for it before the
                    # provider (or the client) is told to wait
                    "initial_stream_window_size": WINDOW,
                    "initial_connection_window_size": 64 * WINDOW,
                }
            }
        ),
    )


def _holder_or_least_busy() -> Node:
    """An attempt goes to the worker that holds its exchange, whatever its health; all else
    to a healthy one with few exchanges. The header is the gRPC call's, out of clients' reach."""
    least = extension(
        "envoy.load_balancing_policies.least_request",
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    )
    held = extension(
        "envoy.load_balancing_policies.override_host",
        "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
        override_host_sources=[{"header": DEST_HEADER}],
        fallback_policy={"policies": [{"typed_extension_config": least}]},
    )
    return {"policies": [{"typed_extension_config": held}]}


def _admin(layout: Layout, limits: Limits) -> Node:
    return cluster(
        ADMIN_CLUSTER,
        type="EDS",
        eds_cluster_config={"eds_config": watched(layout.xds("eds_admin"))},
        connect_timeout="1s",
        typed_extension_protocol_options=options(
            common_http_protocol_options={"idle_timeout": seconds(min(limits.idle_timeout, 3.0))},
            explicit_http_config={"http_protocol_options": {}},
        ),
    )


def _deny() -> Node:
    # No host at all: a port where nothing listens today is one that somebody may take tomorrow.
    return cluster(
        DENY_CLUSTER,
        type="STATIC",
        connect_timeout="0.25s",
        load_assignment={"cluster_name": DENY_CLUSTER},
    )


def _provider(provider: Provider, limits: Limits, roots: Path | None) -> Node:
    target = origin(provider)
    name = provider_cluster(provider.full_name, provider.revision)
    secured: Node = {}
    if target.https:
        secured = {"transport_socket": tls.upstream(provider, target.host, roots)}
    return cluster(
        name,
        **_reached(provider, target, name),
        connect_timeout=seconds(min(CONNECT_TIMEOUT, provider.timeout)),
        per_connection_buffer_limit_bytes=BUFFER,
        typed_extension_protocol_options=options(
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
                "initial_stream_window_size": WINDOW,
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

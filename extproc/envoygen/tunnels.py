"""Corporate egress: a provider behind an HTTP proxy that CONNECTs for us.

The provider's cluster connects to a listener inside Envoy, which asks the proxy
for a tunnel to the provider *by name*. So the proxy may itself be a name, it
sees the host it is to allow, and this machine needs no DNS for the provider.
(Envoy's http_11_proxy transport socket takes the proxy as an IP literal only.)
"""

from __future__ import annotations

from urllib.parse import urlsplit

from extproc.config.names import provider_cluster
from extproc.config.schema import Provider
from extproc.envoygen.nodes import (
    KEEP_FREE,
    Node,
    RenderError,
    assignment,
    by_name,
    endpoint,
    extension,
    is_ip,
    socket,
    typed,
)


def name_of(provider: Provider) -> str:
    """Of the inner listener, and of the cluster that holds the proxy."""
    return f"{provider_cluster(provider.full_name, provider.revision)}-proxy"


def address(provider: Provider) -> Node:
    """What the provider's cluster connects to."""
    return {"envoy_internal_address": {"server_listener_name": name_of(provider)}}


def listener(provider: Provider, target: str) -> Node:
    """The listener inside Envoy that tunnels to `target`, a `host:port`."""
    return typed(
        "envoy.config.listener.v3.Listener",
        name=name_of(provider),
        internal_listener={},
        filter_chains=[
            {
                "filters": [
                    extension(
                        "envoy.filters.network.tcp_proxy",
                        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        stat_prefix=name_of(provider),
                        cluster=name_of(provider),
                        tunneling_config={"hostname": target},
                        # the exchange above has its own limit on silence
                        idle_timeout="0s",
                    )
                ]
            }
        ],
    )


def cluster(provider: Provider) -> Node:
    """The proxy itself, HTTP/1.1 in the clear."""
    host, port = _host_port(provider)
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name_of(provider),
        connect_timeout="5s",
        load_assignment=assignment(name_of(provider), [endpoint(socket(host, port))]),
        circuit_breakers={
            "thresholds": [{"max_connections": KEEP_FREE, "max_pending_requests": KEEP_FREE}]
        },
        **({"type": "STATIC"} if is_ip(host) else by_name()),
    )


def _host_port(provider: Provider) -> tuple[str, int]:
    try:
        url = urlsplit(f"//{provider.proxy}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise RenderError(f"providers.{provider.name}.proxy: {error}") from error
    if host is None or port is None:
        raise RenderError(f"providers.{provider.name}.proxy: expected host:port")
    return host, port

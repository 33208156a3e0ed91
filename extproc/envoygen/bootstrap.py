"""What Envoy is started with: where its configuration lies, and when it has had enough.

Nothing here changes while Envoy runs; a change means a new Envoy.
"""

from __future__ import annotations

from extproc.config.layout import Layout
from extproc.config.schema import Limits, Settings
from extproc.envoygen.nodes import BUFFER, OURS_ALONE, Node, extension, pipe, watched

NODE_ID = "sluice"

HEAP_BASE = 512 * 1024 * 1024
HEAP_PER_IN_FLIGHT = 4
"""Envoy holds a buffered body up to twice (as received, and as a message to a worker), and there
are several workers"""


def bootstrap(settings: Settings, layout: Layout) -> Node:
    admin = pipe(layout.envoy_admin_socket, OURS_ALONE)
    return {
        "node": {"id": NODE_ID, "cluster": NODE_ID},
        "admin": {"address": admin},
        "dynamic_resources": {
            "lds_config": watched(layout.xds("lds")),
            "cds_config": watched(layout.xds("cds")),
        },
        "bootstrap_extensions": [
            extension(
                "envoy.bootstrap.internal_listener",
                "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
                # else a megabyte for each connection to the hop, and to a provider's proxy
                buffer_size_kb=BUFFER // 1024,
            )
        ],
        "overload_manager": _overload(settings.limits),
    }


def _overload(limits: Limits) -> Node:
    heap = HEAP_BASE + HEAP_PER_IN_FLIGHT * limits.in_flight_bytes
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            extension(
                "envoy.resource_monitors.global_downstream_max_connections",
                "envoy.extensions.resource_monitors.downstream_connections.v3"
                ".DownstreamConnectionsConfig",
                max_active_downstream_connections=limits.connections,
            ),
            extension(
                "envoy.resource_monitors.fixed_heap",
                "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                max_heap_size_bytes=heap,
            ),
        ],
        "actions": [
            _above("envoy.overload_actions.shrink_heap", 0.9),
            _above("envoy.overload_actions.disable_http_keepalive", 0.92),
            _above("envoy.overload_actions.stop_accepting_requests", 0.95),
        ],
    }


def _above(action: str, share: float) -> Node:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}
    return {"name": action, "triggers": [trigger]}

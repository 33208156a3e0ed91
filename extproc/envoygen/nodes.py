"""Small pieces that every part of Envoy's configuration is made of.

Plain values in, JSON-ready dicts out. Field names and values are those of
Envoy's protobuf messages in their JSON form; `tests/envoygen/test_schema.py`
holds every one of them against the schema that the Envoy binary carries.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import TypeAlias

from extproc.config.names import CALL_STATE, PLAN_NAMESPACE

Node: TypeAlias = dict[str, object]
"""a protobuf message as JSON"""

LISTENER = "gateway"
ROUTES = "gateway"
STAT_PREFIX = "gateway"
FILTER = "extproc-filter"
"""the ext_proc filters' name: ECDS serves the clients', per-route settings refer to both"""
EXT_PROC_TYPE = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
PER_ROUTE_TYPE = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
NARROW = "sluice.narrow"
"""the filter that lowers how much of an exchange is held; routes say to what"""

CALL_ID = f"%FILTER_STATE({CALL_STATE}:PLAIN)%"
PEER = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"

OURS_ALONE = 0o600
"""the mode of a socket that Envoy makes"""
BUFFER = 16 * 1024
"""bytes a connection may hold before the other side is told to wait (decision 013); bodies that
are buffered on purpose have limits of their own (`routes`)"""
WINDOW = 64 * 1024
"""bytes of an HTTP/2 stream that may be on their way: the least that Envoy takes"""
KEEP_FREE = 1_000_000
"""a circuit breaker that never opens: the downstream side is what bounds us"""


class RenderError(ValueError):
    """The settings ask for something that Envoy cannot be given. The text is for people."""


def typed(type_name: str, **fields: object) -> Node:
    """A `google.protobuf.Any` that holds the message `type_name`."""
    return {"@type": f"type.googleapis.com/{type_name}", **fields}


def extension(name: str, type_name: str, **fields: object) -> Node:
    """A TypedExtensionConfig, or one of the many messages of the same shape."""
    return {"name": name, "typed_config": typed(type_name, **fields)}


def first_of(*operators: tuple[str, str]) -> str:
    """A format string: the first of these commands, each with its parameter, that has a value."""
    listed = [{"command": name, **({"param": of} if of else {})} for name, of in operators]
    return f"%COALESCE({json.dumps({'operators': listed}, separators=(',', ':'))})%"


def seconds(value: float) -> str:
    """A `google.protobuf.Duration`, exact to a millisecond."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def pipe(path: Path, mode: int | None = None) -> Node:
    """A unix socket; `mode` is for one that Envoy makes."""
    return {"pipe": {"path": str(path), **({} if mode is None else {"mode": mode})}}


def socket(host: str, port: int) -> Node:
    return {"socket_address": {"address": host, "port_value": port}}


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def file(path: Path) -> Node:
    """A DataSource: Envoy reads the file itself."""
    return {"filename": str(path)}


def endpoint(address: Node, hostname: str | None = None) -> Node:
    inner: Node = {"address": address}
    if hostname is not None:
        inner["hostname"] = hostname
    return {"endpoint": inner}


def assignment(cluster: str, endpoints: list[Node]) -> Node:
    """A ClusterLoadAssignment with one locality."""
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def by_name() -> Node:
    """The cluster type whose hosts are what DNS says, all of them."""
    return {
        "cluster_type": extension(
            "envoy.cluster.strict_dns",
            "envoy.extensions.clusters.dns.v3.DnsCluster",
            dns_lookup_family="V4_PREFERRED",
            respect_dns_ttl=True,
            dns_failure_refresh_rate={"base_interval": "1s", "max_interval": "10s"},
        )
    }


def set_header(name: str, value: str) -> Node:
    """A HeaderValueOption that replaces whatever was there."""
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def planned(key: str, value: str, *, when_absent: bool) -> Node:
    """An access log filter: whether a worker put this into the exchange's plan."""
    return {
        "metadata_filter": {
            "matcher": {
                "filter": PLAN_NAMESPACE,
                "path": [{"key": key}],
                "value": {"string_match": {"exact": value}},
            },
            "match_if_key_not_found": when_absent,
        }
    }


def remove_prefix(prefix: str) -> Node:
    """A header mutation that takes out every header whose name starts so."""
    return {"remove_on_match": {"key_matcher": {"prefix": prefix}}}


def watched(folder: Path) -> Node:
    """The ConfigSource of one xDS type: a file in a folder of its own.

    A rename inside the folder makes Envoy read the file again, so one folder a
    type keeps a change of one type from re-reading the others.
    """
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": str(folder / f"{folder.name}.json"),
            "watched_directory": {"path": str(folder)},
        },
    }

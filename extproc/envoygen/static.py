"""The same configuration as one file, with nothing left to discover.

`envoy --mode validate` reads no xDS files, so this is what it is shown, and what
`sluice envoy` prints. Pure; the dicts it is given stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from extproc.envoygen.nodes import Node
from extproc.envoygen.render import EnvoyFiles


def static(files: EnvoyFiles) -> Node:
    """A bootstrap with static resources made of `files`."""
    placed = [*_resources(files.eds), *_resources(files.eds_admin)]
    assignments = {str(found["cluster_name"]): found for found in placed}
    filters = {str(found["name"]): found for found in _resources(files.ecds)}
    tables = {str(found["name"]): found for found in _resources(files.rds)}
    whole = {key: value for key, value in files.bootstrap.items() if key != "dynamic_resources"}
    whole["static_resources"] = {
        "listeners": [_plain(_inline(found, filters, tables)) for found in _resources(files.lds)],
        "clusters": [_plain(_placed(found, assignments)) for found in _resources(files.cds)],
    }
    return whole


def _resources(response: Node) -> list[Node]:
    return cast("list[Node]", response["resources"])


def _plain(message: Node) -> Node:
    """Without `@type`: the field it goes to is typed already."""
    return {key: value for key, value in message.items() if key != "@type"}


def _placed(cluster: Node, assignments: Mapping[str, Node]) -> Node:
    if cluster.get("type") != "EDS":
        return cluster
    found = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
    return {**found, "type": "STATIC", "load_assignment": _plain(assignments[str(found["name"])])}


def _inline(value: Node, filters: Mapping[str, Node], tables: Mapping[str, Node]) -> Node:
    """`value` with every RDS reference and discovered filter below it replaced by what it names."""

    def walk(node: object) -> object:
        if isinstance(node, list):
            return [walk(item) for item in cast("list[object]", node)]
        if not isinstance(node, dict):
            return node
        fields = cast("Node", node)
        if "config_discovery" in fields:
            return _plain(filters[str(fields["name"])])
        if "rds" in fields:
            name = cast("Node", fields["rds"])["route_config_name"]
            kept = {key: walk(item) for key, item in fields.items() if key != "rds"}
            return {**kept, "route_config": _plain(tables[str(name)])}
        return {key: walk(item) for key, item in fields.items()}

    return cast("Node", walk(value))

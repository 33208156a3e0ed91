"""Settings and layout in, everything that Envoy is given out. Pure: no disk, no clock.

`render` is the whole of it; `static` folds the same dicts into one file that
`envoy --mode validate` can prove (it does not read xDS files).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast, get_args

from extproc.config.layout import Layout
from extproc.config.names import ADMIN_CLUSTER, EXT_PROC_CLUSTER, provider_cluster
from extproc.config.schema import Settings
from extproc.envoygen import attempts, cuts
from extproc.envoygen.bootstrap import bootstrap
from extproc.envoygen.clusters import clusters, endpoints
from extproc.envoygen.filters import ext_proc
from extproc.envoygen.listeners import listeners
from extproc.envoygen.local_replies import LocalReply
from extproc.envoygen.nodes import FILTER, ROUTES, STAT_PREFIX, Node, RenderError
from extproc.envoygen.routes import routes

Kind: TypeAlias = Literal["eds", "eds_admin", "cds", "ecds", "rds", "lds"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""the xDS files, in the order in which a change is safe: what is named comes before who names it"""

VERSION_STATS: Final[dict[Kind, str]] = {
    "eds": f"cluster.{EXT_PROC_CLUSTER}.version_text",
    "eds_admin": f"cluster.{ADMIN_CLUSTER}.version_text",
    "cds": "cluster_manager.cds.version_text",
    "ecds": f"extension_config_discovery.http_filter.{FILTER}.version_text",
    "rds": f"http.{STAT_PREFIX}.rds.{ROUTES}.version_text",
    "lds": "listener_manager.lds.version_text",
}
"""where Envoy's admin `/stats` tells which version of a type is live"""


@dataclass(frozen=True, slots=True)
class EnvoyFiles:
    """The bootstrap, and one DiscoveryResponse for each file. Treat them as values.

    There are two files of EDS, workers and admin process: Envoy refuses an EDS
    file that speaks of more than one cluster.
    """

    bootstrap: Node
    eds: Node
    eds_admin: Node
    cds: Node
    ecds: Node
    rds: Node
    lds: Node

    def __getitem__(self, kind: Kind) -> Node:
        match kind:
            case "eds":
                return self.eds
            case "eds_admin":
                return self.eds_admin
            case "cds":
                return self.cds
            case "ecds":
                return self.ecds
            case "rds":
                return self.rds
            case "lds":
                return self.lds

    def version(self, kind: Kind) -> str:
        """What VERSION_STATS shows once this file is live."""
        return str(self[kind]["version_info"])


def render(
    settings: Settings,
    layout: Layout,
    workers: Sequence[Path],
    admin: Path | None,
    local_replies: Sequence[LocalReply],
    *,
    leaving: Sequence[Path] = (),
    roots: Path | None = None,
) -> EnvoyFiles:
    """Everything that Envoy is given.

    `workers` and `admin` are unix sockets; `leaving` are those of workers that get no new
    exchange and still have some. `roots` is the system's file of trusted
    authorities (`binary.trusted_roots`), needed by https providers without
    `tls.ca`. All paths must be absolute: Envoy reads them from its own folder.
    Raises RenderError.
    """
    for path in (layout.data, layout.run, *workers, *leaving, *([admin] if admin else [])):
        if not path.is_absolute():
            raise RenderError(f"expected an absolute path, found {str(path)!r}")
    return EnvoyFiles(
        bootstrap=bootstrap(settings, layout),
        eds=_response([endpoints(EXT_PROC_CLUSTER, workers, leaving)]),
        eds_admin=_response([endpoints(ADMIN_CLUSTER, [admin] if admin else [])]),
        cds=_response(
            [
                *clusters(settings, layout, roots),
                attempts.cluster(),
                *cuts.clusters(settings, layout),
            ]
        ),
        ecds=_response([ext_proc(settings.limits)]),
        rds=_response([routes(settings.limits)]),
        lds=_response([*listeners(settings, layout, local_replies), attempts.listener(settings)]),
    )


@dataclass(frozen=True, slots=True)
class Ways:
    """The clusters and the inner listeners that lead to providers."""

    clusters: Sequence[Node]
    listeners: Sequence[Node]


def ways(files: EnvoyFiles) -> Ways:
    return Ways(*(_of_providers(response) for response in (files.cds, files.lds)))


def joined(files: EnvoyFiles, others: Iterable[Ways]) -> EnvoyFiles:
    """`files`, with those ways of others that it does not have itself."""
    more = tuple(others)
    return replace(
        files,
        cds=_joined(files.cds, (one for other in more for one in other.clusters)),
        lds=_joined(files.lds, (one for other in more for one in other.listeners)),
    )


def _of_providers(response: Node) -> list[Node]:
    return [one for one in _held(response) if str(one["name"]).startswith(provider_cluster(""))]


def _joined(response: Node, more: Iterable[Node]) -> Node:
    own = _held(response)
    names = {one["name"] for one in own}
    added = {str(one["name"]): one for one in more if one["name"] not in names}
    return _response([*own, *(one for _, one in sorted(added.items()))]) if added else response


def _held(response: Node) -> list[Node]:
    return cast("list[Node]", response["resources"])


def dump(node: Node) -> str:
    """The text of a file: readable, and the same for the same content."""
    return json.dumps(node, indent=1, ensure_ascii=False) + "\n"


def _response(resources: Iterable[Node]) -> Node:
    """A DiscoveryResponse whose version is a hash of what it holds."""
    held = list(resources)
    text = json.dumps(held, sort_keys=True, separators=(",", ":"))
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"version_info": version, "resources": held}

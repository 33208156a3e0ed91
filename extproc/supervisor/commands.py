"""The commands that print something and are done: check, schema, envoy, keys.

Each takes what the command line said and gives the exit status. None of them
starts a process or opens a port.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from extproc import discover
from extproc.config.catalogue import DIALECTS
from extproc.config.language import NAME, NAMES
from extproc.config.layout import Layout
from extproc.config.load import ConfigErrors, load
from extproc.config.reference import schema
from extproc.config.report import check_report
from extproc.config.schema import Settings
from extproc.envoygen.binary import trusted_roots
from extproc.envoygen.nodes import RenderError
from extproc.envoygen.render import KINDS, dump, render
from extproc.envoygen.static import static
from extproc.flow.identify import create_key as make_key
from extproc.flow.snapshot import Registry
from extproc.supervisor.cores import cores
from extproc.supervisor.local_replies import local_replies


def check(file: Path, env: Mapping[str, str]) -> int:
    """Every error of a config file, or a summary of what it means.

    A provider that lacks its credential or endpoint is an error here, though
    `up` would start without it. One whose dialect is not built in is not: the
    file is right, and the summary says so.
    """
    registry = discover.registry()
    speaking = discover.provider_dialects(registry)
    try:
        as_written = load(file, env, dialects=DIALECTS | speaking, stages=registry.blocks)
        settings = load(file, env, dialects=speaking, stages=registry.blocks)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return 2
    lacks = [one for one in as_written.providers.values() if one.unavailable is not None]
    for provider in lacks:
        print(f"{file}: providers.{provider.name}: {provider.unavailable}", file=sys.stderr)
    if lacks:
        return 2
    print(check_report(settings, speaking), end="")
    return 0


def print_schema() -> int:
    print(json.dumps(schema(discover.registry().blocks), indent=2))
    return 0


def print_envoy(file: Path, env: Mapping[str, str], *, xds: bool) -> int:
    """The Envoy configuration that a config file means, as JSON.

    Sockets are those of a gateway that has just started.
    """
    registry = discover.registry()
    try:
        settings = load(
            file, env, dialects=discover.provider_dialects(registry), stages=registry.blocks
        )
        print(_envoy(settings, registry, xds=xds), end="")
    except (ConfigErrors, RenderError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _envoy(settings: Settings, registry: Registry, *, xds: bool) -> str:
    data = Path(os.path.abspath(settings.data))  # noqa: PTH100 (resolve() would follow links)
    layout = Layout(data, data / "run")
    settings = replace(settings, workers=settings.workers or cores())
    workers = [layout.worker_socket(n, 1) for n in range(1, settings.workers + 1)]
    files = render(
        settings,
        layout,
        workers,
        layout.admin_socket(1),
        local_replies(registry),
        roots=trusted_roots(),
    )
    if xds:
        return dump({"bootstrap": files.bootstrap, **{kind: files[kind] for kind in KINDS}})
    return dump(static(files))


def create_key(name: str, role: str, models: Sequence[str]) -> int:
    """Prints a new key, and the line for `keys:` that lets it in without knowing it."""
    if not re.fullmatch(NAME, name):
        print(f"--name: found {name!r}, expected {NAMES}", file=sys.stderr)
        return 2
    key, digest = make_key(os.urandom)
    allowed = [model.strip() for model in models if model.strip()] or ["*"]
    # JSON strings are YAML strings, whatever is in them; a bare `1e3` would be a number.
    fields = [f"name: {json.dumps(name)}", f"hash: {json.dumps(digest)}"]
    if role != "caller":
        fields.append(f"role: {role}")
    fields.append(f"models: {json.dumps(allowed)}")
    print(f"key (shown once, kept nowhere):\n\n  {key}\n")
    print(f"for `keys:` in the config file:\n\n  - {{{', '.join(fields)}}}")
    return 0

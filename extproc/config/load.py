"""`sluice.yaml` and the environment to frozen `Settings`, or every error at once.

Reads the file and those that it names; nothing else touches the disk, and
nothing is written. `encode` and `decode` hand settings to a child process
through a pipe; they are the one place where secrets leave, and no log sees them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import msgspec

from extproc.config import crosscheck, model_routes, regions
from extproc.config.check import Checker
from extproc.config.crosscheck import Draft
from extproc.config.env import overlay
from extproc.config.errors import ConfigError, ConfigErrors, Place
from extproc.config.findings import Findings
from extproc.config.language import BLOCKS, ROOT
from extproc.config.nodes import Map
from extproc.config.read import MAX_BYTES, Unreadable, read
from extproc.config.schema import Secret, Settings
from extproc.config.shapes import Block, Field

__all__ = ["ConfigError", "ConfigErrors", "decode", "encode", "load"]

NO_FILE = "the environment"


def load(
    path: Path | None,
    env: Mapping[str, str],
    *,
    dialects: frozenset[str] | None = None,
    stages: Mapping[str, Field] = MappingProxyType({}),
) -> Settings:
    """Settings from a file (None: defaults alone) and the environment.

    The environment's own variables (`env.VARIABLES`) override the file.
    `dialects` are those that can speak to a provider; a provider of another one
    is unavailable. None: do not judge. `stages` are the blocks of the stages that
    this build has. Raises `ConfigErrors`.
    """
    found = Findings(NO_FILE if path is None else str(path))
    root = _root(path, found)
    folder = Path() if path is None else path.parent
    language = Block({**ROOT.fields, **stages})
    values = Checker(found, env, folder).check(language, overlay(root, env, found), ())
    table = cast("dict[str, object]", values)
    settings = _settings(table, found, folder, dialects, stages)
    if found.errors:
        raise ConfigErrors(found.errors, found.files)
    return settings


def _root(path: Path | None, found: Findings) -> Map:
    if path is None:
        return Map({}, Place(found.file))
    try:
        with path.open("rb") as source:
            content = source.read(MAX_BYTES + 1)
        root, errors = read(content, found.file)
    except OSError as error:
        message = f"cannot be read: {error.strerror or 'unknown reason'}"
        raise ConfigErrors([ConfigError(found.file, 0, 0, "", message)]) from None
    except Unreadable as unreadable:
        raise ConfigErrors([unreadable.error]) from None
    found.errors.extend(errors)
    return root


def _settings(
    values: dict[str, object],
    found: Findings,
    folder: Path,
    dialects: frozenset[str] | None,
    stages: Mapping[str, Field],
) -> Settings:
    draft = msgspec.convert(_whole(values), Draft, dec_hook=_from_plain)
    backends = {
        name: regions.provider(name, one, found, dialects) for name, one in draft.providers.items()
    }
    routing = model_routes.routing(draft.routing, found)
    models = model_routes.models(draft.models, routing, regions.addresses(backends), found)
    keys = crosscheck.keys(draft.keys, found)
    crosscheck.limits(draft.limits, found)
    crosscheck.warnings(draft.server, backends, models, bool(keys), found)
    blocks = {name: values[name] for name in {**BLOCKS, **stages} if name in values}
    return Settings(
        server=draft.server,
        workers=draft.workers,
        transport=draft.transport,
        data=cast("Path", values.get("data", folder / Settings().data)),
        providers=backends,
        models=models,
        routing=routing,
        keys=keys,
        limits=draft.limits,
        log=draft.log,
        blocks=blocks,
        inactive=tuple(name for name in blocks if name not in stages),
        warnings=tuple(found.warnings),
        source=found.file,
        files=_hashes(found.files),
    )


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    """By path what is in it, as a hash; empty for one that cannot be read."""
    found: dict[str, str] = {}
    for path in sorted(files):
        try:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError):
            found[str(path)] = ""
    return found


def _whole(values: dict[str, object]) -> dict[str, object]:
    """The values without a certificate that lacks a half: its error is noted already."""
    server = cast("dict[str, object]", values.get("server", {}))
    tls = cast("dict[str, object]", server.get("tls", {}))
    if tls.keys() == {"cert", "key"}:
        return values
    return {**values, "server": {key: one for key, one in server.items() if key != "tls"}}


def encode(settings: Settings) -> bytes:
    """Settings as JSON, secrets included: for a pipe to a child process, and nothing else."""
    return msgspec.json.encode(settings, enc_hook=_to_plain)


def decode(data: bytes) -> Settings:
    """What `encode` made. Raises `msgspec.MsgspecError` for anything else."""
    return msgspec.json.decode(data, type=Settings, dec_hook=_from_plain)


def _to_plain(value: object) -> object:
    match value:
        case Secret():
            return value.reveal()
        case Path():
            return str(value)
        case _:
            raise NotImplementedError(type(value).__name__)


def _from_plain(kind: type, value: object) -> object:
    if isinstance(value, kind):
        return value
    if kind in (Secret, Path) and isinstance(value, str):
        return kind(value)
    raise NotImplementedError(kind.__name__)

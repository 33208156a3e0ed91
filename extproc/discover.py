"""Finds what this build contains by looking into its folders: one file, one name.

A module of `dialects/` that has a `DIALECT` is a dialect; a module of `stages/`
that has a `STAGE` is a stage, and its `BLOCK` is how its block is written. A new
one is a new file and nothing else.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from extproc import dialects, stages
from extproc.config.schema import Provider
from extproc.config.shapes import Field
from extproc.credentials.api_key import ApiKey
from extproc.flow.snapshot import Registry
from extproc.model.dialect import Dialect
from extproc.model.ports import Credential
from extproc.model.stage import Stage


def registry() -> Registry:
    """Everything there is, by name."""
    found: list[Dialect] = [m.DIALECT for m in _modules(dialects) if hasattr(m, "DIALECT")]
    policies = {m.__name__.rpartition(".")[2]: m for m in _modules(stages) if hasattr(m, "STAGE")}
    classes: dict[str, type[Stage]] = {name: m.STAGE for name, m in policies.items()}
    blocks: dict[str, Field] = {name: m.BLOCK for name, m in policies.items()}
    return Registry({d.name: d for d in found}, classes, blocks, credential)


def provider_dialects(found: Registry) -> frozenset[str]:
    """Names of the dialects that can speak to a provider."""
    return frozenset(name for name, d in found.dialects.items() if d.speaks_to_providers)


def credential(provider: Provider) -> Credential:
    """How requests to this provider are signed."""
    return ApiKey(provider.api_key.reveal() if provider.api_key else None)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield import_module(info.name)

"""Finds what this build contains by looking into its folders: one file, one name.

A module of `dialects/` that has a `DIALECT` is a dialect; a module of `stages/`
that has a `STAGE` is a stage, and its `BLOCK` is how its block is written. A module
of `credentials/` that has `SIGNS`, a class of `Provider.auth`, makes credentials of it
with `build`. A new one is a new file and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import pkgutil
import random
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from types import ModuleType

from extproc import credentials, dialects, stages
from extproc.child import SystemClock
from extproc.config.schema import Provider
from extproc.config.shapes import Field
from extproc.credentials.refresh import Surroundings
from extproc.flow.snapshot import Registry
from extproc.model.dialect import Dialect
from extproc.model.ports import Credential
from extproc.model.stage import Stage

REAL = Surroundings(SystemClock(), asyncio.sleep, random.random, os.environ)


def registry(around: Surroundings = REAL) -> Registry:
    """Everything there is, by name. Credentials are made with `around`."""
    found: list[Dialect] = [m.DIALECT for m in _modules(dialects) if hasattr(m, "DIALECT")]
    policies = {m.__name__.rpartition(".")[2]: m for m in _modules(stages) if hasattr(m, "STAGE")}
    classes: dict[str, type[Stage]] = {name: m.STAGE for name, m in policies.items()}
    blocks: dict[str, Field] = {name: m.BLOCK for name, m in policies.items()}
    return Registry({d.name: d for d in found}, classes, blocks, partial(credential, around=around))


def provider_dialects(found: Registry) -> frozenset[str]:
    """Names of the dialects that can speak to a provider."""
    return frozenset(name for name, d in found.dialects.items() if d.speaks_to_providers)


def credential(provider: Provider, around: Surroundings) -> Credential:
    """How requests to this provider are signed. `kept_fresh` runs those that expire."""
    ways = {m.SIGNS: m.build for m in _modules(credentials) if hasattr(m, "SIGNS")}
    return ways[type(provider.auth)](provider, provider.auth, around)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield import_module(info.name)

"""What the router decides from: the part of a configuration that says who answers, compiled.

Made once by `flow/snapshot.py`, pinned with it by an exchange. Never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from extproc.config.schema import ModelRoute
from extproc.model.dialect import Dialect
from extproc.model.embed import Routed
from extproc.model.value import value
from extproc.routing.backend import Backend, Plan


@value
class Atlas:
    """`unavailable` says of a provider that has no backend why. Errors name the model list of the
    client's dialect, or of `error_dialect` where that has none."""

    backends: Mapping[str, Backend]
    unavailable: Mapping[str, str]
    models: Mapping[str, ModelRoute]
    dialects: Mapping[str, Dialect]
    error_dialect: Dialect
    plans: dict[tuple[str, str, str, type[Routed]], Plan] = field(
        default_factory=dict[tuple[str, str, str, type[Routed]], Plan], repr=False, compare=False
    )
    """what the router found, by client dialect, provider, model, and kind of request"""

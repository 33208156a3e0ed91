"""What the router decides from: the part of a configuration that says who answers, compiled.

Made once by `flow/snapshot.py`, pinned with it by an exchange. Never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from extproc.config.schema import Routing, Settings, addressed
from extproc.model.dialect import Dialect
from extproc.model.embed import Routed
from extproc.model.value import value
from extproc.routing.backend import Backend, Plan
from extproc.routing.virtual import Choice, Models, compile_models

Key: TypeAlias = tuple[str, str, str, type[Routed]]
"""client dialect, provider, model, and kind of request"""


@value
class Atlas:
    """`backends` are by what targets call them: the providers, then regions of such as have several.
    `unavailable` says of one that has no backend why. Errors name the model list of the
    client's dialect, or of `error_dialect` where that has none.

    `plans` and `choices` are what the router found: where nothing is to be drawn or judged, and
    else.
    """

    backends: Mapping[str, Backend]
    unavailable: Mapping[str, str]
    models: Models
    routing: Routing
    dialects: Mapping[str, Dialect]
    error_dialect: Dialect
    plans: dict[Key, Plan] = field(default_factory=dict[Key, Plan], repr=False, compare=False)
    choices: dict[Key, Choice] = field(default_factory=dict[Key, Choice], repr=False, compare=False)


def compile_atlas(
    settings: Settings,
    backends: Mapping[str, Backend],
    unavailable: Mapping[str, str],
    dialects: Mapping[str, Dialect],
    error_dialect: Dialect,
) -> Atlas:
    """`backends` and `unavailable` are by provider; their regions are added."""
    regional = {name: one for backend in backends.values() for name, one in backend.regions.items()}
    lacks = {
        addressed(provider.name, region.name): region.unavailable
        for provider in settings.providers.values()
        for region in provider.regions
        if region.unavailable is not None
    }
    return Atlas(
        backends={**backends, **regional},
        unavailable={**unavailable, **lacks},
        models=compile_models(settings.models, settings.routing),
        routing=settings.routing,
        dialects=dialects,
        error_dialect=error_dialect,
    )

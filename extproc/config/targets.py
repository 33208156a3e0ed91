"""The targets that a configuration names, for lists and for labels: whoever asks may name any more
where a `*` is served, and those are told of as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from extproc.config.schema import Settings

REST = "*"
"""the model of all targets of a provider that the configuration does not name"""


def named(settings: Settings) -> frozenset[tuple[str, str]]:
    """Provider and model of each, without those that end in `*`."""
    return frozenset(pair for pair in _all(settings) if not pair[1].endswith("*"))


class Parts(NamedTuple):
    """What a target's key (`Target.key`) is made of. `key_name` is of a provider's several keys."""

    provider: str
    key_name: str
    model: str


def parts(key: str) -> Parts:
    place, _, model = key.partition("/")
    provider, _, key_name = place.partition("#")
    return Parts(provider, key_name, model)


def keys(settings: Settings) -> frozenset[str]:
    """The keys of all that are `named`, each as often as its provider has keys."""
    return frozenset(
        f"{place}/{model}" for name, model in named(settings) for place in _places(settings, name)
    )


def split(key: str, known: frozenset[tuple[str, str]]) -> tuple[str, str]:
    """Provider and model of a target's key; REST where it is not `known`."""
    provider, _, model = parts(key)
    return provider, model if (provider, model) in known else REST


def _places(settings: Settings, name: str) -> list[str]:
    provider = settings.providers.get(name)
    several = provider.api_keys if provider is not None else ()
    return [f"{name}#{key.name}" for key in several] or [name]


def _all(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, provider in settings.providers.items():
        for model in provider.models:
            yield name, model
        if provider.model:
            yield name, provider.model
    for route in settings.models.values():
        for ref in (*route.targets, *([route.shadow] if route.shadow else [])):
            yield ref.provider, ref.model

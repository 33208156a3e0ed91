"""The targets that a configuration names, for lists and for labels: whoever asks may name any more
where a `*` is served, and those are told of as one."""

from __future__ import annotations

from collections.abc import Iterator

from extproc.config.schema import Settings

REST = "*"
"""the model of all targets of a provider that the configuration does not name"""


def named(settings: Settings) -> frozenset[tuple[str, str]]:
    """Provider and model of each, without those that end in `*`."""
    return frozenset(pair for pair in _all(settings) if not pair[1].endswith("*"))


def split(key: str, known: frozenset[tuple[str, str]]) -> tuple[str, str]:
    """Provider and model of a target's key (`Planned.key`); REST where it is not `known`."""
    provider, _, model = key.partition("/")
    return provider, model if (provider, model) in known else REST


def _all(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, provider in settings.providers.items():
        for model in provider.models:
            yield name, model
        if provider.model:
            yield name, provider.model
    for route in settings.models.values():
        for ref in (*route.targets, *([route.shadow] if route.shadow else [])):
            yield ref.provider, ref.model

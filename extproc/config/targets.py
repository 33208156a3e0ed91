"""The targets that a configuration names, for lists and for labels: whoever asks may name any more
where a `*` is served, and those are told of as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from extproc.config.schema import Settings
from extproc.model.call import apart

REST = "*"
"""the model of all targets of a provider that the configuration does not name"""


def named(settings: Settings) -> frozenset[tuple[str, str]]:
    """Provider and model of each, without those that end in `*`."""
    return frozenset((addressee.partition("@")[0], model) for addressee, model in _named(settings))


class Parts(NamedTuple):
    """What a target's key (`Target.key`) is made of. `region` and `key_name` are of a provider's
    several regions and keys."""

    provider: str
    region: str
    key_name: str
    model: str

    @property
    def apart(self) -> dict[str, str]:
        """What tells it from the provider's others, as logs and lists name it."""
        names = {"region": self.region, "key_name": self.key_name}
        return {what: name for what, name in names.items() if name}


def parts(key: str) -> Parts:
    place, _, model = key.partition("/")
    addressee, _, key_name = place.partition("#")
    provider, _, region = addressee.partition("@")
    return Parts(provider, region, key_name, model)


def keys(settings: Settings) -> frozenset[str]:
    """The keys of all that are `named`, each as often as its provider has regions and keys."""
    return frozenset(
        f"{place}/{model}"
        for addressee, model in _named(settings)
        for place in places(settings, addressee)
    )


def split(key: str, known: frozenset[tuple[str, str]]) -> tuple[str, str]:
    """Provider and model of a target's key; REST where it is not `known`."""
    provider, _, _, model = parts(key)
    return provider, model if (provider, model) in known else REST


def place_of(key: str) -> str:
    """What a target's key begins with: of all models that are reached in one way, with one credential."""
    return key.partition("/")[0]


def places(settings: Settings, addressee: str) -> list[str]:
    """What the keys of a provider's targets begin with, or of those in one of its regions."""
    name, _, only = addressee.partition("@")
    provider = settings.providers.get(name)
    if provider is None:
        return [addressee]
    return [
        f"{one.full_name}{apart('', key)}"
        for one in provider.by_region()
        if only in ("", one.region_name)
        for key in ([key.name for key in one.api_keys] or [""])
    ]


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    return (pair for pair in _all(settings) if not pair[1].endswith("*"))


def _all(settings: Settings) -> Iterator[tuple[str, str]]:
    """Whom the configuration addresses, a provider or one of its regions, and the model."""
    for name, provider in settings.providers.items():
        for model in provider.models:
            yield name, model
        if provider.model:
            yield name, provider.model
    for route in settings.models.values():
        for ref in (*route.targets, *([route.shadow] if route.shadow else [])):
            yield ref.provider, ref.model

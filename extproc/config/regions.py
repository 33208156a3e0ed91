"""What the `regions:` of a provider's block mean: each is the block, with what it says otherwise.

Takes checked values, gives a `Provider` with its `Region`s, told apart by name; notes what is
wrong in `Findings`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from extproc.config import providers
from extproc.config.catalogue import find
from extproc.config.errors import quoted
from extproc.config.findings import Findings, KeyPath, spell
from extproc.config.providers import UNSET_ENDPOINT, ProviderDraft, RegionDraft, Way
from extproc.config.schema import Provider, Region, addressed

_APART = ("endpoint", "region")
"""keys that each region has for itself"""
_SECRETS = ("api_key", "api_keys")
_REGIONAL = "`variant: vertex`, `variant: bedrock` or `auth: aws`"


def provider(
    name: str, draft: ProviderDraft, found: Findings, dialects: frozenset[str] | None
) -> Provider:
    """As `providers.provider`, also where there are several regions."""
    path = ("providers", name)
    if not found.has(*path, "regions"):
        return providers.provider(name, draft, found, dialects)
    _beside(path, found)
    if find(name) is None and not found.has(*path, "dialect"):
        providers.introduce(name, True, None, found)
        return Provider(name=name, dialect="", endpoint=UNSET_ENDPOINT)
    common = structs.replace(draft, endpoint=None, region=None, regions=())
    made: dict[KeyPath, Provider] = {}
    regions: dict[KeyPath, Region] = {}
    for at, one in found.items((*path, "regions"), draft.regions):
        said = RegionDraft(name=one) if isinstance(one, str) else one
        if not said.name:
            continue
        made[at] = _alone(name, common, said, at, found, dialects)
        regions[at] = _region(said, made[at])
        _apart(at, regions, found)
    return _joined(name, made, regions, found)


def addresses(backends: Mapping[str, Provider]) -> Mapping[str, Provider]:
    """The providers by all names that targets may call them and their regions."""
    more = {addressed(p.name, one.name): p for p in backends.values() for one in p.regions}
    return {**backends, **more}


def _beside(path: KeyPath, found: Findings) -> None:
    for key in _APART:
        at = (*path, key)
        if found.has(*at) and found.places[at].variable is None:
            found.at(
                at, f"found `{key}:` beside `regions:`, expected it within those that it is of"
            )


def _alone(
    name: str,
    common: ProviderDraft,
    said: RegionDraft,
    at: KeyPath,
    found: Findings,
    dialects: frozenset[str] | None,
) -> Provider:
    """The provider as if this were its only region."""
    path = ("providers", name)
    secret = any(found.has(*at, key) for key in _SECRETS)
    hidden = (*_APART, "regions", *(_SECRETS if secret else ()))
    own = found.within(path, at, hidden)
    keys = [
        key for key in Way.__struct_fields__ if found.has(*at, key) or (secret and key in _SECRETS)
    ]
    draft = structs.replace(common, **{key: getattr(said, key) for key in keys})
    if providers.has_regions(path, draft, find(name), own):
        if not own.has(*path, "region"):
            draft = structs.replace(draft, region=said.name)
            own.places[(*path, "region")] = own.places.get((*path, "name"), own.places[path])
    elif not own.has(*path, "endpoint"):
        what = f"found {quoted(said.name)} without `endpoint:`, expected the URL of this region"
        found.at(at, f"{what}: what is known by name are regions of {_REGIONAL}")
        return Provider(name=name, dialect="", endpoint=UNSET_ENDPOINT)
    alone = providers.provider(name, draft, own, dialects)
    found.take(own)
    return alone


def _region(said: RegionDraft, alone: Provider) -> Region:
    return Region(
        name=said.name,
        weight=said.weight,
        endpoint=alone.endpoint,
        region=alone.region,
        project=alone.project,
        api_version=alone.api_version,
        headers=alone.headers,
        auth=alone.auth,
        api_key=alone.api_key,
        api_keys=alone.api_keys,
        tls=alone.tls,
        proxy=alone.proxy,
        unavailable=alone.unavailable,
    )


def _apart(at: KeyPath, regions: Mapping[KeyPath, Region], found: Findings) -> None:
    """The region at `at`, the latest, is not one of those before it."""
    one = regions[at]
    named = (*at, "name") if found.has(*at, "name") else at
    for first, other in regions.items():
        if first == at:
            return
        if other.name == one.name:
            message = (
                f"the name {quoted(one.name)} is here a second time, expected names that differ"
            )
            found.at(named, f"{message}; the first is {spell(first)}")
            return
        if one.endpoint == UNSET_ENDPOINT:
            continue
        if one == structs.replace(
            other, name=one.name, weight=one.weight, unavailable=one.unavailable
        ):
            message = f"found the same host and credential as in {spell(first)}"
            found.at(at, f"{message}, expected regions that differ")
            return


def _joined(
    name: str,
    made: Mapping[KeyPath, Provider],
    regions: Mapping[KeyPath, Region],
    found: Findings,
) -> Provider:
    """All regions as one provider, which can be used if any of them can."""
    if not made:
        return Provider(name=name, dialect="", endpoint=UNSET_ENDPOINT)
    lacks = {at: one.unavailable for at, one in made.items() if one.unavailable is not None}
    first = next((at for at in made if at not in lacks), next(iter(made)))
    for at, lack in lacks.items() if len(lacks) < len(made) else ():
        found.warn(at, f"{lack}, so the provider does without this region")
    return structs.replace(
        made[first],
        regions=tuple(regions.values()),
        unavailable=None if first not in lacks else _lack(lacks, regions),
    )


def _lack(lacks: Mapping[KeyPath, str], regions: Mapping[KeyPath, Region]) -> str:
    """Why none of them can be used: what all lack is said once."""
    if len(set(lacks.values())) == 1:
        return next(iter(lacks.values()))
    return "; ".join(f"region {regions[at].name}: {lack}" for at, lack in lacks.items())

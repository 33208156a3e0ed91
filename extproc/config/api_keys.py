"""What a provider's `api_key:` and `api_keys:` mean together.

Takes checked values, gives `ApiKey`s that are told apart by name; notes what is wrong in
`Findings`. Never repeats a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

from extproc.config.errors import quoted
from extproc.config.findings import Findings, KeyPath
from extproc.config.schema import ApiKey, Secret

KeyDrafts: TypeAlias = tuple[object, ...]
"""each a secret, or a block as a mapping"""


def several(
    path: KeyPath, alone: Secret | None, drafts: KeyDrafts, found: Findings
) -> tuple[Secret | None, tuple[ApiKey, ...]]:
    """The provider's only key, or all of several. A list of which one is left is that one."""
    place = (*path, "api_keys")
    if found.has(*path, "api_key") and found.has(*place):
        found.at(place, "found `api_key:` and `api_keys:`, expected one of them")
    keys: dict[KeyPath, ApiKey] = {}
    for at, draft in found.items(place, drafts):
        key = _key(at, draft)
        if key is not None:
            _apart(at, key, keys, found)
            keys[at] = key
    if keys:
        for at, lack in found.missing.items():
            if at[: len(place)] == place:
                found.warn(at, f"{lack}, so the provider does without this key")
    if len(keys) == 1:
        return next(iter(keys.values())).key, ()
    return alone, tuple(keys.values())


def _key(at: KeyPath, draft: object) -> ApiKey | None:
    """None where its secret is missing, or is wrong. Without a name, its number is its name."""
    block = {"key": draft} if isinstance(draft, Secret) else cast("dict[str, object]", draft)
    secret = block.get("key")
    if not isinstance(secret, Secret):
        return None
    name = cast("str", block.get("name", str(int(at[-1]) + 1)))
    return ApiKey(name=name, key=secret, weight=float(cast("float", block.get("weight", 1.0))))


def _apart(at: KeyPath, key: ApiKey, earlier: Mapping[KeyPath, ApiKey], found: Findings) -> None:
    for first, one in earlier.items():
        if one.name == key.name:
            named = found.has(*at, "name")
            where = (*at, "name") if named else at
            shown = found.shown(where) if named else quoted(key.name)
            message = f"the name {shown} is here a second time, expected names that differ"
            found.at(where, f"{message}; the first is {found.spelled(first)}")
        if one.key == key.key:
            where = (*at, "key") if found.has(*at, "key") else at
            found.at(
                where,
                f"found the same secret as in {found.spelled(first)}, expected keys that differ",
            )

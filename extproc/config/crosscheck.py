"""What one key alone cannot tell: names that refer to others, and keys that need one another.

Takes checked values, gives providers, keys and notes in `Findings`. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from extproc.config.catalogue import DIALECTS, KNOWN, Known, find, matches
from extproc.config.errors import listed, nearest, quoted
from extproc.config.findings import Findings
from extproc.config.schema import (
    Key,
    KeyRole,
    Limits,
    Log,
    Provider,
    ProviderTls,
    Secret,
    SecurityLevel,
    Server,
    TargetRef,
)

UNSET_ENDPOINT = "http://unset.invalid"
"""endpoint of a provider whose own is missing; `.invalid` never resolves (RFC 6761)"""

SHORT_KEY = 16
"""characters; a shorter key can be guessed"""


class ProviderDraft(Struct, frozen=True, kw_only=True):
    """A provider as the file gives it."""

    dialect: str | None = None
    endpoint: str | None = None
    api_key: Secret | None = None
    model: str | None = None
    models: tuple[str, ...] = ()
    timeout: float = 60.0
    security_level: SecurityLevel | None = None
    cost_per_token: float | None = None
    tls: ProviderTls | None = None
    proxy: str | None = None


class TargetDraft(Struct, frozen=True, kw_only=True):
    provider: str = ""
    model: str = ""


class KeyDraft(Struct, frozen=True, kw_only=True):
    name: str = ""
    key: Secret | None = None
    hash: str | None = None
    role: KeyRole = KeyRole.CALLER
    models: tuple[str, ...] = ("*",)


Aliases: TypeAlias = Mapping[str, tuple[TargetDraft, ...]]


def provider(
    name: str, draft: ProviderDraft, found: Findings, dialects: frozenset[str] | None
) -> Provider:
    """The provider with what the catalogue knows of it. Errors are noted, not raised."""
    known = find(name)
    _introduce(name, draft, known, found)
    dialect = draft.dialect or (known.dialect if known else "")
    _dialect(name, draft, found, dialects)
    default = known.endpoint if known else None
    path = ("providers", name)
    if (*path, "endpoint") in found.missing:
        default = UNSET_ENDPOINT
    endpoint = (draft.endpoint or default or UNSET_ENDPOINT).rstrip("/")
    _egress(name, endpoint, found)
    level = draft.security_level or (known.security_level if known else SecurityLevel.MEDIUM)
    return Provider(
        name=name,
        dialect=dialect,
        endpoint=endpoint,
        api_key=draft.api_key,
        model=draft.model,
        models=_models(draft, known),
        timeout=draft.timeout,
        security_level=level,
        cost_per_token=draft.cost_per_token,
        tls=draft.tls,
        proxy=draft.proxy,
        unavailable=_unavailable(name, dialect, found, dialects),
    )


def _introduce(name: str, draft: ProviderDraft, known: Known | None, found: Findings) -> None:
    """A provider that is not known by name must say what it is."""
    path = ("providers", name)
    if draft.endpoint is None and not found.has(*path, "endpoint") and known and not known.endpoint:
        message = "`endpoint:` is missing, expected a URL: each customer has their own here"
        found.of_key(path, message)
    if known is not None:
        return
    lacks = [key for key in ("dialect", "endpoint") if not found.has(*path, key)]
    if lacks:
        needs = " and ".join(f"`{key}:`" for key in lacks)
        message = (
            f"{quoted(name)} is not a provider known by name, so it needs {needs}; "
            f"known names are {listed(KNOWN)}"
        )
        found.of_key(path, message, nearest(name, KNOWN))


def _dialect(
    name: str, draft: ProviderDraft, found: Findings, dialects: frozenset[str] | None
) -> None:
    path = ("providers", name)
    names = DIALECTS | (dialects or frozenset())
    if draft.dialect is not None and draft.dialect not in names:
        message = f"found the unknown dialect {found.shown((*path, 'dialect'))}, expected {listed(sorted(names))}"
        found.at((*path, "dialect"), message, nearest(draft.dialect, names))


def _egress(name: str, endpoint: str, found: Findings) -> None:
    path = ("providers", name)
    for key in ("proxy", "tls"):
        if found.has(*path, key) and endpoint.startswith("http:") and endpoint != UNSET_ENDPOINT:
            found.at(
                (*path, key), f"found `{key}:` with an http endpoint, expected an https endpoint"
            )
    for one, other in (("cert", "key"), ("key", "cert")):
        if found.has(*path, "tls", one) and not found.has(*path, "tls", other):
            found.at((*path, "tls"), f"found `{one}:` alone, expected `{other}:` with it")


def _models(draft: ProviderDraft, known: Known | None) -> tuple[str, ...]:
    own = (draft.model,) if draft.model is not None else ()
    if draft.models:
        patterns = draft.models
    else:
        patterns = known.models if known else ()
    return patterns + tuple(model for model in own if not matches(patterns, model))


def _unavailable(
    name: str, dialect: str, found: Findings, dialects: frozenset[str] | None
) -> str | None:
    path = ("providers", name)
    reasons = [
        f"{key}: {found.missing[(*path, key)]}"
        for key in ("endpoint", "api_key")
        if (*path, key) in found.missing
    ]
    if dialects is not None and dialect in DIALECTS and dialect not in dialects:
        reasons.append(f"dialect {dialect} is not built in yet")
    return "; ".join(reasons) or None


def aliases(
    drafts: Aliases, providers: Mapping[str, Provider], found: Findings
) -> dict[str, tuple[TargetRef, ...]]:
    """The aliases, each target checked against the providers."""
    for alias, targets in drafts.items():
        for index, target in enumerate(targets):
            if target.provider and target.provider not in providers:
                path = ("models", alias, index, "provider")
                message = f"found the unknown provider {found.shown(path)}, expected "
                message += listed(providers) if providers else "one of `providers`, which has none"
                left_out = target.provider in found.left_out
                hint = "ALL_PROVIDERS leaves it out" if left_out else None
                found.at(path, message, hint or nearest(target.provider, providers))
    return {
        alias: tuple(TargetRef(provider=one.provider, model=one.model) for one in targets)
        for alias, targets in drafts.items()
    }


def keys(drafts: tuple[KeyDraft, ...], found: Findings) -> tuple[Key, ...]:
    """The keys, told apart by their names."""
    first: dict[str, int] = {}
    secrets: dict[Secret | str, int] = {}
    for index, draft in enumerate(drafts):
        earlier = first.setdefault(draft.name, index)
        if draft.name and earlier != index:
            message = f"the name {found.shown(('keys', index, 'name'))} is here a second time, expected names that differ"
            found.at(("keys", index, "name"), f"{message}; the first is keys[{earlier}]")
        what = draft.key or draft.hash
        same = secrets.setdefault(what, index) if what is not None else index
        if same != index:
            at = "key" if draft.key is not None else "hash"
            message = f"found the same secret as in keys[{same}], expected one for each name"
            found.at(("keys", index, at), message)
        if draft.key is not None and len(draft.key.reveal()) < SHORT_KEY:
            message = f"shorter than {SHORT_KEY} characters: easy to guess; `sluice keys create` makes one"
            found.warn(("keys", index, "key"), message)
    return tuple(
        Key(name=one.name, key=one.key, hash=one.hash, role=one.role, models=one.models)
        for one in drafts
    )


def limits(values: Limits, found: Findings) -> None:
    if values.in_flight_bytes < values.body:
        key = "in_flight_bytes" if found.has("limits", "in_flight_bytes") else "body"
        message = (
            f"found in_flight_bytes of {values.in_flight_bytes} bytes below body of {values.body}, "
            "expected room for one whole body"
        )
        found.at(("limits", key), message)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def warnings(
    server: Server,
    providers: Mapping[str, Provider],
    targets: Mapping[str, tuple[TargetRef, ...]],
    with_keys: bool,
    found: Findings,
) -> None:
    """What is allowed, and most likely not meant."""
    if not with_keys and not is_loopback(server.host):
        message = f"no keys, and {server.host} is not a loopback address: callers from other machines are refused"
        found.warn(("server", "host"), f"{message}; `sluice keys create` makes a key")
    if not providers:
        found.warn(
            (), "no providers: write a `providers:` block, or set a variable such as OPENAI_API_KEY"
        )
    used = {target.provider for group in targets.values() for target in group}
    for name, one in providers.items():
        if not one.models and name not in used:
            message = "serves no model: it has no `models:`, and no alias names it"
            found.warn(("providers", name), message)


class Draft(Struct, frozen=True, kw_only=True):
    """The checked values, typed. Anything may be left out: errors are noted elsewhere."""

    server: Server = Server()
    workers: int = 0
    providers: dict[str, ProviderDraft] = {}
    models: dict[str, tuple[TargetDraft, ...]] = {}
    keys: tuple[KeyDraft, ...] = ()
    limits: Limits = Limits()
    log: Log = Log()

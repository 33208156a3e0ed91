"""What one key alone cannot tell: names that refer to others, and keys that need one another.

Takes checked values, gives keys and notes in `Findings`. Providers are `providers.py`'s,
models are `model_routes.py`'s. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from msgspec import Struct, structs

from extproc.config.findings import Findings
from extproc.config.model_routes import ModelDraft, RoutingDraft
from extproc.config.providers import ProviderDraft
from extproc.config.schema import (
    Key,
    KeyRole,
    Limits,
    Log,
    ModelRoute,
    Provider,
    Secret,
    Server,
    Transport,
)

SHORT_KEY = 16
"""characters; a shorter key can be guessed"""


class KeyDraft(Struct, frozen=True, kw_only=True):
    name: str = ""
    key: Secret | None = None
    hash: str | None = None
    role: KeyRole = KeyRole.CALLER
    models: tuple[str, ...] = ("*",)
    team: str = ""
    tags: tuple[str, ...] = ()


def keys(drafts: tuple[KeyDraft, ...], found: Findings) -> tuple[Key, ...]:
    """The keys, told apart by their names."""
    first: dict[str, str | int] = {}
    secrets: dict[Secret | str, str | int] = {}
    for (_, index), draft in found.items(("keys",), drafts):
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
    return tuple(Key(**structs.asdict(one)) for one in drafts)


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
    models: Mapping[str, ModelRoute],
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
    used = {target.provider for model in models.values() for target in model.targets}
    used |= {model.shadow.provider for model in models.values() if model.shadow is not None}
    used = {name.partition("@")[0] for name in used}
    for name, one in providers.items():
        if not one.models and name not in used:
            message = "serves no model: it has no `models:`, and no alias names it"
            found.warn(("providers", name), message)


class Draft(Struct, frozen=True, kw_only=True):
    """The checked values, typed. Anything may be left out: errors are noted elsewhere."""

    server: Server = Server()
    workers: int = 0
    transport: Transport = Transport.NATIVE
    providers: dict[str, ProviderDraft] = {}
    models: dict[str, ModelDraft] = {}
    routing: RoutingDraft = RoutingDraft()
    keys: tuple[KeyDraft, ...] = ()
    limits: Limits = Limits()
    log: Log = Log()

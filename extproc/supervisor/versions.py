"""Two configurations side by side: their names, what differs, what a running gateway cannot take.

Settings in, values out. Pure. Nothing here gives a secret away: a version tells nothing
of a weak one either, and differences are paths without values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
from msgspec.structs import replace

from extproc.config.load import encode
from extproc.config.schema import Provider, Secret, Settings
from extproc.envoygen.clusters import Origin, origin

MASK = "***"

_FIXED = (
    ("server",),
    ("workers",),
    ("transport",),
    ("data",),
    ("limits", "body"),
    ("limits", "connections"),
    ("limits", "in_flight_bytes"),
    ("log", "format"),
)
"""what is taken once, when the gateway starts: ports, processes, folders, and the bounds that
Envoy and the workers' sockets are made with"""
_NOT_ASKED_FOR = ("source", "warnings", "inactive", "files")
"""fields that say how the settings were read"""

Plain = Mapping[str, object]


def version(settings: Settings) -> str:
    """A short name for what the settings say, the same on every machine and after every restart.

    It covers secrets too, and is slow on purpose: nobody finds a weak one by trying. It
    leaves out where the file lies, and what only a start takes.
    """
    providers = {name: replace(one, revision=0) for name, one in settings.providers.items()}
    fresh = Settings()
    said = replace(
        settings,
        providers=providers,
        server=fresh.server,
        workers=fresh.workers,
        transport=fresh.transport,
        data=fresh.data,
        source="",
        warnings=(),
        inactive=(),
    )
    return hashlib.scrypt(encode(said), salt=b"sluice", n=1 << 14, r=8, p=1, dklen=6).hex()


def shown(settings: Settings) -> dict[str, object]:
    """The settings for people, secrets and keys' hashes masked."""
    plain = _plain(settings, _masked)
    keys = cast("list[dict[str, object]]", plain["keys"])
    hidden = [{**key, "hash": key["hash"] and MASK} for key in keys]
    return {**{k: v for k, v in plain.items() if k not in _NOT_ASKED_FOR}, "keys": hidden}


def _plain(settings: Settings, hook: Callable[[object], object]) -> dict[str, object]:
    """As plain values, without what the gateway counts itself."""
    plain = cast("dict[str, object]", msgspec.to_builtins(settings, enc_hook=hook))
    for provider in cast("dict[str, dict[str, object]]", plain["providers"]).values():
        del provider["revision"]
    return plain


@dataclass(frozen=True, slots=True)
class Differences:
    """Paths such as `providers.acme.endpoint`, sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        said = (*(f"+{one}" for one in self.added), *(f"-{one}" for one in self.removed))
        return " ".join((*said, *self.changed))


NOTHING = Differences()


def differences(old: Settings, new: Settings) -> Differences:
    """What `new` says otherwise. Of a thing that came or went only the thing itself is named."""
    found = list(_compared(_comparable(old), _comparable(new), ""))
    return Differences(
        *(
            tuple(sorted(path for kind, path in found if kind == wanted))
            for wanted in ("added", "removed", "changed")
        )
    )


def kept(active: Settings, started: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...]]:
    """What of `wanted` can be applied now, and the paths that need a restart.

    `started` is what the gateway was started with, as read; `active` is that with what it
    chose itself, such as a free port.
    """
    restart = [".".join(path) for path in _FIXED if _at(started, path) != _at(wanted, path)]
    if "server" not in restart and _certificate(started) != _certificate(wanted):
        restart.append("server.tls")
    limits, log = active.limits, active.log
    return replace(
        wanted,
        server=active.server,
        workers=active.workers,
        transport=active.transport,
        data=active.data,
        limits=replace(
            wanted.limits,
            body=limits.body,
            connections=limits.connections,
            in_flight_bytes=limits.in_flight_bytes,
        ),
        log=replace(wanted.log, format=log.format),
    ), tuple(restart)


class Revisions:
    """Gives a provider's cluster another name each time the way to it changes, so that an exchange
    of the old configuration never goes the new way with the old credential."""

    def __init__(self, settings: Settings) -> None:
        self._ways: dict[str, tuple[object, int]] = {}
        self.used(settings)

    def of(self, settings: Settings) -> Settings:
        providers = {
            name: replace(one, revision=self._revision(one, settings.files))
            for name, one in settings.providers.items()
        }
        return replace(settings, providers=providers)

    def used(self, settings: Settings) -> None:
        """These are in use now; what was only tried leaves no trace."""
        for name, one in settings.providers.items():
            self._ways[name] = (_ways(one, settings.files), one.revision)

    def _revision(self, provider: Provider, files: Mapping[str, str]) -> int:
        way = _ways(provider, files)
        known, revision = self._ways.get(provider.name, (way, 0))
        return revision if known == way else revision + 1


def _ways(provider: Provider, files: Mapping[str, str]) -> dict[str, tuple[Origin, object]]:
    """What says where connections go, and whom they trust, by region. Where one differs, the
    clusters of all get other names."""
    if provider.unavailable is not None:
        return {}
    return {one.region_name: _way(one, files) for one in provider.by_region()}


def _way(provider: Provider, files: Mapping[str, str]) -> tuple[Origin, object]:
    tls = provider.tls
    named = (tls.ca, tls.cert, tls.key) if tls is not None else ()
    contents = tuple(files.get(str(path)) for path in named if isinstance(path, Path))
    return origin(provider), (provider.proxy, tls, contents)


def _certificate(settings: Settings) -> list[str | None]:
    """Hashes of what is in the files of `server.tls`."""
    tls = settings.server.tls
    return [settings.files.get(str(path)) for path in (tls.cert, tls.key)] if tls else []


def _at(settings: Settings, path: tuple[str, ...]) -> object:
    found: object = settings
    for name in path:
        found = getattr(found, name)
    return found


def _comparable(settings: Settings) -> Plain:
    """As plain values with the secrets in them; keys by name, and files without what is in them."""
    plain = _plain(settings, _revealed)
    keys = cast("list[Plain]", plain["keys"])
    found = {key: value for key, value in plain.items() if key not in _NOT_ASKED_FOR}
    return {**found, "keys": {str(key["name"]): key for key in keys}, "files": plain["files"]}


def _compared(old: Plain, new: Plain, path: str) -> Iterator[tuple[str, str]]:
    for name in old.keys() | new.keys():
        here = f"{path}.{name}" if path else name
        if name not in old:
            yield "added", here
        elif name not in new:
            yield "removed", here
        elif old[name] != new[name]:
            before, after = old[name], new[name]
            if isinstance(before, dict) and isinstance(after, dict):
                yield from _compared(cast("Plain", before), cast("Plain", after), here)
            else:
                yield "changed", here


def _masked(value: object) -> object:
    return MASK if isinstance(value, Secret) else str(value)


def _revealed(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else str(value)

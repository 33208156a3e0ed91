"""The summary of settings that `sluice check FILE` prints. Names and counts; never a secret."""

from __future__ import annotations

from collections.abc import Iterable

from extproc.config.models import DATED
from extproc.config.schema import Key, ModelRoute, Provider, Settings


def check_report(settings: Settings, dialects: Iterable[str] = ()) -> str:
    """Lines for a person, with a final newline. `dialects` are those that providers may speak here."""
    scheme = "https" if settings.server.tls else "http"
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    lines = [
        f"{settings.source}: no errors",
        f"server: {scheme}://{host}:{settings.server.port}",
        f"workers: {settings.workers or 'one for each core'}",
        f"data: {settings.data}",
        *((f"dialects: {', '.join(sorted(dialects))}",) if dialects else ()),
        *_section("providers", map(_provider, settings.providers.values())),
        f"models: catalogue of {DATED}, which `capabilities:` overrides",
        *_section("aliases", (_alias(name, one) for name, one in settings.models.items())),
        *_section(
            "keys", map(_key, settings.keys), "none: only callers on this machine are served"
        ),
        *(
            f"{name}: understood, but this build has no such stage yet"
            for name in settings.inactive
        ),
        *(f"warning: {text}" for text in settings.warnings),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Iterable[str], without: str = "none") -> list[str]:
    inner = [f"  {line}" for line in lines]
    return [f"{title}:", *inner] if inner else [f"{title}: {without}"]


def _provider(provider: Provider) -> str:
    text = f"{provider.name}: {provider.dialect}, {provider.endpoint}, {provider.security_level}"
    if provider.unavailable is not None:
        return f"{text}, UNAVAILABLE ({provider.unavailable})"
    return f"{text}, serves {' '.join(provider.models) or 'what aliases name'}"


def _alias(name: str, model: ModelRoute) -> str:
    return f"{name}: {', '.join(f'{one.provider}/{one.model}' for one in model.targets)}"


def _key(key: Key) -> str:
    return f"{key.name}: {key.role}, may use {' '.join(key.models)}"

"""The summary of settings that `sluice check FILE` prints. Names and counts; never a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from extproc.config import models, prices
from extproc.config.errors import quoted
from extproc.config.schema import Key, ModelRoute, Provider, Region, Settings, Strategy, TargetRef
from extproc.config.shapes import size


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
        f"models: catalogue of {models.DATED}, which `capabilities:` overrides",
        f"prices: catalogue of {prices.DATED}, which `prices:` and `cost_per_token:` override",
        *_section("aliases", (_model(name, one) for name, one in settings.models.items())),
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
    regions = ", ".join(map(_region, provider.regions))
    where = f"regions {regions}" if regions else provider.endpoint
    text = f"{provider.name}: {provider.dialect}, {where}, {provider.security_level}"
    if provider.unavailable is not None:
        return f"{text}, UNAVAILABLE ({provider.unavailable})"
    keys = " ".join(key.name for key in provider.api_keys if not regions)
    text += f", keys {keys}" * bool(keys)
    return f"{text}, serves {' '.join(provider.models) or 'what aliases name'}"


def _region(region: Region) -> str:
    """`sweden https://a.example (keys 1 2)`."""
    keys = " ".join(key.name for key in region.api_keys)
    notes = [
        f"weight {region.weight:g}" * (region.weight != 1.0),
        f"keys {keys}" * bool(keys),
        "UNAVAILABLE" * (region.unavailable is not None),
    ]
    said = ", ".join(filter(None, notes))
    return f"{region.name} {region.endpoint}" + f" ({said})" * bool(said)


def _model(name: str, model: ModelRoute) -> str:
    """`chat: weighted by caller: a/x (weight 9), b/y; then c/z; 5 attempts`."""
    groups = "; then ".join(", ".join(map(_target, group)) for group in model.groups)
    by = f" by {model.by}" if model.strategy is Strategy.WEIGHTED else ""
    how = f"{model.strategy}{by}: " if model.strategy is not Strategy.ORDER else ""
    return "; ".join([f"{name}: {how}{groups}", *_beside(model)])


def _target(target: TargetRef) -> str:
    names = {"sets": target.set, "by default": target.default, "caps": target.cap}
    notes = [
        f"weight {target.weight:g}" * (target.weight != 1.0),
        f"label {target.label}" * bool(target.label),
        f"when {quoted(target.when)}" * bool(target.when),
        *(f"{what} {', '.join(keys)}" for what, keys in names.items() if keys),
    ]
    said = ", ".join(filter(None, notes))
    return f"{target.provider}/{target.model}" + f" ({said})" * bool(said)


def _beside(model: ModelRoute) -> Iterator[str]:
    """What there is to say beside the targets."""
    if model.window is not None:
        yield f"window {model.window.seconds:g}s or {size(model.window.bytes)}"
    if model.retry is not None:
        yield f"{model.retry.attempts} attempts"
    if model.deadline is not None:
        yield f"deadline {model.deadline:g}s"
    if (shadow := model.shadow) is not None:
        yield f"copies of {shadow.percent:g}% to {shadow.provider}/{shadow.model}"


def _key(key: Key) -> str:
    return f"{key.name}: {key.role}, may use {' '.join(key.models)}"

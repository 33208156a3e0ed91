"""What `/providers` and `/health/detailed` say, as plain JSON objects. Pure, and without a secret.

The members are a promise: those of the short forms are these and no others, and
`detail` adds to them. Times are unix seconds; what is not known is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from ipaddress import ip_address
from typing import TypeAlias

from extproc.admin.standing import Standing, Status, address
from extproc.config.models import capabilities, default_model
from extproc.config.prices import price
from extproc.config.providers import UNSET_ENDPOINT
from extproc.config.schema import KeyAuth, Provider, ProviderTls

_OWN_NETWORK = (".local", ".localhost", ".internal", ".lan", ".home.arpa")
"""ends of names that are no names of the internet (RFC 6761, 6762, 8375, and ICANN's `.internal`)"""

Told: TypeAlias = Sequence[Mapping[str, object]]

_CACHE = {"status": "disabled", "total_entries": 0, "total_size_mb": 0.0}
_RATE_LIMITER = {"active_users": 0, "global_requests_last_minute": 0}
"""of a cache and a rate limiter that this build does not have"""


def listed(
    provider: Provider,
    standing: Standing,
    *,
    detail: bool,
    targets: Told = (),
    probes: Told = (),
) -> dict[str, object]:
    """One of `providers`. `targets` are those of `Targets.told`, `probes` of `Prober.told`."""
    model = default_model(provider)
    short: dict[str, object] = {
        "name": provider.name,
        "type": "local" if is_local(provider.endpoint) else "cloud",
        "model": model,
        "security_level": provider.security_level.value,
        "cost_per_token": provider.cost_per_token,
        "status": standing.status.value,
    }
    if not detail:
        return short
    return {**short, **_detail(provider, model, standing), **_known(targets, probes)}


def health(
    standing: Standing, *, detail: bool, targets: Told = (), probes: Told = ()
) -> dict[str, object]:
    """One of `/health/detailed`'s `providers`. Of one that is not known, the best is assumed."""
    up = standing.status is Status.AVAILABLE
    short: dict[str, object] = {
        "available": standing.status is not Status.UNAVAILABLE,
        "status": "healthy" if up else standing.status.value,
        "last_checked": standing.checked,
    }
    return {**short, **_trouble(standing), **_known(targets, probes)} if detail else short


def detailed(
    providers: Mapping[str, dict[str, object]],
    *,
    healthy: bool,
    version: str,
    uptime: float,
    now: float,
) -> dict[str, object]:
    """`/health/detailed`. `uptime` in seconds; `providers` as `health` makes them."""
    return {
        "service": "healthy" if healthy else "unhealthy",
        "version": version,
        "uptime": int(uptime),
        "providers": providers,
        "cache": _CACHE,
        "rate_limiter": _RATE_LIMITER,
        "timestamp": now,
    }


def is_local(endpoint: str) -> bool:
    """Whether a URL's host is of this machine or its own network, by address or by its name's form."""
    host = address(endpoint)[0]
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_OWN_NETWORK)


def _detail(provider: Provider, model: str | None, standing: Standing) -> dict[str, object]:
    known = capabilities(provider, model) if model is not None else None
    costs = price(provider, model) if model is not None else None
    return {
        "languages": [provider.dialect, *provider.also],
        "models": list(provider.models),
        # Every language here streams, and vectors have no parts.
        "capabilities": known and {"streaming": known.embedding is not True, **asdict(known)},
        "price": costs and asdict(costs),
        "transport": _transport(provider),
        "last_checked": standing.checked,
        **_trouble(standing),
        "lacks": provider.unavailable,
        **_regions(provider),
    }


def _regions(provider: Provider) -> dict[str, object]:
    """There where there are several; what stands beside it is then of the first usable one."""
    regions = [
        {
            "name": one.name,
            "endpoint": None if one.endpoint == UNSET_ENDPOINT else one.endpoint,
            "region": one.region,
            "weight": one.weight,
            "lacks": one.unavailable,
        }
        for one in provider.regions
    ]
    return {"regions": regions} if regions else {}


def _known(targets: Told, probes: Told) -> dict[str, object]:
    """`probes` is there where a provider is asked by exchanges of our own."""
    asked: dict[str, object] = {"probes": [*probes]} if probes else {}
    return {"targets": [*targets], **asked}


def _trouble(standing: Standing) -> dict[str, object]:
    return {"reason": standing.reason, "since": standing.since}


def _transport(provider: Provider) -> dict[str, object]:
    auth = provider.auth
    keyless = isinstance(auth, KeyAuth) and not (provider.api_key or provider.api_keys)
    return {
        "endpoint": None if provider.endpoint == UNSET_ENDPOINT else provider.endpoint,
        "variant": provider.variant or None,
        "api_version": provider.api_version,
        "project": provider.project,
        "region": provider.region,
        "auth": "none" if keyless else auth.__struct_config__.tag,
        "headers": sorted(provider.headers),
        "timeout": provider.timeout,
        "proxy": provider.proxy,
        "probe": provider.probing is not None or (provider.probe and provider.proxy is None),
        "tls": _tls(provider.tls or ProviderTls())
        if provider.endpoint.startswith("https:")
        else None,
    }


def _tls(tls: ProviderTls) -> dict[str, object]:
    return {
        "roots": "system" if tls.ca is None else "own",
        "client_certificate": tls.cert is not None,
        "sni": tls.sni,
    }

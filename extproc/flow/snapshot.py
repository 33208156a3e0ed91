"""One configuration, compiled: all work that can be done before a request comes.

`compile_snapshot` takes settings and the registry of what this build contains,
and gives a `Snapshot` that an exchange pins for its whole life. Never changes
once made; a reload makes another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from urllib.parse import urlsplit

from extproc.config.names import provider_cluster
from extproc.config.schema import Provider, Settings, TargetRef
from extproc.config.shapes import Field
from extproc.flow.identify import Identifier
from extproc.model.call import Caller, Target
from extproc.model.dialect import Dialect, ModelCard
from extproc.model.errors import GatewayError, MethodNotAllowed, NotFound
from extproc.model.ports import Credential
from extproc.model.stage import Stage

ERROR_DIALECT = "openai_chat"
"""the language of errors on paths that no dialect claims"""

SECONDS_TO_MS = 1000


@dataclass(frozen=True, slots=True)
class Registry:
    """What this build contains: dialects, stages, their blocks' language, and ways to sign."""

    dialects: Mapping[str, Dialect]
    stages: Mapping[str, type[Stage]]
    blocks: Mapping[str, Field]
    credential: Callable[[Provider], Credential]


@dataclass(frozen=True, slots=True)
class Backend:
    """A provider, ready to use. `fixed` are the request headers that never change."""

    provider: Provider
    dialect: Dialect
    credential: Credential
    cluster: str
    authority: str
    base_path: str
    fixed: tuple[tuple[str, str], ...]

    def fit(self, model: str) -> int:
        """How exactly the provider's names say that it serves a model: 0 = it does not."""
        return max((_fit(pattern, model) for pattern in self.provider.models), default=0)

    @property
    def default_model(self) -> str | None:
        """What it answers with when no model is named."""
        if self.provider.model:
            return self.provider.model
        return next((m for m in self.provider.models if not m.endswith("*")), None)

    def target(self, model: str) -> Target:
        return Target(
            provider=self.provider.name,
            model=model,
            dialect=self.dialect.name,
            cluster=self.cluster,
            authority=self.authority,
            base_path=self.base_path,
            timeout=self.provider.timeout,
        )


_EXACT = 1 << 16


def _fit(pattern: str, model: str) -> int:
    """A name fits best, then the longest prefix (a pattern that ends in `*`)."""
    if pattern == model:
        return _EXACT
    if pattern.endswith("*") and model.startswith(pattern[:-1]):
        return len(pattern)
    return 0


@dataclass(frozen=True, slots=True)
class Claimed:
    """The dialect that answers a path, and its own word for the operation."""

    dialect: Dialect
    operation: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    settings: Settings
    identifier: Identifier
    dialects: Mapping[str, Dialect]
    backends: Mapping[str, Backend]
    unavailable: Mapping[str, str]
    aliases: Mapping[str, tuple[TargetRef, ...]]
    stages: tuple[Callable[[], Stage], ...]
    cards: tuple[ModelCard, ...]
    exact: Mapping[str, Mapping[str, Claimed]] = field(repr=False)
    prefixes: tuple[tuple[str, Mapping[str, Claimed]], ...] = field(repr=False)

    @property
    def error_dialect(self) -> Dialect:
        return self.dialects[ERROR_DIALECT]

    def claim(self, method: str, path: str) -> Claimed | GatewayError:
        """Who answers this path, or the error that says why nobody does."""
        methods = self._methods(path)
        if methods is None:
            return NotFound(
                f"There is nothing at {method} {path[:200]}. The gateway's paths are in its README;"
                " OpenAI clients use base URL http://HOST:PORT/v1.",
                code="unknown_url",
            )
        claimed = methods.get(method)
        if claimed is None:
            allowed = tuple(sorted(methods))
            return MethodNotAllowed(
                f"{path[:200]} answers {', '.join(allowed)}, not {method[:20]}.", allow=allowed
            )
        return claimed

    def speaker(self, path: str) -> Dialect:
        """The dialect in which to answer errors on this path."""
        methods = self._methods(path)
        if not methods:
            return self.error_dialect
        return next(iter(methods.values())).dialect

    def _methods(self, path: str) -> Mapping[str, Claimed] | None:
        if found := self.exact.get(path):
            return found
        for prefix, methods in self.prefixes:
            if path.startswith(prefix):
                return methods
        return None

    def models_for(self, caller: Caller) -> Sequence[ModelCard]:
        return [card for card in self.cards if caller.may_use(card.id)]


def compile_snapshot(settings: Settings, registry: Registry, secret: bytes) -> Snapshot:
    """`secret` is random and the same for all workers of a gateway, or not: it never leaves."""
    backends: dict[str, Backend] = {}
    unavailable: dict[str, str] = {}
    for name, provider in settings.providers.items():
        dialect = registry.dialects.get(provider.dialect)
        if provider.unavailable:
            unavailable[name] = provider.unavailable
        elif dialect is None or not dialect.speaks_to_providers:
            unavailable[name] = f"dialect {provider.dialect} is not built in yet"
        else:
            backends[name] = _backend(provider, dialect, registry.credential(provider))
    exact, prefixes = _paths(registry.dialects.values())
    return Snapshot(
        settings=settings,
        identifier=Identifier(settings.keys, secret),
        dialects=registry.dialects,
        backends=backends,
        unavailable=unavailable,
        aliases=settings.models,
        stages=_stages(settings, registry),
        cards=_cards(settings, backends),
        exact=exact,
        prefixes=prefixes,
    )


def _stages(settings: Settings, registry: Registry) -> tuple[Callable[[], Stage], ...]:
    """The active stages, inwards: each behind those that it names in AFTER."""
    active = sorted(name for name in registry.stages if name in settings.blocks)
    order = TopologicalSorter(
        {n: [a for a in registry.stages[n].AFTER if a in active] for n in active}
    )
    return tuple(
        registry.stages[name].prepare(settings.blocks[name]) for name in order.static_order()
    )


def _backend(provider: Provider, dialect: Dialect, credential: Credential) -> Backend:
    url = urlsplit(provider.endpoint)
    timeout = str(int(provider.timeout * SECONDS_TO_MS))
    return Backend(
        provider=provider,
        dialect=dialect,
        credential=credential,
        cluster=provider_cluster(provider.name),
        authority=url.netloc,
        base_path=url.path.rstrip("/"),
        fixed=(
            (":authority", url.netloc),
            ("accept-encoding", "identity"),
            ("user-agent", "sluice"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", timeout),
        ),
    )


def _paths(
    dialects: Iterable[Dialect],
) -> tuple[dict[str, dict[str, Claimed]], tuple[tuple[str, dict[str, Claimed]], ...]]:
    exact: dict[str, dict[str, Claimed]] = {}
    prefixes: dict[str, dict[str, Claimed]] = {}
    for dialect in dialects:
        for endpoint in dialect.endpoints:
            wild = endpoint.path.endswith("*")
            table = prefixes if wild else exact
            methods = table.setdefault(endpoint.path.removesuffix("*"), {})
            methods.setdefault(endpoint.method, Claimed(dialect, endpoint.operation))
    longest_first = sorted(prefixes.items(), key=lambda item: -len(item[0]))
    return exact, tuple(longest_first)


def _cards(settings: Settings, backends: Mapping[str, Backend]) -> tuple[ModelCard, ...]:
    cards = {
        alias: ModelCard(alias, "sluice")
        for alias, targets in settings.models.items()
        if any(t.provider in backends for t in targets)
    }
    for name, backend in backends.items():
        for model in (*backend.provider.models, backend.provider.model):
            if model and not model.endswith("*"):
                cards.setdefault(model, ModelCard(model, name))
    return tuple(cards.values())

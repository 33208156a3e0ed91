"""One configuration, compiled: all work that can be done before a request comes.

`compile_snapshot` takes settings and the registry of what this build contains,
and gives a `Snapshot` that an exchange pins for its whole life. Never changes
once made; a reload makes another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from graphlib import TopologicalSorter

from extproc.config.models import capabilities
from extproc.config.schema import Provider, Settings
from extproc.config.shapes import Field
from extproc.flow.identify import Identifier
from extproc.model.call import Caller
from extproc.model.dialect import Dialect, Endpoint, Headers, ModelCard
from extproc.model.errors import GatewayError, MethodNotAllowed, NotFound
from extproc.model.ports import Credential, Ports
from extproc.model.stage import OnWish, Stage
from extproc.model.value import value
from extproc.routing.atlas import Atlas, compile_atlas
from extproc.routing.backend import Backend, compile_backend

ERROR_DIALECT = "openai_chat"
"""the language of errors on paths that no dialect claims"""


@value
class Registry:
    """What this build contains: dialects, stages, their blocks' language, and ways to sign."""

    dialects: Mapping[str, Dialect]
    stages: Mapping[str, type[Stage]]
    blocks: Mapping[str, Field]
    credential: Callable[[Provider], Credential]


@value
class Claimed:
    """The dialect that answers a path, and what it answers there."""

    dialect: Dialect
    endpoint: Endpoint


@value
class Paths:
    """Who answers which path, by method: exact ones, and prefixes, the longest first."""

    exact: Mapping[str, Mapping[str, Claimed]]
    prefixes: tuple[tuple[str, Mapping[str, Claimed]], ...]

    def find(self, path: str) -> Mapping[str, Claimed] | None:
        if found := self.exact.get(path):
            return found
        for prefix, methods in self.prefixes:
            if path.startswith(prefix):
                return methods
        return None


@value
class Snapshot:
    settings: Settings
    identifier: Identifier
    dialects: Mapping[str, Dialect]
    atlas: Atlas
    stages: tuple[Callable[[], Stage], ...]
    standing: tuple[Callable[[], Stage], ...]
    """the stages of exchanges whose client wishes nothing of the gateway"""
    cards: tuple[ModelCard, ...]
    paths: Paths = field(repr=False)
    special: tuple[tuple[str, Paths], ...] = field(repr=False)
    """paths of languages that are told apart by a header, before all others"""

    @property
    def error_dialect(self) -> Dialect:
        return self.dialects[ERROR_DIALECT]

    def claim(self, method: str, path: str, headers: Headers) -> Claimed | GatewayError:
        """Who answers this path, or the error that says why nobody does."""
        methods = self._methods(path, headers)
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

    def speaker(self, path: str, headers: Headers) -> Dialect:
        """The dialect in which to answer errors on this path."""
        methods = self._methods(path, headers)
        if not methods:
            return self.error_dialect
        return next(iter(methods.values())).dialect

    def _methods(self, path: str, headers: Headers) -> Mapping[str, Claimed] | None:
        shared = self.paths.find(path)
        for header, tables in self.special:
            if header in headers and (own := tables.find(path)):
                # Its own come first, also as the dialect of errors; other methods stay what they are.
                return {**own, **(shared or {}), **own}
        return shared

    def models_for(self, caller: Caller) -> Sequence[ModelCard]:
        return [card for card in self.cards if caller.may_use(card.id)]


def compile_snapshot(
    settings: Settings, registry: Registry, secret: bytes, ports: Ports
) -> Snapshot:
    """`secret` is random and the same for all workers of a gateway, or not: it never leaves."""
    backends: dict[str, Backend] = {}
    unavailable: dict[str, str] = {}
    for name, provider in settings.providers.items():
        spoken = {
            d: registry.dialects[d]
            for d in (provider.dialect, *provider.also)
            if d in registry.dialects and registry.dialects[d].speaks_to_providers
        }
        if provider.unavailable:
            unavailable[name] = provider.unavailable
        elif provider.dialect not in spoken:
            unavailable[name] = f"dialect {provider.dialect} is not built in yet"
        else:
            backends[name] = compile_backend(provider, spoken, registry.credential)
    error_dialect = registry.dialects[ERROR_DIALECT]
    atlas = compile_atlas(settings, backends, unavailable, registry.dialects, error_dialect)
    stages = _stages(settings, registry, ports)
    special = sorted({e.header for d in registry.dialects.values() for e in d.endpoints} - {""})
    return Snapshot(
        settings=settings,
        identifier=Identifier(settings.keys, secret),
        dialects=registry.dialects,
        atlas=atlas,
        stages=tuple(s.make if isinstance(s, OnWish) else s for s in stages),
        standing=tuple(s for s in stages if not isinstance(s, OnWish)),
        cards=_cards(settings, atlas.backends),
        paths=_paths(registry.dialects.values(), ""),
        special=tuple((h, _paths(registry.dialects.values(), h)) for h in special),
    )


def _stages(
    settings: Settings, registry: Registry, ports: Ports
) -> Sequence[Callable[[], Stage] | OnWish]:
    """The active stages, inwards: each behind those that it names in AFTER."""
    defaults = {n: s.DEFAULT for n, s in registry.stages.items() if s.DEFAULT is not None}
    blocks = {**defaults, **settings.blocks}
    active = sorted(name for name in registry.stages if name in blocks)
    order = TopologicalSorter(
        {n: [a for a in registry.stages[n].AFTER if a in active] for n in active}
    )
    found: list[Callable[[], Stage] | OnWish] = []
    for name in order.static_order():
        stage = registry.stages[name]
        made = stage.prepare(blocks[name], ports)
        if isinstance(made, OnWish) and stage.READS_REQUESTS:
            made = made.make  # a policy that must see requests is not the client's to leave out
        if made is not None:
            found.append(made)
    return found


def _paths(dialects: Iterable[Dialect], header: str) -> Paths:
    exact: dict[str, dict[str, Claimed]] = {}
    prefixes: dict[str, dict[str, Claimed]] = {}
    for dialect in dialects:
        for endpoint in dialect.endpoints:
            if endpoint.header != header:
                continue
            wild = endpoint.path.endswith("*")
            table = prefixes if wild else exact
            methods = table.setdefault(endpoint.path.removesuffix("*"), {})
            methods.setdefault(endpoint.method, Claimed(dialect, endpoint))
    longest_first = sorted(prefixes.items(), key=lambda item: -len(item[0]))
    return Paths(exact, tuple(longest_first))


def _cards(settings: Settings, backends: Mapping[str, Backend]) -> tuple[ModelCard, ...]:
    cards: dict[str, ModelCard] = {}
    for alias, model in settings.models.items():
        first = next((t for t in model.targets if t.provider in backends), None)
        if first is not None and not alias.endswith("*"):
            known = capabilities(backends[first.provider].provider, first.model)
            cards[alias] = ModelCard(alias, "sluice", capabilities=known)
    for name, backend in backends.items():
        for model in (*backend.provider.models, backend.provider.model):
            if model and not model.endswith("*"):
                known = capabilities(backend.provider, model)
                cards.setdefault(model, ModelCard(model, name, capabilities=known))
    return tuple(cards.values())

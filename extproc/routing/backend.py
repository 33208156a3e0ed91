"""A provider, ready to use: its languages, its credential, and what never changes of its requests.

One with several regions or keys is a backend for each: keys differ in the credential alone,
regions in the way there too.
Compiled once for each configuration. Gives `Target`s; asks nobody and waits for
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from urllib.parse import urlsplit

from extproc.config.catalogue import languages
from extproc.config.models import USUAL_EMBEDDERS, capabilities, default_model
from extproc.config.names import provider_cluster
from extproc.config.prices import price
from extproc.config.schema import Provider, TargetRef, Window, addressed
from extproc.model.call import Failure, OnLossy, Target, apart
from extproc.model.dialect import Dialect
from extproc.model.ports import Credential
from extproc.model.value import value

_SECONDS_TO_MS = 1000
_EXACT = 1 << 16
_MOST_TARGETS = 4096
"""targets kept for a provider: a client may name any model where `*` is served"""


@value
class Backend:
    """`dialects` are the languages it speaks, its own first. `fixed` are headers that never change.

    `name` is what targets call it, a provider or one of its regions (`provider@region`). Of one with
    several regions or keys this is the first, and `others` has the rest; `region_name` and
    `key_name` say which one it is, and `weight` is its share beside the others.
    """

    provider: Provider
    dialects: Mapping[str, Dialect]
    credential: Credential
    cluster: str
    authority: str
    base_path: str
    fixed: tuple[tuple[str, str], ...]
    name: str = ""
    region_name: str = ""
    key_name: str = ""
    weight: float = 1.0
    others: tuple[Backend, ...] = ()
    _targets: dict[tuple[str, str], Target] = field(
        default_factory=dict[tuple[str, str], Target], repr=False, compare=False
    )

    @property
    def each(self) -> tuple[Backend, ...]:
        """This one, and those with the provider's other regions and keys."""
        return (self, *self.others)

    @property
    def apart(self) -> str:
        """What tells it from the others; empty where there are none, but of a region's only one."""
        return apart(self.region_name, self.key_name)

    @property
    def regions(self) -> Mapping[str, Backend]:
        """Each of several regions for itself, by `name`."""
        by_name: dict[str, list[Backend]] = {}
        for one in self.each:
            if one.region_name:
                name = addressed(one.provider.name, one.region_name)
                by_name.setdefault(name, []).append(one)
        return {
            name: replace(first, name=name, others=tuple(others))
            for name, (first, *others) in by_name.items()
        }

    def fit(self, model: str) -> int:
        """How exactly the provider's names say that it serves a model: 0 = it does not."""
        return max((_fit(pattern, model) for pattern in self.provider.models), default=0)

    def default_model(self, *, embeds: bool) -> str | None:
        """What it answers with, or makes vectors with, when no model is named."""
        return default_model(self.provider, embeds=embeds)

    @property
    def usual_embedder(self) -> str | None:
        """A well-known model that its patterns take in."""
        usual = USUAL_EMBEDDERS.get(self.provider.dialect, ())
        return next((model for model in usual if self.fit(model)), None)

    def embeds(self, model: str) -> bool:
        """Whether the model is known to make vectors."""
        return capabilities(self.provider, model).embedding is True

    def dialect(self, client: str, model: str) -> Dialect:
        """In which language to ask for a model: the client's if it can be, so that bytes pass untouched."""
        fitting = languages(self.provider.variant, tuple(self.dialects), model)
        return self.dialects[client if client in fitting else fitting[0]]

    def target(self, model: str, dialect: str) -> Target:
        known = self._targets.get((model, dialect))
        if known is not None:
            return known
        provider = self.provider
        details = (
            ("api_version", provider.api_version),
            ("project", provider.project),
            ("region", provider.region),
        )
        made = Target(
            provider=provider.name,
            model=model,
            dialect=dialect,
            cluster=self.cluster,
            authority=self.authority,
            base_path=self.base_path,
            timeout=provider.timeout,
            variant=provider.variant,
            details=tuple((name, value) for name, value in details if value),
            capabilities=capabilities(provider, model),
            on_lossy=OnLossy(provider.on_lossy),
            key_name=self.key_name,
            region_name=self.region_name,
            price=price(provider, model),
        )
        if len(self._targets) < _MOST_TARGETS:
            self._targets[model, dialect] = made
        return made


@value
class Planned:
    """`dialect` is the language in which the provider is asked; `ref` is the configuration's word
    about the target, None where it was found by a model's own name."""

    backend: Backend
    dialect: Dialect
    target: Target
    ref: TargetRef | None = None

    @property
    def key(self) -> str:
        """What health, cooldowns and statistics are kept by."""
        return self.target.key


@value
class Plan:
    """`name` is the model as configured: bounded in number, so fit for a metric's label.

    `targets` are in the order of attempts; the same one twice is a retry. `pauses` are the
    seconds before each. `triggers` are the failures after which the next one is asked.
    `deadline` is in seconds from the exchange's beginning to the reply's first byte.
    `why` holds reason codes; `label` is the arm of an A/B split.
    `shadow` gets a copy of `shadow_percent` of the calls: `decide.copied` draws whose.
    """

    name: str
    targets: tuple[Planned, ...]
    pauses: tuple[float, ...] = ()
    triggers: frozenset[Failure] = frozenset()
    window: Window | None = None
    deadline: float | None = None
    why: tuple[str, ...] = ()
    label: str = ""
    shadow: Planned | None = None
    shadow_percent: float = 0.0

    @property
    def plain(self) -> bool:
        """One attempt that nobody needs to watch: its bytes go to the provider directly."""
        return len(self.targets) == 1 and self.window is None and self.deadline is None


def compile_backend(
    provider: Provider, dialects: Mapping[str, Dialect], sign: Callable[[Provider], Credential]
) -> Backend:
    """`dialects` are those that it speaks, by name, its own among them. `sign` makes the credential
    of a provider that has one region and one key."""
    shares = {one.name: one.weight for one in provider.regions}
    first, *others = [
        replace(
            _compiled(alone, dialects, sign(alone)),
            name=provider.name,
            region_name=region.region_name,
            key_name=key_name,
            weight=shares.get(region.region_name, 1.0) * weight,
        )
        for region in provider.by_region()
        for key_name, weight, alone in _by_key(region)
    ]
    return replace(first, others=tuple(others))


def _by_key(region: Provider) -> list[tuple[str, float, Provider]]:
    """It once for each key, with the key's name and its share of what goes to the region."""
    if not region.api_keys:
        return [("", 1.0, region)]
    # A region with more keys gets no more than its share; without regions, weights stay as written.
    whole = sum(key.weight for key in region.api_keys) if region.region_name else 1.0
    return [(key.name, key.weight / whole, alone) for key, alone in region.by_key()]


def _compiled(
    provider: Provider, dialects: Mapping[str, Dialect], credential: Credential
) -> Backend:
    url = urlsplit(provider.endpoint)
    timeout = str(int(provider.timeout * _SECONDS_TO_MS))
    return Backend(
        provider=provider,
        dialects=dialects,
        credential=credential,
        cluster=provider_cluster(provider.full_name, provider.revision),
        authority=url.netloc,
        base_path=url.path.rstrip("/"),
        fixed=(
            (":authority", url.netloc),
            ("accept-encoding", "identity"),
            ("user-agent", "sluice"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", timeout),
            *((name, value.reveal()) for name, value in provider.headers.items()),
        ),
    )


def _fit(pattern: str, model: str) -> int:
    """A name fits best, then the longest prefix (a pattern that ends in `*`)."""
    if pattern == model:
        return _EXACT
    if pattern.endswith("*") and model.startswith(pattern[:-1]):
        return len(pattern)
    return 0

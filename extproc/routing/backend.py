"""A provider, ready to use: its languages, its credential, and what never changes of its requests.

One with several keys is a backend for each, which differ in the credential alone.
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
from extproc.config.schema import Provider, TargetRef, Window
from extproc.model.call import Failure, OnLossy, Target
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

    Of a provider with several keys this is the first one, and `others` has the rest; `key_name` and
    `weight` are the key's.
    """

    provider: Provider
    dialects: Mapping[str, Dialect]
    credential: Credential
    cluster: str
    authority: str
    base_path: str
    fixed: tuple[tuple[str, str], ...]
    key_name: str = ""
    weight: float = 1.0
    others: tuple[Backend, ...] = ()
    _targets: dict[tuple[str, str], Target] = field(
        default_factory=dict[tuple[str, str], Target], repr=False, compare=False
    )

    @property
    def each(self) -> tuple[Backend, ...]:
        """This one, and those with the provider's other keys."""
        return (self, *self.others)

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
    of a provider that has one key."""
    if not provider.api_keys:
        return _compiled(provider, dialects, sign(provider))
    first, *others = [
        replace(_compiled(one, dialects, sign(one)), key_name=key.name, weight=key.weight)
        for key, one in provider.by_key()
    ]
    return replace(first, others=tuple(others))


def _compiled(
    provider: Provider, dialects: Mapping[str, Dialect], credential: Credential
) -> Backend:
    url = urlsplit(provider.endpoint)
    timeout = str(int(provider.timeout * _SECONDS_TO_MS))
    return Backend(
        provider=provider,
        dialects=dialects,
        credential=credential,
        cluster=provider_cluster(provider.name, provider.revision),
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

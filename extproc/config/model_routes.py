"""What the blocks of `models:` and `routing:` mean, and what one key of them alone cannot tell.

Takes checked values, gives `ModelRoute`s and `Routing`; notes errors and warnings
in `Findings`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from msgspec import UNSET, Struct, UnsetType, structs

from extproc.config.errors import listed, nearest
from extproc.config.findings import Findings, KeyPath, spell
from extproc.config.prices import price
from extproc.config.schema import (
    Breaker,
    DrawBy,
    ModelRoute,
    Provider,
    Retry,
    RetryBudget,
    Routing,
    Scalar,
    Shadow,
    Strategy,
    TargetRef,
    Unpriced,
    Window,
)
from extproc.model.call import Failure

_DRAWN = (Strategy.WEIGHTED, Strategy.STICKY, Strategy.ORDER)
"""strategies that look at weights"""


class TargetDraft(Struct, frozen=True, kw_only=True):
    provider: str = ""
    model: str = ""
    weight: float = 1.0
    label: str = ""
    when: str = ""
    set: dict[str, Scalar] = {}
    default: dict[str, Scalar] = {}
    cap: dict[str, int | float] = {}


class ShadowDraft(Struct, frozen=True, kw_only=True):
    provider: str = ""
    model: str = ""
    percent: float = 100.0


class RetryDraft(Struct, frozen=True, kw_only=True):
    attempts: int | UnsetType = UNSET
    on: tuple[Failure, ...] | UnsetType = UNSET
    same: int | UnsetType = UNSET
    base: float | UnsetType = UNSET
    longest: float | UnsetType = UNSET


Group: TypeAlias = tuple[str | TargetDraft, ...]


class RouteDraft(Struct, frozen=True, kw_only=True):
    strategy: Strategy = Strategy.ORDER
    by: DrawBy = DrawBy.CALL
    groups: tuple[Group, ...] = ()
    targets: Group = ()
    window: Window | None = None
    retry: int | RetryDraft | None = None
    deadline: float | None = None
    shadow: str | ShadowDraft | None = None


class RoutingDraft(Struct, frozen=True, kw_only=True):
    retry: int | RetryDraft | None = None
    budget: RetryBudget = RetryBudget()
    breaker: Breaker = Breaker()
    deadline: float | None = None
    longest_cooldown: float = Routing().longest_cooldown
    unpriced: Unpriced = Unpriced.LAST


ModelDraft: TypeAlias = str | Group | RouteDraft
Placed: TypeAlias = tuple[KeyPath, TargetRef]
"""a target, and where the file has it"""


def routing(draft: RoutingDraft, found: Findings) -> Routing:
    return Routing(
        retry=_retry(("routing", "retry"), draft.retry, Retry(), found) or Retry(),
        budget=draft.budget,
        breaker=draft.breaker,
        deadline=draft.deadline,
        longest_cooldown=draft.longest_cooldown,
        unpriced=draft.unpriced,
    )


def models(
    drafts: Mapping[str, ModelDraft],
    routing: Routing,
    providers: Mapping[str, Provider],
    found: Findings,
) -> dict[str, ModelRoute]:
    """The routes, each target checked. What a `retry:` leaves out is `routing.retry`'s."""
    return {name: _route(name, draft, routing, providers, found) for name, draft in drafts.items()}


def _route(
    name: str,
    draft: ModelDraft,
    routing: Routing,
    providers: Mapping[str, Provider],
    found: Findings,
) -> ModelRoute:
    path = ("models", name)
    block = draft if isinstance(draft, RouteDraft) else RouteDraft()
    groups = [(at, list(group)) for at, group in _groups(path, draft, found)]
    shadow = None
    places = [place for _, group in groups for place in group]
    if block.shadow is not None:
        at = (*path, "shadow")
        ref = _target(block.shadow)
        places.append((at, ref))
        percent = 100.0 if isinstance(block.shadow, str) else block.shadow.percent
        shadow = Shadow(provider=ref.provider, model=ref.model, percent=percent)
    for at, target in places:
        _provider(at, target.provider, providers, found)
        _wildcard(at, name, target, found)
        _parameters(at, target, found)
    for at, group in groups:
        _weights(at, [target for _, target in group], found)
        _duplicates(group, found)
    _labels(places, found)
    _unused(path, block.strategy, places, found)
    if block.strategy is Strategy.LEAST_COST:
        targets = [place for _, group in groups for place in group]
        _unpriced(path, routing.unpriced, targets, providers, found)
    return ModelRoute(
        groups=tuple(tuple(target for _, target in group) for _, group in groups),
        strategy=block.strategy,
        by=block.by,
        window=block.window,
        retry=_retry((*path, "retry"), block.retry, routing.retry, found),
        deadline=block.deadline,
        shadow=shadow,
    )


def _groups(
    path: KeyPath, draft: ModelDraft, found: Findings
) -> Iterator[tuple[KeyPath, list[Placed]]]:
    """The groups, each with its place and its targets."""
    match draft:
        case str():
            yield path, [(path, _target(draft))]
        case RouteDraft():
            for at, group in found.items((*path, "groups"), draft.groups):
                yield at, _placed(at, group, found)
            if draft.targets:
                at = (*path, "targets")
                yield at, _placed(at, draft.targets, found)
        case _:
            for at, target in _placed(path, draft, found):
                yield at, [(at, target)]


def _placed(path: KeyPath, group: Group, found: Findings) -> list[Placed]:
    return [(at, _target(one)) for at, one in found.items(path, group)]


def _target(draft: str | TargetDraft | ShadowDraft) -> TargetRef:
    match draft:
        case str():
            provider, _, model = draft.partition("/")
            return TargetRef(provider=provider, model=model)
        case ShadowDraft():
            return TargetRef(provider=draft.provider, model=draft.model)
        case TargetDraft():
            return TargetRef(**structs.asdict(draft))


def _provider(path: KeyPath, name: str, providers: Mapping[str, Provider], found: Findings) -> None:
    if not name or name in providers:
        return
    at = (*path, "provider") if found.has(*path, "provider") else path
    what = "the unknown provider" if at != path else "an unknown provider in"
    message = f"found {what} {found.shown(at)}, expected "
    message += listed(providers) if providers else "one of `providers`, which has none"
    if name in found.left_out:
        hint = "ALL_PROVIDERS leaves it out"
    elif found.has("models", name):
        hint = "other names of `models` are not followed"
    else:
        hint = nearest(name, providers)
    found.at(at, message, hint)


def _wildcard(path: KeyPath, name: str, target: TargetRef, found: Findings) -> None:
    if target.model == "*" and not name.endswith("*"):
        message = "found the model `*` under a name without one, expected a model's name"
        found.at((*path, "model") if found.has(*path, "model") else path, message)


def _parameters(path: KeyPath, target: TargetRef, found: Findings) -> None:
    for key in ("default", "cap"):
        for name in getattr(target, key):
            if name in target.set:
                message = "not used: `set:` has it too, and counts for every request"
                found.warn((*path, key, name), message)
    for name, most in target.cap.items():
        for key, values in (("set", target.set), ("default", target.default)):
            value = values.get(name)
            if isinstance(value, int | float) and value > most:
                message = f"found {name} of {value:g} above its cap of {most:g}"
                found.at((*path, key, name), f"{message}, expected at most the cap")


def _weights(path: KeyPath, group: list[TargetRef], found: Findings) -> None:
    if group and not any(target.weight for target in group):
        found.at(path, "found no weight above 0, expected one at least in each group")


def _duplicates(group: list[Placed], found: Findings) -> None:
    """Targets that differ in nothing but their share are one target, written twice."""
    seen: list[TargetRef] = []
    for path, target in group:
        same = structs.replace(target, weight=1.0)
        if same in seen:
            message = f"{target.provider}/{target.model} is in this group a second time"
            found.warn(path, message)
        seen.append(same)


def _labels(targets: list[Placed], found: Findings) -> None:
    first: dict[str, str] = {}
    for path, target in targets:
        at = (*path, "label")
        if target.label and target.label in first:
            message = (
                f"found the label {found.shown(at)} a second time, expected labels that differ"
            )
            found.at(at, f"{message}; the first is {first[target.label]}")
        elif target.label:
            first[target.label] = spell(path)


def _unused(path: KeyPath, strategy: Strategy, targets: list[Placed], found: Findings) -> None:
    weights = [(*at, "weight") for at, one in targets if one.weight and found.has(*at, "weight")]
    if weights and strategy not in _DRAWN:
        message = f"not used: strategy {strategy} looks at no weights; {listed(_DRAWN)} does"
        found.warn(weights[0], message)
    if found.has(*path, "by") and strategy is Strategy.ORDER and not weights:
        found.warn((*path, "by"), f"not used: strategy {strategy} draws nothing without weights")


def _unpriced(
    path: KeyPath,
    policy: Unpriced,
    targets: list[Placed],
    providers: Mapping[str, Provider],
    found: Findings,
) -> None:
    """Of a target `*` nobody knows yet which model it will be."""
    unknown = [
        (at, one)
        for at, one in targets
        if one.provider in providers
        and one.model != "*"
        and price(providers[one.provider], one.model) is None
    ]
    if policy is Unpriced.NEVER and targets and len(unknown) == len(targets):
        message = "found no target whose price is known, expected one at least where "
        found.at(path, f"{message}routing.unpriced is never")
        return
    when = "last" if policy is Unpriced.LAST else "never"
    for at, one in unknown:
        message = f"{one.provider}/{one.model} has no known price, so least_cost asks it {when}"
        found.warn(at, f"{message}; its provider's `prices:` may say one")


def _retry(
    path: KeyPath, draft: int | RetryDraft | None, otherwise: Retry, found: Findings
) -> Retry | None:
    """`otherwise` with what the draft says of its own."""
    match draft:
        case None:
            return None
        case int():
            return structs.replace(otherwise, attempts=draft)
        case RetryDraft():
            said = {key: one for key, one in structs.asdict(draft).items() if one is not UNSET}
            retry = structs.replace(otherwise, **said)
            key = next((key for key in ("base", "longest") if key in said), None)
            if key is not None and retry.base > retry.longest:
                message = f"found base of {retry.base:g} s above longest of {retry.longest:g} s"
                found.at((*path, key), f"{message}, expected at most longest")
            return retry

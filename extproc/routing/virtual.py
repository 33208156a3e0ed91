"""A model of the configuration, compiled once: its conditions, its bounds, and what its targets lack.

`compile_models` makes a `Virtual` of each `ModelRoute`; `bind` makes a `Choice` of it for
one language of clients and one name that was asked for. Neither looks at a request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from hashlib import blake2b

from extproc.config.conditions import Condition
from extproc.config.schema import (
    DrawBy,
    ModelRoute,
    Retry,
    Routing,
    Strategy,
    TargetRef,
    Unpriced,
)
from extproc.model.call import Capabilities, Failure
from extproc.model.fields import Field
from extproc.model.value import value
from extproc.routing.backend import Backend, Planned
from extproc.routing.reasons import Why

TOOLS, VISION, SCHEMA = 1, 2, 4
"""bits of what a request may need and a target may be known to lack"""
UNBOUNDED = 1 << 62
"""tokens, where no bound is known"""
_WEIGHED = (Strategy.WEIGHTED, Strategy.STICKY)
_MEASURED = (Strategy.LEAST_LATENCY, Strategy.MOST_THROUGHPUT, Strategy.LEAST_BUSY)
"""strategies that go by how each target does: to them, each region and key of a provider is one more"""


@value
class Virtual:
    """`name` ends in `*` if it is a beginning of names. `conditions` are by a target's place in
    `route.targets`. `most` is how many different targets can be asked at all. `configured`: `models` has it."""

    name: str
    route: ModelRoute
    retry: Retry
    triggers: frozenset[Failure]
    deadline: float | None
    by: DrawBy
    conditions: tuple[Condition | None, ...]
    most: int
    configured: bool
    unpriced: Unpriced = Unpriced.LAST

    @property
    def beginning(self) -> str:
        """What a name must begin with, and go on."""
        return self.name.removesuffix("*")


@value
class Option:
    """A target that can be asked, in one region and with one key of its provider. `place` is its place in the route;
    `how` the code of what drew it, if it comes first.

    `lacks` are bits; `context` and `output` are in tokens. `bounded`: its settings change how much
    may be written.
    """

    planned: Planned
    ref: TargetRef
    key: str
    place: int
    how: str
    condition: Condition | None
    lacks: int
    context: int
    output: int
    bounded: bool


@value
class Dead:
    """A target that cannot be asked, whatever the request."""

    ref: TargetRef
    place: int
    why: Why
    reason: str


@value
class Group:
    """`strategy` is in force: a list in order whose targets say weights is drawn by them.

    `draws` has for each option the angle that its share of a draw comes from, and its patience:
    the reciprocal of its weight. `even`: all weights are equal. `keys` has the same of the key of
    each, for the draw among those that are one target to the strategy; empty where none are.
    `regions` has the region of each, where one of several has several keys.
    """

    strategy: Strategy
    options: tuple[Option, ...]
    draws: tuple[tuple[float, float], ...]
    even: bool
    keys: tuple[tuple[float, float], ...] = ()
    regions: tuple[str, ...] = ()


@value
class Choice:
    """`found` says how the name led here. `lacking` are the bits that any option lacks, and
    `context` is the shortest that any has. `bounded`, if one is; `several`, if there are more than one."""

    virtual: Virtual
    found: Why
    groups: tuple[Group, ...]
    dead: tuple[Dead, ...]
    shadow: Planned | None = None
    lacking: int = 0
    context: int = UNBOUNDED
    bounded: bool = False
    several: bool = False

    @property
    def options(self) -> Iterator[Option]:
        return (option for group in self.groups for option in group.options)


@value
class Models:
    """`wild` has the longest beginnings first, and at its end, if there is one, `*`."""

    exact: Mapping[str, Virtual] = field(default_factory=dict[str, Virtual])
    wild: tuple[Virtual, ...] = ()
    rest: Virtual | None = None
    """`*`: asked for names that nothing else knows"""

    def find(self, name: str) -> tuple[Virtual, Why] | None:
        """The model of this name, or with the longest beginning of it; not `*`."""
        if found := self.exact.get(name):
            return found, Why.ALIAS
        for one in self.wild:
            if name.startswith(one.beginning) and len(name) >= len(one.name):
                return one, Why.WILDCARD
        return None


def compile_models(models: Mapping[str, ModelRoute], routing: Routing) -> Models:
    """Raises `ValueError` for a condition that the configuration's check would have refused."""
    made = {name: compile_model(name, route, routing) for name, route in models.items()}
    wild = [one for name, one in made.items() if name.endswith("*") and name != "*"]
    return Models(
        exact={name: one for name, one in made.items() if not name.endswith("*")},
        wild=tuple(sorted(wild, key=lambda one: -len(one.name))),
        rest=made.get("*"),
    )


def compile_model(
    name: str, route: ModelRoute, routing: Routing, *, configured: bool = True
) -> Virtual:
    retry = route.retry or routing.retry
    return Virtual(
        name=name,
        route=route,
        retry=retry,
        triggers=frozenset(retry.on),
        deadline=route.deadline if route.deadline is not None else routing.deadline,
        by=DrawBy.SESSION
        if route.strategy is Strategy.STICKY and route.by is DrawBy.CALL
        else route.by,
        conditions=tuple(
            Condition.compile(ref.when) if ref.when else None for ref in route.targets
        ),
        most=-(-retry.attempts // (1 + retry.same)),
        configured=configured,
        unpriced=routing.unpriced,
    )


@value
class Client:
    """Who may be asked, and in which words it was asked for: a client's `language`, and the `model`
    that it named. `untranslated`: only providers of that very language can be asked."""

    backends: Mapping[str, Backend]
    unavailable: Mapping[str, str]
    language: str
    model: str
    untranslated: bool = False


def bind(virtual: Virtual, found: Why, client: Client) -> Choice:
    """Its targets for such clients. `groups` is empty if none can be asked at all."""
    dead: list[Dead] = []
    groups: list[Group] = []
    place = 0
    for refs in virtual.route.groups:
        strategy = _strategy(virtual, refs)
        options: list[Option] = []
        draws: list[tuple[float, float]] = []
        keys: list[tuple[float, float]] = []
        keyed = False
        for ref, identity in zip(refs, _identities(refs), strict=True):
            asked = _options(virtual, strategy, ref, place, client)
            place += 1
            if isinstance(asked, Dead):
                dead.append(asked)
                continue
            options += asked
            keyed = keyed or (len(asked) > 1 and strategy not in _MEASURED)
            patience = 1 / ref.weight if ref.weight else 1.0
            for option in asked:
                backend = option.planned.backend
                own = f"{identity}\0{backend.apart}" if backend.apart else identity
                draws.append((_angle(own if strategy in _MEASURED else identity), patience))
                keys.append((_angle(own), 1 / backend.weight))
        if options:
            even = len({patience for _, patience in draws}) == 1
            drawn = tuple(keys) if keyed else ()
            regions = _regions(options) if keyed else ()
            groups.append(Group(strategy, tuple(options), tuple(draws), even, drawn, regions))
    return _choice(virtual, found, groups, dead, _shadow(virtual, client))


def _regions(options: list[Option]) -> tuple[str, ...]:
    """The region of each, where it matters: where some share one."""
    targets = [option.planned.target for option in options]
    nested = any(one.region_name and one.key_name for one in targets)
    return tuple([one.region_name for one in targets]) if nested else ()


def single(backend: Backend, model: str, name: str, routing: Routing) -> Virtual:
    """A model that no configuration names: the one target that serves it."""
    ref = TargetRef(provider=backend.name, model=model)
    return compile_model(name, ModelRoute(groups=((ref,),)), routing, configured=False)


def _choice(
    virtual: Virtual, found: Why, groups: list[Group], dead: list[Dead], shadow: Planned | None
) -> Choice:
    options = [option for group in groups for option in group.options]
    lacking = 0
    for option in options:
        lacking |= option.lacks
    if all(option.lacks & SCHEMA for option in options):
        # Where none has it, each does it as well as its language can: nobody is better.
        lacking &= ~SCHEMA
    return Choice(
        virtual=virtual,
        found=found,
        groups=tuple(groups),
        dead=tuple(dead),
        shadow=shadow,
        lacking=lacking,
        context=min((option.context for option in options), default=UNBOUNDED),
        bounded=any(option.bounded for option in options),
        several=len(options) > 1,
    )


def _strategy(virtual: Virtual, refs: tuple[TargetRef, ...]) -> Strategy:
    strategy = virtual.route.strategy
    weighed = any(ref.weight != 1.0 for ref in refs)
    return Strategy.WEIGHTED if strategy is Strategy.ORDER and weighed else strategy


def _options(
    virtual: Virtual, strategy: Strategy, ref: TargetRef, place: int, client: Client
) -> Sequence[Option] | Dead:
    """The target, once for each region and key of its provider."""
    backend = client.backends.get(ref.provider)
    if backend is None:
        reason = client.unavailable.get(ref.provider, "it is not configured")
        return Dead(ref, place, Why.STRUCK_PROVIDER, reason)
    if not ref.weight and strategy in _WEIGHED:
        return Dead(ref, place, Why.STRUCK_WEIGHT, "its weight is 0")
    model = _model(virtual, ref.model, client)
    if client.untranslated and backend.dialect(client.language, model).name != client.language:
        reason = f"it does not speak {client.language}"
        return Dead(ref, place, Why.STRUCK_LANGUAGE, reason)
    how = Strategy.WEIGHTED if backend.others and strategy is Strategy.ORDER else strategy
    labelled = ref.label and strategy is Strategy.WEIGHTED
    code = f"{how}:{ref.label}" if labelled else how.value
    said = ref if virtual.configured else None
    planned = [_planned(one, client.language, model, said) for one in backend.each]
    never = strategy is Strategy.LEAST_COST and virtual.unpriced is Unpriced.NEVER
    if never and planned[0].target.price is None:
        return Dead(ref, place, Why.STRUCK_PRICE, f"no price of {model} is known")
    return [_option(one, ref, place, code, virtual.conditions[place]) for one in planned]


def _option(
    planned: Planned, ref: TargetRef, place: int, how: str, condition: Condition | None
) -> Option:
    can = planned.target.capabilities
    return Option(
        planned=planned,
        ref=ref,
        key=planned.key,
        place=place,
        how=how,
        condition=condition,
        lacks=_lacks(can),
        context=can.context or UNBOUNDED,
        output=can.max_output or UNBOUNDED,
        bounded=any(Field.MAX_TOKENS.value in said for said in (ref.set, ref.default, ref.cap)),
    )


def _model(virtual: Virtual, model: str, client: Client) -> str:
    """`*` is what the name's own `*` stood for; a name that nobody configured has no such thing."""
    wild = model == "*" and virtual.configured
    return client.model[len(virtual.beginning) :] if wild else model


def _planned(backend: Backend, language: str, model: str, ref: TargetRef | None) -> Planned:
    dialect = backend.dialect(language, model)
    return Planned(backend, dialect, backend.target(model, dialect.name), ref)


def _lacks(can: Capabilities) -> int:
    bits = ((TOOLS, can.tools), (VISION, can.vision), (SCHEMA, can.json_schema))
    return sum(bit for bit, has in bits if has is False)


def _shadow(virtual: Virtual, client: Client) -> Planned | None:
    shadow = virtual.route.shadow
    backend = None if shadow is None else client.backends.get(shadow.provider)
    if shadow is None or backend is None:
        return None
    return _planned(backend, client.language, _model(virtual, shadow.model, client), None)


def _identities(refs: tuple[TargetRef, ...]) -> Iterator[str]:
    """What a target is in a draw: its label, so that who got an arm keeps it when its model changes."""
    seen: Counter[str] = Counter()
    for ref in refs:
        name = ref.label or f"{ref.provider}/{ref.model}"
        yield f"{name}\0{seen[name]}" if seen[name] else name
        seen[name] += 1


def _angle(identity: str) -> float:
    """Between 0 and 1, with all the digits that a float has."""
    digest = blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return (int.from_bytes(digest) >> 3 | 1) / 2.0**53

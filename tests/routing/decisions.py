"""Decisions of chance, held against the rules: configurations, health and requests from a seed.

The rules are written here a second time, the slow way, from what the configuration says. A walk
asks the targets of each plan in turn, some of which fail, so that health changes as it would.

    python -m tests.routing.decisions --count 10000     plays many; --seed N plays one again
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from extproc.config.schema import (
    ApiKey,
    Breaker,
    DrawBy,
    ModelRoute,
    Provider,
    Region,
    Retry,
    Routing,
    Scalar,
    Secret,
    Settings,
    Shadow,
    Strategy,
    TargetRef,
)
from extproc.model.call import Caller, Capabilities, Failure
from extproc.model.chat import (
    Chat,
    Image,
    Message,
    Output,
    OutputKind,
    Role,
    Sampling,
    Source,
    Text,
    Tool,
)
from extproc.model.errors import (
    ContextTooLong,
    GatewayError,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    Unsupported,
)
from extproc.routing.backend import Plan
from extproc.routing.breaker import State
from extproc.routing.explain import Candidate
from extproc.routing.parameters import fit
from extproc.routing.tokens import estimate_tokens
from extproc.routing.virtual import Virtual, compile_model
from tests.kit import provider, settings
from tests.routing.world import World

NAMES = ("a", "b", "c", "d", "e", "f")
REGIONS = ("eu", "us", "asia")
MODELS = ("m1", "m2", "m3")
CALLS = 12
"""in one case"""
LOOKED_AT = 6
"""options of a group that a strategy which measures compares"""
MEASURED = (Strategy.LEAST_LATENCY, Strategy.MOST_THROUGHPUT, Strategy.LEAST_BUSY)
Option = tuple[int, str]
"""the place of a target in its model, and the way there: what its key begins with"""


@dataclass(frozen=True)
class Request:
    """What the rules look at, said once more beside the request itself."""

    chat: Chat
    caller: Caller
    headers: Mapping[str, str]
    call: str

    @property
    def images(self) -> bool:
        return any(isinstance(part, Image) for m in self.chat.messages for part in m.parts)


CONDITIONS: Mapping[str, Callable[[Request], bool]] = {
    "": lambda r: True,
    "request.tools": lambda r: bool(r.chat.tools),
    "!request.images": lambda r: not r.images,
    "request.tokens > 300": lambda r: estimate_tokens(r.chat) > 300,
    'headers["x-tier"] == "gold"': lambda r: r.headers.get("x-tier") == "gold",
    'caller.name == "alice"': lambda r: r.caller.name == "alice",
    "request.max_output > 100 || request.stream": lambda r: (
        (r.chat.sampling.max_tokens or 0) > 100 or r.chat.stream
    ),
}


def case(seed: int) -> None:
    """Raises AssertionError where a decision breaks a rule."""
    dice = random.Random(seed)
    world = World(configuration(dice))
    for number in range(CALLS):
        request = some_request(dice, f"gw-{seed}-{number}")
        disturb(dice, world)
        check(dice, world, request)
        world.clock.advance(dice.choice((0.0, 0.1, 5.0, 20.0)))


# --- what there is


def configuration(dice: random.Random) -> Settings:
    providers = {name: some_provider(dice, name) for name in NAMES}
    names = [name for one in providers.values() for name in addresses(one)]
    models = {
        name: some_route(dice, names, wild=name.endswith("*")) for name in ("chat", "w/*", "auto")
    }
    routing = Routing(
        retry=some_retry(dice), breaker=Breaker(failures=2), deadline=dice.choice((None, 9.0))
    )
    return settings(providers=providers, models=models, routing=routing)


def some_provider(dice: random.Random, name: str) -> Provider:
    able = {
        model: Capabilities(
            tools=dice.choice((None, True, False)),
            vision=dice.choice((None, True, False)),
            json_schema=dice.choice((None, True, False)),
            max_output=dice.choice((None, 50, 500)),
            context=dice.choice((None, 200, 1000)),
        )
        for model in MODELS
    }
    return provider(
        name,
        models=MODELS,
        capabilities=able,
        cost_per_token=dice.choice((None, 1e-6, 2e-6, 5e-6)),
        unavailable="it lacks a key" if dice.random() < 0.15 else None,
        regions=some_regions(dice) if dice.random() < 0.3 else (),
        api_keys=some_keys(dice) if dice.random() < 0.3 else (),
    )


def some_keys(dice: random.Random) -> tuple[ApiKey, ...]:
    """Two or three."""
    names = ("1", "2", "3")[: dice.choice((2, 3))]
    weights = {name: dice.choice((1.0, 1.0, 4.0)) for name in names}
    return tuple(ApiKey(name=n, key=Secret(f"secret-{n}"), weight=w) for n, w in weights.items())


def some_regions(dice: random.Random) -> tuple[Region, ...]:
    """One to three, of which the first can be used."""
    return tuple(
        Region(
            name=name,
            weight=dice.choice((1.0, 1.0, 4.0)),
            endpoint=f"https://{name}.example",
            api_key=Secret("secret"),
            api_keys=some_keys(dice) if dice.random() < 0.3 else (),
            unavailable="it lacks a key" if name != "eu" and dice.random() < 0.2 else None,
        )
        for name in REGIONS[: dice.choice((1, 2, 3))]
    )


def addresses(provider: Provider) -> list[str]:
    """What a target may call it or one of its regions."""
    return [provider.name, *(f"{provider.name}@{region.name}" for region in provider.regions)]


def some_route(dice: random.Random, names: Sequence[str], *, wild: bool) -> ModelRoute:
    sizes = [dice.choice((1, 1, 2, 3)) for _ in range(dice.choice((1, 2, 3)))]
    groups: list[tuple[TargetRef, ...]] = []
    for size in sizes:
        refs = [some_target(dice, names, wild=wild) for _ in range(size)]
        groups.append((*refs, TargetRef(provider=dice.choice(names), model="m1")))
    return ModelRoute(
        groups=tuple(groups) if dice.random() < 0.9 else (groups[0][:1],),
        strategy=dice.choice(tuple(Strategy)),
        by=dice.choice(tuple(DrawBy)),
        retry=some_retry(dice) if dice.random() < 0.7 else None,
        deadline=dice.choice((None, 3.0)),
        shadow=dice.choice((None, Shadow(provider="a", model="m1", percent=50))),
    )


def some_target(dice: random.Random, names: Sequence[str], *, wild: bool) -> TargetRef:
    said: dict[str, dict[str, Scalar]] = {"set": {}, "default": {}, "cap": {}}
    for block in said:
        if dice.random() < 0.15:
            said[block]["max_tokens"] = dice.choice((40, 90, 400))
    caps = {name: most for name, most in said["cap"].items() if isinstance(most, int)}
    return TargetRef(
        provider=dice.choice(names),
        model="*" if wild and dice.random() < 0.5 else dice.choice(MODELS),
        weight=dice.choice((1.0, 1.0, 1.0, 0.0, 3.0)),
        when=dice.choice((*CONDITIONS, "", "", "", "")),
        set=said["set"],
        default=said["default"],
        cap=caps,
    )


def some_retry(dice: random.Random) -> Retry:
    return Retry(attempts=dice.choice((1, 2, 3, 4, 10)), same=dice.choice((0, 0, 1, 2)))


def some_request(dice: random.Random, call: str) -> Request:
    parts: list[Text | Image] = [Text("x" * dice.choice((5, 700, 1500, 5000)))]
    if dice.random() < 0.25:
        parts.append(Image(Source(url="u")))
    bound = dice.choice((None, None, 30, 60, 600))
    text = "".join(part.text for part in parts if isinstance(part, Text))
    chat = Chat(
        dice.choice(("openai_chat", "anthropic_messages")),
        dice.choice(("chat", "chat", "w/m2", "auto", "")),
        (Message(Role.USER, tuple(parts)),),
        stream=dice.random() < 0.5,
        tools=(Tool("t"),) if dice.random() < 0.25 else (),
        output=Output(OutputKind.SCHEMA, {}) if dice.random() < 0.25 else None,
        sampling=Sampling(max_tokens=bound),
        user=dice.choice((None, "u1", "u2")),
        raw=dice.choice((b"", b"y" * (len(text) + 60 * len(parts)))),
    )
    models = dice.choice(({"*"}, {"*"}, {"chat", "w/*"}, {"auto"}))
    caller = Caller(dice.choice(("alice", "bob")), models=frozenset(models))
    headers = dice.choice(({}, {"x-tier": "gold"}, {"x-sluice-conversation": "t"}))
    return Request(chat, caller, headers, call)


def disturb(dice: random.Random, world: World) -> None:
    for _ in range(dice.choice((0, 1, 4))):
        ways = ways_to(world.settings.providers[dice.choice(NAMES)])
        key = f"{dice.choice(ways or ['a'])}/{dice.choice(MODELS)}"
        match dice.choice(("fine", "fails", "fails", "cools", "busy")):
            case "fine":
                world.ended(key, seconds=dice.random(), tokens=dice.randrange(100))
            case "fails":
                world.open(key)
            case "cools":
                world.cool(key, dice.choice((1.0, 30.0)))
            case _:
                world.health.begun(key)


# --- the rules, once more


def ways_to(provider: Provider, only: str = "") -> list[str]:
    """How it can be reached, or one of its regions, each with each of its keys."""
    if provider.unavailable is not None:
        return []
    name, regions = provider.name, provider.regions
    if not regions:
        return [f"{name}#{key.name}" for key in provider.api_keys] or [name]
    found: list[str] = []
    for region in regions:
        if region.unavailable is None and only in ("", region.name):
            place = f"{name}@{region.name}"
            found += [f"{place}#{key.name}" for key in region.api_keys] or [place]
    return found


@dataclass
class Rules:
    """What a model's configuration allows for one request."""

    world: World
    request: Request

    def __post_init__(self) -> None:
        name = self.request.chat.model or "auto"
        self.name = "w/*" if name.startswith("w/") else name
        self.rest = name.removeprefix("w/")
        route = self.world.settings.models[self.name]
        self.model: Virtual = compile_model(self.name, route, self.world.settings.routing)
        self.placed = [(ref, at) for at, refs in enumerate(route.groups) for ref in refs]

    def drawn(self, group: int) -> bool:
        """Whether weights count in this group."""
        route = self.model.route
        if route.strategy is Strategy.ORDER:
            return any(ref.weight != 1.0 for ref in route.groups[group])
        return route.strategy in (Strategy.WEIGHTED, Strategy.STICKY)

    def provider(self, place: int) -> Provider:
        name = self.placed[place][0].provider.partition("@")[0]
        return self.world.settings.providers[name]

    def ways(self, place: int) -> list[str]:
        ref, group = self.placed[place]
        if ref.weight == 0.0 and self.drawn(group):
            return []
        return ways_to(self.provider(place), ref.provider.partition("@")[2])

    @property
    def options(self) -> list[Option]:
        """All that could be asked, if nothing spoke against it."""
        return [(place, way) for place in range(len(self.placed)) for way in self.ways(place)]

    def can(self, place: int) -> Capabilities:
        return self.provider(place).capabilities[self.name_there(place)]

    def name_there(self, place: int) -> str:
        ref = self.placed[place][0]
        return self.rest if ref.model == "*" else ref.model

    def lacks(self, place: int) -> bool:
        chat, can = self.request.chat, self.can(place)
        made = fit(chat, self.placed[place][0])
        assert isinstance(made, Chat)
        output = made.sampling.max_tokens or 0
        schemas = any(self.can(p).json_schema is not False for p, _ in self.options)
        return (
            (bool(chat.tools) and can.tools is False)
            or (self.request.images and can.vision is False)
            or (chat.output is not None and schemas and can.json_schema is False)
            or (can.max_output is not None and output > can.max_output)
            or (can.context is not None and estimate_tokens(chat) + output > can.context)
        )

    def meant(self, place: int) -> bool:
        return CONDITIONS[self.placed[place][0].when](self.request)

    def key(self, option: Option) -> str:
        place, way = option
        return f"{way}/{self.name_there(place)}"

    def rests(self, option: Option) -> bool:
        state = self.world.health.standing(self.key(option)).state
        return state in (State.OPEN, State.COOLING)

    @property
    def settled(self) -> bool:
        """One target, nothing to choose: it is asked, whatever there is to say about it."""
        options = self.options
        again = self.model.retry.same > 0 and self.model.retry.attempts > 1
        return len(options) == 1 and not self.placed[options[0][0]][0].when and not again

    def eligible(self) -> list[Option]:
        options = self.options
        if self.settled:
            return options
        return [
            o for o in options if self.meant(o[0]) and not self.lacks(o[0]) and not self.rests(o)
        ]


def check(dice: random.Random, world: World, request: Request) -> None:
    rules = Rules(world, request)
    more = {"call": request.call, "caller": request.caller, "headers": request.headers}
    told = world.explain(request.chat, **more)
    json.dumps(told.as_json(), allow_nan=False)
    try:
        made = world.plan(request.chat, **more)
    except GatewayError as error:
        assert told.plan is None
        assert repr(told.error) == repr(error)
        refused(rules, error)
        return
    assert told.error is None
    assert told.plan == made
    assert world.plan(request.chat, **more) == made
    assert request.caller.may_use(request.chat.model or "auto")
    allowed(rules, made)
    explained(rules, told.candidates, ordered(rules, made))
    walked(dice, world, made)


def refused(rules: Rules, error: GatewayError) -> None:
    request = rules.request
    there = list(dict.fromkeys(place for place, _ in rules.options))
    if not there:
        assert isinstance(error, Overloaded)
    elif not request.caller.may_use(request.chat.model or "auto"):
        assert isinstance(error, PermissionDenied)
    else:
        assert not rules.eligible(), "somebody could have been asked"
        could = [p for p in there if rules.meant(p) and not rules.lacks(p)]
        if could:
            assert isinstance(error, Overloaded)
            assert error.retry_after is not None
            assert error.retry_after > 0
        elif not any(rules.lacks(p) for p in there):
            assert type(error) is InvalidRequest
            assert error.code == "no_target"
        else:
            assert isinstance(error, (ContextTooLong, Unsupported))


def allowed(rules: Rules, made: Plan) -> None:
    """Caps of the plan as a whole."""
    retry, model = rules.model.retry, rules.model
    assert 1 <= len(made.targets) <= retry.attempts
    assert made.triggers == frozenset(retry.on)
    assert made.deadline == model.deadline
    assert rules.settled or len(made.pauses) == len(made.targets)
    before = None
    times = 0
    for one, pause in zip(made.targets, made.pauses, strict=not rules.settled):
        times = times + 1 if one is before else 0
        assert times <= retry.same
        assert (pause > 0) is (times > 0)
        assert pause <= min(retry.longest, retry.base * 2**times)
        before = one


def ordered(rules: Rules, made: Plan) -> Sequence[Option]:
    """The plan's targets, in order, once each."""
    eligible = rules.eligible()
    refs = {id(ref): place for place, (ref, _) in enumerate(rules.placed)}
    chosen: list[Option] = list(
        dict.fromkeys((refs[id(one.ref)], one.key.partition("/")[0]) for one in made.targets)
    )
    assert set(chosen) <= set(eligible), "a struck target is asked"
    assert len(chosen) == min(len(eligible), rules.model.most), "and none is forgotten"
    for one in made.targets:
        assert one.target.model == rules.name_there(refs[id(one.ref)])
    groups = [rules.placed[place][1] for place, _ in chosen]
    assert groups == sorted(groups), "groups come in order"
    left = set(eligible) - set(chosen)
    first, last = chosen[0][0], chosen[-1][0]
    early = {place for place, _ in left if rules.placed[place][1] < groups[-1]}
    assert early <= {first}, (
        "a group is used up before the next, but the last attempt is left to it"
    )
    if len(chosen) > 1 and last == first:
        assert {place for place, _ in left} <= {first}, "one target takes every attempt"
    for group in set(groups):
        within(rules, group, [option for option in chosen if rules.placed[option[0]][1] == group])
    return chosen


def within(rules: Rules, group: int, chosen: Sequence[Option]) -> None:
    """The order in a group."""
    strategy = rules.model.route.strategy
    places = [place for place, _ in chosen]
    if strategy not in MEASURED:
        together = [
            place for place, before in zip(places, [None, *places], strict=False) if place != before
        ]
        assert len(together) == len(set(places)), "the ways to one target come together"
        for place in set(places):
            regions_first(rules, place, [way for at, way in chosen if at == place])
    if strategy is Strategy.ORDER and not rules.drawn(group):
        assert places == sorted(places)
    if strategy is Strategy.LEAST_COST:
        costs = [rules.provider(place).cost_per_token or 1.0 for place in places]
        assert costs == sorted(costs)
    size = sum(rules.placed[place][1] == group for place, _ in rules.options)
    if strategy is Strategy.LEAST_BUSY and size <= LOOKED_AT:
        busy = [rules.world.health.busy(rules.key(option)) for option in chosen]
        assert busy == sorted(busy)


def regions_first(rules: Rules, place: int, ways: Sequence[str]) -> None:
    """No region is asked with a second key while another one has not been asked."""
    every = rules.ways(place)
    if any(rules.rests((place, way)) for way in every):
        return
    regions = [way.partition("#")[0] for way in ways]
    different = len({way.partition("#")[0] for way in every})
    assert len(set(regions)) == min(different, len(regions))


def explained(rules: Rules, candidates: Sequence[Candidate], chosen: Sequence[Option]) -> None:
    eligible = rules.eligible()
    rows = [(p, way) for p in range(len(rules.placed)) for way in rules.ways(p) or [""]]
    assert len(candidates) == len(rows)
    if rules.settled:
        assert [bool(one.attempts) for one in candidates].count(True) == 1
        return
    for row, one in zip(rows, candidates, strict=True):
        assert (one.struck is None) is (row in chosen)
        assert bool(one.attempts) is (row in chosen)
        if row[1]:
            names = f"@{one.region}" * bool(one.region) + f"#{one.key_name}" * bool(one.key_name)
            assert f"{one.provider}{names}" == row[1]
        if one.struck is not None:
            assert (one.struck == "struck:attempts") is (row in eligible)
    numbers = [candidates[rows.index(option)].attempts[0] for option in chosen]
    assert numbers == sorted(numbers)
    assert numbers[0] == 1


def walked(dice: random.Random, world: World, made: Plan) -> None:
    """The attempts as they would be made."""
    for one in made.targets:
        failure = dice.choice((None, Failure.SERVER_ERROR, Failure.CONNECT))
        if world.health.admits(one.key):
            world.ended(one.key, failure)
        if failure is None:
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="play this case only")
    args = parser.parse_args()
    if args.seed is not None:
        case(args.seed)
        return 0
    failed = 0
    for seed in range(args.start, args.start + args.count):
        try:
            case(seed)
        except Exception:
            failed += 1
            if failed < 4:
                print(f"--- seed {seed}\n{traceback.format_exc(limit=-3)}", flush=True)
    print(f"{args.count} cases of {CALLS} decisions, seeds from {args.start}: {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Why a request goes where it goes: every target that it could have gone to, kept or struck.

`explain` takes what `router.plan` takes and calls nobody. For the same call id, configuration
and health its plan is the one that `plan` gives; `carried` then leaves out the targets whose
language cannot carry the request. Of what the client said both show the size alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite

from extproc.config.schema import Strategy
from extproc.model.chat import Chat, Json
from extproc.model.embed import Count, Routed
from extproc.model.errors import GatewayError, PermissionDenied, Unsupported
from extproc.model.value import value
from extproc.routing.atlas import Atlas
from extproc.routing.backend import Plan, Planned
from extproc.routing.decide import copied
from extproc.routing.health import Health
from extproc.routing.hearing import USUAL_ANSWER, Asked, Hearing
from extproc.routing.parameters import fit
from extproc.routing.reasons import Why, meaning
from extproc.routing.router import all_of, look_up, plan
from extproc.routing.strategies import cost
from extproc.routing.traits import traits
from extproc.routing.virtual import Choice, Option

_DIGITS = 9


@value
class Candidate:
    """A target. `model` is the provider's own name of it; `group` counts from 1. `region` and
    `key_name` are empty where its provider has one.

    `struck` is None for one that is kept, and `detail` says more of it, for people. `score` is
    what it was ordered by within its group, the higher first; None: as written. `cost` is what
    the request is thought to cost there, in US dollars; None: not known.
    `attempts` are the numbers of the attempts that it would get, from 1.
    """

    provider: str
    model: str
    label: str
    group: int
    struck: Why | None = None
    detail: str = ""
    score: float | None = None
    cost: float | None = None
    attempts: tuple[int, ...] = ()
    key_name: str = ""
    region: str = ""

    def as_json(self) -> dict[str, Json]:
        return {
            "provider": self.provider,
            "model": self.model,
            "region": self.region,
            "key_name": self.key_name,
            "label": self.label,
            "group": self.group,
            "kept": self.struck is None,
            "rule": None if self.struck is None else self.struck.value,
            "means": "" if self.struck is None else self.struck.means,
            "detail": self.detail,
            "score": _number(self.score),
            "cost": _number(self.cost),
            "attempts": list(self.attempts),
        }


@value
class Step:
    """An attempt as it would be made, if those before it fail. `number` counts from 1, `pause` is
    in seconds. `dropped` is what the target's language does not carry, by canonical names."""

    number: int
    planned: Planned
    pause: float = 0.0
    dropped: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Json]:
        return {
            "number": self.number,
            **_target(self.planned),
            "pause": round(self.pause, 3),
            "dropped": list(self.dropped),
        }


@value
class Explanation:
    """`asked` is the client's word, `model` the name of the configuration that it led to.

    `by` is what is drawn by, where anything is. `tokens` are the prompt's, as estimated; `output`
    is the client's bound of the answer's. `candidates` are in the order of the configuration.
    Exactly one of `plan` and `error` is set, and `steps` if there is a plan. `why` are codes.
    `shadow` gets a copy of this very call.
    """

    asked: str
    model: str
    strategy: str
    by: str
    tokens: int
    output: int | None
    candidates: tuple[Candidate, ...]
    plan: Plan | None
    error: GatewayError | None
    steps: tuple[Step, ...] = ()
    why: tuple[str, ...] = ()
    shadow: Planned | None = None

    def as_json(self) -> dict[str, Json]:
        plan = self.plan
        window = None if plan is None else plan.window
        triggers = () if plan is None else plan.triggers
        shadow = self.shadow
        return {
            "asked": self.asked,
            "model": self.model,
            "strategy": self.strategy,
            "by": self.by,
            "tokens": self.tokens,
            "output": self.output,
            "candidates": [candidate.as_json() for candidate in self.candidates],
            "attempts": [step.as_json() for step in self.steps],
            "triggers": [*sorted(trigger.value for trigger in triggers)],
            "window": None
            if window is None
            else {"seconds": window.seconds, "bytes": window.bytes},
            "deadline": None if plan is None else plan.deadline,
            "label": "" if plan is None else plan.label,
            "shadow": None if shadow is None else _target(shadow),
            "why": [{"code": code, "means": meaning(code)} for code in self.why],
            "error": None if self.error is None else _error(self.error),
        }


def explain(atlas: Atlas, health: Health, asked: Asked) -> Explanation:
    """Raises nothing that `plan` raises: it is in the explanation's `error`."""
    request = asked.request
    found: Plan | Choice | None = None
    made: Plan | None = None
    error: GatewayError | None = None
    try:
        found = look_up(atlas, request)
        made = plan(atlas, health, asked)
    except GatewayError as refused:
        error = refused
    tokens = traits(request, request.dialect).tokens
    output = request.sampling.max_tokens if isinstance(request, Chat) else None
    name, strategy, by = "", "", ""
    candidates: Sequence[Candidate] = ()
    match found:
        case Plan():
            name = found.name
            candidates = _only(found, all_of(atlas, request), made, (tokens, output))
        case Choice():
            name, strategy = found.virtual.name, _strategy(found).value
            by = found.virtual.by.value if _draws(found) else ""
            denied = isinstance(error, PermissionDenied)
            candidates = _all(Hearing(found, health, asked), made, denied=denied)
        case None:
            pass
    return Explanation(
        asked=request.model,
        model=name,
        strategy=strategy,
        by=by,
        tokens=tokens,
        output=output,
        candidates=tuple(candidates),
        plan=made,
        error=error,
        steps=() if made is None else _steps(made),
        why=() if made is None else made.why,
        shadow=None if made is None else copied(made, asked.call.id),
    )


def carried(told: Explanation, request: Routed, words: Mapping[str, str]) -> Explanation:
    """Without the attempts whose target's language cannot carry the request: it is rendered for
    each, and thrown away. `words` are what the client's language calls fields.
    """
    steps: list[Step] = []
    refused: dict[int, Unsupported] = {}
    error: GatewayError | None = None
    for step in told.steps:
        try:
            lost = _lost(request, step.planned, words)
        except Unsupported as no:
            refused[step.number] = no.named(words.get(no.param, no.param)) if no.param else no
            continue
        except GatewayError as final:
            error = final
            break
        steps.append(replace(step, dropped=lost))
    told = replace(
        told,
        steps=tuple([replace(step, number=at) for at, step in enumerate(steps, 1)]),
        candidates=tuple([_left(one, steps, refused) for one in told.candidates]),
    )
    if steps or not (error or refused):
        early = bool(refused) and min(refused) < steps[0].number
        return replace(told, why=(*told.why, Why.STRUCK_UNSUPPORTED)) if early else told
    if error is None and isinstance(request, Count):
        return told
    return replace(told, plan=None, why=(), error=error or next(iter(refused.values())))


def _lost(request: Routed, to: Planned, words: Mapping[str, str]) -> tuple[str, ...]:
    """What is dropped on the way to this target. Raises what rendering raises."""
    rendered = to.dialect.render_request(fit(request, to.ref), to.target)
    lost = tuple([words.get(name, name) for name in rendered.dropped])
    if lost and request.options.strict:
        raise Unsupported(
            f"It cannot carry {', '.join(lost)}, and x-sluice-strict forbids to drop it."
        )
    return lost


def _left(one: Candidate, steps: Sequence[Step], refused: Mapping[int, Unsupported]) -> Candidate:
    """The candidate, struck if its attempts were refused; else their numbers are those that are left."""
    numbers = tuple([at for at, step in enumerate(steps, 1) if step.number in one.attempts])
    no = next((refused[number] for number in one.attempts if number in refused), None)
    if no is None or numbers:
        return replace(one, attempts=numbers)
    return replace(one, struck=Why.STRUCK_UNSUPPORTED, detail=no.message, attempts=())


def _steps(made: Plan) -> tuple[Step, ...]:
    pauses = made.pauses or (0.0,) * len(made.targets)
    pairs = zip(made.targets, pauses, strict=True)
    return tuple([Step(number, *pair) for number, pair in enumerate(pairs, 1)])


def _strategy(choice: Choice) -> Strategy:
    """That of the configuration, or by weight, where weights alone say so."""
    weighed = any(group.strategy is Strategy.WEIGHTED for group in choice.groups)
    return Strategy.WEIGHTED if weighed else choice.virtual.route.strategy


def _draws(choice: Choice) -> bool:
    drawn = (Strategy.WEIGHTED, Strategy.STICKY, Strategy.ROUND_ROBIN)
    several = [group for group in choice.groups if len(group.options) > 1]
    return any(group.strategy in drawn or group.keys for group in several)


def _only(
    found: Plan, choice: Choice, made: Plan | None, sizes: tuple[int, int | None]
) -> Sequence[Candidate]:
    """The target where there is nothing to choose, and those that can never be asked."""
    target = found.targets[0]
    place = next(choice.options).place
    one = Candidate(
        provider=target.target.provider,
        model=target.target.model,
        label=found.label,
        group=_groups(choice)[place],
        struck=Why.STRUCK_CALLER if made is None else None,
        cost=cost(target, sizes[0], sizes[1] or USUAL_ANSWER),
        attempts=_numbers(made, target),
        region=target.target.region_name,
    )
    return _in_order([(place, one), *_dead(choice)])


def _all(hearing: Hearing, made: Plan | None, *, denied: bool) -> Sequence[Candidate]:
    choice = hearing.choice
    number = _groups(choice)
    found = _dead(choice)
    for option, score in _scored(hearing):
        struck = Why.STRUCK_CALLER if denied else hearing.strike(option)
        attempts = _numbers(made, option.planned)
        if struck is None and made is not None and not attempts:
            struck = Why.STRUCK_ATTEMPTS
        one = Candidate(
            provider=option.planned.target.provider,
            model=option.planned.target.model,
            label=option.ref.label,
            group=number[option.place],
            struck=struck,
            detail=_detail(hearing, option, struck),
            score=score,
            cost=cost(option.planned, *hearing.tokens),
            attempts=attempts,
            key_name=option.planned.target.key_name,
            region=option.planned.target.region_name,
        )
        found.append((option.place, one))
    return _in_order(found)


def _in_order(found: Sequence[tuple[int, Candidate]]) -> Sequence[Candidate]:
    return [one for _, one in sorted(found, key=lambda each: each[0])]


def _groups(choice: Choice) -> Sequence[int]:
    """The group of each place, from 1."""
    return [at for at, refs in enumerate(choice.virtual.route.groups, 1) for _ in refs]


def _scored(hearing: Hearing) -> Iterator[tuple[Option, float | None]]:
    for group in hearing.choice.groups:
        scores = hearing.scores(group) or [None] * len(group.options)
        yield from zip(group.options, scores, strict=True)


def _dead(choice: Choice) -> list[tuple[int, Candidate]]:
    """Those that can never be asked, each with its place."""
    number = _groups(choice)
    return [
        (
            one.place,
            Candidate(
                provider=one.ref.provider.partition("@")[0],
                model=one.ref.model,
                label=one.ref.label,
                group=number[one.place],
                struck=one.why,
                detail=one.reason,
                region=one.ref.provider.partition("@")[2],
            ),
        )
        for one in choice.dead
    ]


def _numbers(made: Plan | None, planned: Planned) -> tuple[int, ...]:
    targets = () if made is None else made.targets
    return tuple(number for number, one in enumerate(targets, 1) if one is planned)


def _detail(hearing: Hearing, option: Option, struck: Why | None) -> str:
    match struck:
        case Why.STRUCK_CONDITION:
            return option.ref.when
        case Why.STRUCK_CONTEXT:
            more = f" and {hearing.output} of output" if hearing.output else ""
            return f"about {hearing.traits.tokens} tokens{more}; its context is {option.context}"
        case Why.STRUCK_OUTPUT:
            return f"{hearing.output} tokens of output; its most is {option.output}"
        case Why.STRUCK_BREAKER | Why.STRUCK_COOLDOWN:
            return f"for {hearing.health.standing(option.key).until:.1f} s more"
        case _:
            return ""


def _target(planned: Planned) -> dict[str, Json]:
    target = planned.target
    return {
        "provider": target.provider,
        "model": target.model,
        "region": target.region_name,
        "key_name": target.key_name,
    }


def _error(error: GatewayError) -> dict[str, Json]:
    return {
        "status": error.status,
        "kind": error.kind.value,
        "code": error.code,
        "message": error.message,
        "retry_after": error.retry_after,
    }


def _number(number: float | None) -> float | None:
    return None if number is None or not isfinite(number) else round(number, _DIGITS)

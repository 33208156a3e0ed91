"""Why a request goes where it goes: every target that it could have gone to, kept or struck.

`explain` takes what `router.plan` takes and calls nobody. For the same call id, configuration
and health its plan is the one that `plan` gives. Of what the client said it shows the size alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from extproc.model.chat import Chat, Json
from extproc.model.errors import GatewayError, PermissionDenied
from extproc.model.value import value
from extproc.routing.atlas import Atlas
from extproc.routing.backend import Plan, Planned
from extproc.routing.health import Health
from extproc.routing.hearing import USUAL_ANSWER, Asked, Hearing
from extproc.routing.reasons import Why
from extproc.routing.router import look_up, plan
from extproc.routing.strategies import price
from extproc.routing.traits import traits
from extproc.routing.virtual import Choice, Dead, Option

_DIGITS = 9


@value
class Candidate:
    """A target. `model` is the provider's own name of it; `group` counts from 1.

    `struck` is None for one that is kept, and `detail` says more of it, for people. `score` is
    what it was ordered by within its group, the higher first; None: as written. `cost` is what
    the request is thought to cost there, in the currency of its price; None: not known.
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

    def as_json(self) -> dict[str, Json]:
        return {
            "provider": self.provider,
            "model": self.model,
            "label": self.label,
            "group": self.group,
            "kept": self.struck is None,
            "rule": None if self.struck is None else self.struck.value,
            "detail": self.detail,
            "score": _number(self.score),
            "cost": _number(self.cost),
            "attempts": list(self.attempts),
        }


@value
class Explanation:
    """`asked` is the client's word, `model` the name of the configuration that it led to.

    `tokens` are the prompt's, as estimated; `output` is the client's bound of the answer's.
    `candidates` are in the order of the configuration. Exactly one of `plan` and `error` is set.
    """

    asked: str
    model: str
    strategy: str
    tokens: int
    output: int | None
    candidates: tuple[Candidate, ...]
    plan: Plan | None
    error: GatewayError | None

    def as_json(self) -> dict[str, Json]:
        return {
            "asked": self.asked,
            "model": self.model,
            "strategy": self.strategy,
            "tokens": self.tokens,
            "output": self.output,
            "candidates": [candidate.as_json() for candidate in self.candidates],
            "plan": None if self.plan is None else _plan(self.plan),
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
    name, strategy = "", ""
    candidates: Sequence[Candidate] = ()
    match found:
        case Plan():
            name = found.name
            candidates = _only(found, made, tokens, output)
        case Choice():
            name, strategy = found.virtual.name, found.virtual.route.strategy.value
            denied = isinstance(error, PermissionDenied)
            candidates = _all(Hearing(found, health, asked), made, denied=denied)
        case None:
            pass
    return Explanation(
        request.model, name, strategy, tokens, output, tuple(candidates), made, error
    )


def _only(found: Plan, made: Plan | None, tokens: int, output: int | None) -> Sequence[Candidate]:
    """The target where there is nothing to choose."""
    target = found.targets[0]
    return [
        Candidate(
            provider=target.target.provider,
            model=target.target.model,
            label=found.label,
            group=1,
            struck=Why.STRUCK_CALLER if made is None else None,
            cost=price(target, tokens, output or USUAL_ANSWER),
            attempts=_numbers(made, target),
        )
    ]


def _all(hearing: Hearing, made: Plan | None, *, denied: bool) -> Sequence[Candidate]:
    choice = hearing.choice
    groups = choice.virtual.route.groups
    number = [at for at, refs in enumerate(groups, 1) for _ in refs]
    found = {dead.place: _dead(dead, number[dead.place]) for dead in choice.dead}
    for option, score in _scored(hearing):
        struck = Why.STRUCK_CALLER if denied else hearing.strike(option)
        attempts = _numbers(made, option.planned)
        if struck is None and made is not None and not attempts:
            struck = Why.STRUCK_ATTEMPTS
        found[option.place] = Candidate(
            provider=option.planned.target.provider,
            model=option.planned.target.model,
            label=option.ref.label,
            group=number[option.place],
            struck=struck,
            detail=_detail(hearing, option, struck),
            score=score,
            cost=price(option.planned, *hearing.tokens),
            attempts=attempts,
        )
    return [found[place] for place in sorted(found)]


def _scored(hearing: Hearing) -> Iterator[tuple[Option, float | None]]:
    for group in hearing.choice.groups:
        scores = hearing.scores(group) or [None] * len(group.options)
        yield from zip(group.options, scores, strict=True)


def _dead(dead: Dead, group: int) -> Candidate:
    ref = dead.ref
    return Candidate(ref.provider, ref.model, ref.label, group, dead.why, dead.reason)


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


def _plan(made: Plan) -> dict[str, Json]:
    return {
        "targets": [_target(planned) for planned in made.targets],
        "pauses": [round(pause, 3) for pause in made.pauses],
        "triggers": [*sorted(trigger.value for trigger in made.triggers)],
        "deadline": made.deadline,
        "label": made.label,
        "why": list(made.why),
        "shadow": None if made.shadow is None else _target(made.shadow),
    }


def _target(planned: Planned) -> Json:
    return {"provider": planned.target.provider, "model": planned.target.model}


def _error(error: GatewayError) -> dict[str, Json]:
    return {
        "status": error.status,
        "kind": error.kind.value,
        "message": error.message,
        "retry_after": error.retry_after,
    }


def _number(number: float | None) -> float | None:
    return None if number is None or not isfinite(number) else round(number, _DIGITS)

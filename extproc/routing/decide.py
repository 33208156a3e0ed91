"""Which targets of a model are asked for one request: the plan, or the error that says why none is.

The same call gives the same plan as long as configuration and health are the same.
Never waits, and takes no trial's place.
"""

from __future__ import annotations

from collections.abc import Sequence

from extproc.model.call import CallId
from extproc.model.errors import (
    ContextTooLong,
    GatewayError,
    InvalidRequest,
    Overloaded,
    Unsupported,
)
from extproc.model.fields import Field
from extproc.routing.backend import Plan, Planned
from extproc.routing.health import Health
from extproc.routing.hearing import Asked, Hearing
from extproc.routing.reasons import Why
from extproc.routing.strategies import draw, share
from extproc.routing.virtual import Choice, Option

_JITTER, _SHADOW = 0.6180339887498949, 0.7548776662466927
"""angles of what has no name: reciprocals of the golden and of the plastic number"""
_SHORTEST_JITTER = 0.5
"""of a pause: that much at least is waited"""
_RESTING = (Why.STRUCK_BREAKER, Why.STRUCK_COOLDOWN)
_NEEDS = {
    Why.STRUCK_TOOLS: (Field.TOOLS, "tools"),
    Why.STRUCK_VISION: (Field.IMAGE, "images"),
    Why.STRUCK_SCHEMA: (Field.OUTPUT, "an answer by a JSON schema"),
}


def decide(choice: Choice, health: Health, asked: Asked) -> Plan:
    """Raises `ContextTooLong`, `Unsupported`, `InvalidRequest` or `Overloaded` if nobody is left."""
    hearing = Hearing(choice, health, asked)
    most = choice.virtual.most
    kept: list[Option] = []
    struck: list[tuple[Option, Why]] = []
    for option, why in hearing.candidates():
        if why is not None:
            struck.append((option, why))
            continue
        if len(kept) < most:
            kept.append(option)
        elif option.place != kept[0].place:
            # The keys of one target leave an attempt to the next one: they may share a trouble.
            kept[-1] = option
        if len(kept) == most and (most == 1 or kept[-1].place != kept[0].place):
            break
    if not kept:
        raise refusal(hearing, struck)
    return planned(hearing, kept, struck)


def settled(choice: Choice) -> Plan | None:
    """The plan, where no request can change it: one target with one key, one attempt, nothing to draw."""
    virtual = choice.virtual
    only = next(choice.options)
    again = virtual.retry.same and virtual.retry.attempts > 1
    if choice.several or only.condition is not None or again:
        return None
    return Plan(
        name=virtual.name,
        targets=(only.planned,),
        triggers=virtual.triggers,
        window=virtual.route.window,
        deadline=virtual.deadline,
        why=(choice.found,),
        label=only.ref.label,
        shadow=choice.shadow,
        shadow_percent=_percent(choice),
    )


def planned(hearing: Hearing, kept: Sequence[Option], struck: Sequence[tuple[Option, Why]]) -> Plan:
    """`kept` in the order of attempts; `struck` are those that came before the last of them."""
    choice, first = hearing.choice, kept[0]
    virtual = choice.virtual
    targets, pauses = _attempts(hearing, kept)
    return Plan(
        name=virtual.name,
        targets=targets,
        pauses=pauses,
        triggers=virtual.triggers,
        window=virtual.route.window,
        deadline=virtual.deadline,
        why=(choice.found, first.how, *dict.fromkeys([why for _, why in struck])),
        label=first.ref.label,
        shadow=choice.shadow,
        shadow_percent=_percent(choice),
    )


def copied(plan: Plan, call: CallId) -> Planned | None:
    """Who gets a copy of this call, if anybody does."""
    if plan.shadow is None or share(draw(call), _SHADOW) * 100 >= plan.shadow_percent:
        return None
    return plan.shadow


def refusal(hearing: Hearing, struck: Sequence[tuple[Option, Why]]) -> GatewayError:
    """Why none of the targets, which are all struck, takes the request."""
    virtual = hearing.choice.virtual
    resting = [option.key for option, why in struck if why in _RESTING]
    if resting:
        soonest = min(hearing.health.standing(key).until for key in resting)
        return Overloaded(
            f"All targets of model {virtual.name} that could take this request are left alone for a"
            " while, after failures or by their providers' word.",
            retry_after=soonest,
        )
    lacks = dict.fromkeys(why for _, why in struck if why is not Why.STRUCK_CONDITION)
    if not lacks:
        return InvalidRequest(
            f"No target of model {virtual.name} is for this request: no condition (`when`) of"
            " theirs holds.",
            param="model",
            code="no_target",
        )
    words = [_need(hearing, why, [one for one, its in struck if its is why]) for why in lacks]
    message = f"No target of model {virtual.name} has what this request needs: {'; '.join(words)}."
    if list(lacks) == [Why.STRUCK_CONTEXT]:
        return ContextTooLong(message)
    field = next(_NEEDS[why][0] if why in _NEEDS else Field.MAX_TOKENS for why in lacks)
    return Unsupported(message, param=field.value)


def _need(hearing: Hearing, why: Why, options: Sequence[Option]) -> str:
    if why is Why.STRUCK_OUTPUT:
        most = max(option.output for option in options)
        return f"{hearing.output} tokens of output, where {most} is the most"
    if why is Why.STRUCK_CONTEXT:
        most = max(option.context for option in options)
        answer = f" and {hearing.output} more for the answer" if hearing.output else ""
        tokens = hearing.traits.tokens
        return f"a context of about {tokens} tokens{answer}, where {most} is the longest"
    return _NEEDS[why][1]


def _attempts(
    hearing: Hearing, kept: Sequence[Option]
) -> tuple[tuple[Planned, ...], tuple[float, ...]]:
    """The targets in the order of attempts, and the seconds to wait before each."""
    retry = hearing.choice.virtual.retry
    if not retry.same:
        return tuple([option.planned for option in kept]), (0.0,) * len(kept)
    targets = [option.planned for option in kept for _ in range(1 + retry.same)]
    pauses: list[float] = []
    for number in range(min(len(targets), retry.attempts)):
        again = number % (1 + retry.same)
        if not again:
            pauses.append(0.0)
            continue
        jitter = share(hearing.by_call, _JITTER * number % 1.0)
        pause = min(retry.base * 2 ** (again - 1), retry.longest)
        pauses.append(pause * (_SHORTEST_JITTER + (1 - _SHORTEST_JITTER) * jitter))
    return tuple(targets[: retry.attempts]), tuple(pauses)


def _percent(choice: Choice) -> float:
    shadow = choice.virtual.route.shadow
    return 0.0 if shadow is None else shadow.percent

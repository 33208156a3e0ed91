"""What the configuration says of a request's settings, written into the request.

`fit` gives the request as a target is to have it. Its names are those of
`config/parameters.py`. Never touches what a client said and no target changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from extproc.config.schema import Scalar, TargetRef
from extproc.model.chat import Chat, Reasoning
from extproc.model.embed import Routed
from extproc.model.fields import Field

_SAMPLING = (
    Field.TEMPERATURE.value,
    Field.TOP_P.value,
    Field.TOP_K.value,
    Field.MAX_TOKENS.value,
    Field.SEED.value,
    Field.FREQUENCY_PENALTY.value,
    Field.PRESENCE_PENALTY.value,
    Field.N.value,
)
"""canonical names that are also attributes of `Sampling`"""
_WHOLE = (Field.TOP_K.value, Field.MAX_TOKENS.value, Field.SEED.value, Field.N.value)
_PLAIN = {
    Field.VERBOSITY.value: "verbosity",
    Field.SERVICE_TIER.value: "service_tier",
    Field.PARALLEL_TOOLS.value: "parallel_tools",
    Field.STORE.value: "store",
    Field.USER.value: "user",
}
"""canonical name -> attribute of `Chat`"""
_EFFORT, _BUDGET = Field.EFFORT.value, Field.BUDGET.value
_AUTOMATIC = -1
"""a budget of thoughts that is left to the model"""


def fit(request: Routed, ref: TargetRef | None) -> Routed:
    """The request as this target is to have it: defaults, then what is set, then caps.

    Only a `Chat` has such settings. What is changed loses its `raw`, so that it is
    rendered anew; what is not is the same object.
    """
    if ref is None or not isinstance(request, Chat) or not (ref.set or ref.default or ref.cap):
        return request
    changed = request
    if not _thinks(changed):
        changed = _thinking(changed, ref.default)
    for name, value in ref.default.items():
        if _read(changed, name) is None:
            changed = _written(changed, name, value)
    changed = _thinking(changed, ref.set)
    for name, value in ref.set.items():
        changed = _written(changed, name, value)
    for name, most in ref.cap.items():
        changed = _capped(changed, name, most)
    return request if changed is request else replace(changed, raw=b"")


def longest_output(asked: int | None, ref: TargetRef) -> int | None:
    """The `max_tokens` of a request that asks for `asked`, as `fit` would leave it."""
    name = Field.MAX_TOKENS.value
    said = ref.set.get(name, ref.default.get(name) if asked is None else asked)
    most = ref.cap.get(name)
    wanted = int(said) if isinstance(said, int | float) else None
    if most is None:
        return wanted
    return int(most) if wanted is None else min(wanted, int(most))


def _read(chat: Chat, name: str) -> Scalar | None:
    if name in _SAMPLING:
        return getattr(chat.sampling, name)
    return getattr(chat, _PLAIN[name]) if name in _PLAIN else None


def _written(chat: Chat, name: str, value: Scalar) -> Chat:
    """With this setting; the same object where it has it already, or where there is no such one."""
    if name in _WHOLE:
        value = int(value)
    if name in _SAMPLING:
        if getattr(chat.sampling, name) == value:
            return chat
        return replace(chat, sampling=replace(chat.sampling, **_one(name, value)))
    if name not in _PLAIN or getattr(chat, _PLAIN[name]) == value:
        return chat
    return replace(chat, **_one(_PLAIN[name], value))


def _capped(chat: Chat, name: str, most: float) -> Chat:
    """A request without `max_tokens` has no bound of its own, so the cap becomes it. Of the other
    settings, what is not said is the provider's usual value, which nobody here knows."""
    if name == _BUDGET:
        budget = None if chat.reasoning is None else chat.reasoning.budget
        above = budget is not None and (budget == _AUTOMATIC or budget > most)
        return _thinking(chat, {name: most}) if above else chat
    now = _read(chat, name)
    if now is None:
        return _written(chat, name, most) if name == Field.MAX_TOKENS.value else chat
    above = isinstance(now, int | float) and now > most
    return _written(chat, name, most) if above else chat


def _thinks(chat: Chat) -> bool:
    """It says how much is to be thought: who gives a budget needs no default for the effort."""
    thinking = chat.reasoning
    return thinking is not None and (thinking.effort, thinking.budget) != (None, None)


def _thinking(chat: Chat, said: Mapping[str, Scalar]) -> Chat:
    """Either of effort and budget takes the place of both: they are two ways to say one thing."""
    if _EFFORT not in said and _BUDGET not in said:
        return chat
    effort, budget = said.get(_EFFORT), said.get(_BUDGET)
    before = chat.reasoning or Reasoning()
    after = replace(
        before,
        effort=None if effort is None else str(effort),
        budget=None if budget is None else int(budget),
    )
    return chat if after == before else replace(chat, reasoning=after)


def _one(name: str, value: Scalar) -> dict[str, Any]:
    return {name: value}

"""A request before the targets of one model: what each is judged by, and in which order they come.

Takes a `Choice`, the targets' health and the request. What no target depends on is never
looked at. Raises nothing, never waits, and takes no trial's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from extproc.config.conditions import Facts
from extproc.config.schema import Strategy
from extproc.model.call import Call
from extproc.model.chat import Chat, ListModels
from extproc.model.embed import Routed
from extproc.model.value import value
from extproc.routing.breaker import CLOSED, State
from extproc.routing.health import Health
from extproc.routing.parameters import longest_output
from extproc.routing.reasons import Why
from extproc.routing.strategies import among_keys, draw, draw_key, ranked, scores
from extproc.routing.traits import Traits, facts, traits
from extproc.routing.virtual import SCHEMA, TOOLS, VISION, Choice, Group, Option

_DENSEST = 20
"""tokens that a byte of a body stands for at most: a picture's address is short, a picture is not"""
USUAL_ANSWER = 500
"""tokens, where the client sets no bound: for comparing costs, no more"""
_STRUCK_BY_NEED = (
    (TOOLS, Why.STRUCK_TOOLS),
    (VISION, Why.STRUCK_VISION),
    (SCHEMA, Why.STRUCK_SCHEMA),
)
_STRUCK_BY_STATE = {State.OPEN: Why.STRUCK_BREAKER, State.COOLING: Why.STRUCK_COOLDOWN}


@value
class Asked:
    """A call that is to be routed. `headers` are the client's, in lower case; `now` is unix seconds."""

    call: Call
    headers: Mapping[str, str]
    now: float

    @property
    def request(self) -> Routed:
        request = self.call.request
        assert not isinstance(request, ListModels)
        return request


class Hearing:
    """`needs` are bits, `output` the tokens that the client allows, `sized`: lengths matter."""

    def __init__(self, choice: Choice, health: Health, asked: Asked) -> None:
        self.choice = choice
        self.health = health
        self.asked = asked
        self.needs = 0
        self.output: int | None = None
        self.sized = False
        request = asked.call.request
        if isinstance(request, Chat):
            self.output = output = request.sampling.max_tokens
            raw, lacking = request.raw, choice.lacking
            most = _DENSEST * len(raw) + (output or 0)
            self.sized = most > choice.context or not raw or choice.bounded
            if lacking:
                self.needs = self._needs(lacking)

    @cached_property
    def traits(self) -> Traits:
        request = self.asked.request
        return traits(request, request.dialect)

    @cached_property
    def drawn(self) -> float:
        """What all that is drawn by the model's own key comes from."""
        virtual, asked = self.choice.virtual, self.asked
        return draw(virtual.name, draw_key(virtual.by, asked.call, asked.headers))

    @cached_property
    def by_call(self) -> float:
        return draw(self.asked.call.id)

    @property
    def tokens(self) -> tuple[int, int]:
        """Of the prompt, as estimated, and of the answer at most."""
        return self.traits.tokens, self.output or USUAL_ANSWER

    def candidates(self) -> Iterator[tuple[Option, Why | None]]:
        """The targets in the order in which they are asked, each with what strikes it."""
        for group in self.choice.groups:
            found = self.scores(group)
            order = among_keys(group, found, self.drawn) if group.keys else ranked(group, found)
            for option in order:
                yield option, self.strike(option)

    def scores(self, group: Group) -> Sequence[float] | None:
        if group.strategy is Strategy.ORDER or len(group.options) == 1:
            return None
        costs = group.strategy is Strategy.LEAST_COST
        return scores(group, self.drawn, self.health, self.tokens if costs else None)

    def strike(self, option: Option) -> Why | None:
        """Why a target is not asked; None: it is. Its health comes last: what is struck for that
        could take the request at another time."""
        if missing := option.lacks & self.needs:
            return next(why for bit, why in _STRUCK_BY_NEED if missing & bit)
        output = longest_output(self.output, option.ref) if option.bounded else self.output
        if output is not None and output > option.output:
            return Why.STRUCK_OUTPUT
        if self.sized and self.traits.tokens + (output or 0) > option.context:
            return Why.STRUCK_CONTEXT
        if option.condition is not None and not option.condition.holds(self._facts):
            return Why.STRUCK_CONDITION
        standing = self.health.standing(option.key)
        return None if standing is CLOSED else _STRUCK_BY_STATE.get(standing.state)

    @cached_property
    def _facts(self) -> Facts:
        asked = self.asked
        return facts(asked.call, self.traits, asked.headers, asked.now)

    def _needs(self, lacking: int) -> int:
        asks = self.traits
        return (
            (lacking & TOOLS and asks.tools and TOOLS)
            | (lacking & VISION and asks.images and VISION)
            | (lacking & SCHEMA and asks.json_schema and SCHEMA)
        )

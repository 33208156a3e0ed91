"""In which order the targets of a group are asked: a pure function of a draw and of health.

What is drawn is drawn by a hash: the same key gives the same order on every worker
and after every reload, and a list that changes moves only those who must move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import log

from extproc.config.schema import DrawBy, Strategy
from extproc.model.call import Call
from extproc.model.chat import Chat, Role, Text
from extproc.model.embed import Count
from extproc.routing.backend import Planned
from extproc.routing.health import Health
from extproc.routing.virtual import Group, Option

SESSION_HEADERS = ("x-sluice-conversation", "x-sluice-session")
_LONGEST_PREFIX = 2048
"""characters of each text that a prompt begins with: more tells no two conversations apart"""
_LEAST = 2.0**-23
"""half of the smallest step of a share, so that none is 0 and all are below 1"""
_LAST = float("-inf")
_AHEAD = 1e5
"""more than any score is below 0"""
_STEEPNESS = 8
"""of two targets, one that takes a tenth longer gets a third of the calls, and one that takes half
as long again hardly any"""
_TRIED_ANYWAY = 0.02
"""share of the calls that asks just anyone: how good another one is now, only a call can tell"""
_LOOKED_AT = 6
"""of a longer group, so many are drawn and compared: the best of six is hardly ever bad, and to ask
the health of fifty takes longer than all else"""


def draw(*words: str) -> float:
    """A whole number below 2**32, the same for the same words everywhere and always."""
    key = "\0".join(words).encode("utf-8", "surrogatepass")
    return float(int.from_bytes(blake2b(key, digest_size=4).digest()))


def share(drawn: float, angle: float) -> float:
    """Between 0 and 1, without either. For one draw, targets of different angles get shares that
    have nothing to do with each other: multiples of irrational numbers fill a cube evenly (Weyl).
    """
    return drawn * angle % 1.0 + _LEAST


def draw_key(by: DrawBy, call: Call, headers: Mapping[str, str]) -> str:
    """What the draw is made of. Who has no session is known by the prompt's beginning, and a
    request that is no conversation by its call."""
    match by:
        case DrawBy.CALL:
            return call.id
        case DrawBy.CALLER:
            return call.caller.name
        case DrawBy.SESSION:
            return _session(call, headers) or _beginning(call) or call.id
        case DrawBy.PREFIX:
            return _beginning(call) or call.id


def ranked(group: Group, scores: Sequence[float] | None) -> Sequence[Option]:
    """The best first; those that are equal, and all without scores, as they are written."""
    if scores is None:
        return group.options
    return [group.options[place] for place in _best_first(scores)]


def among_keys(group: Group, scores: Sequence[float] | None, drawn: float) -> Sequence[Option]:
    """As `ranked`, where a target has several keys or regions: they are equal, and drawn by their
    weights. Keys of one region share its troubles, so another region is asked before its next key."""
    worth = scores or (0.0,) * len(group.options)
    places = _best_first([log(share(drawn, angle)) * patience for angle, patience in group.keys])
    if group.regions:
        seen: Counter[tuple[int, str]] = Counter()
        turn: dict[int, int] = {}
        for at in places:
            where = group.options[at].place, group.regions[at]
            turn[at] = seen[where]
            seen[where] += 1
        places.sort(key=turn.__getitem__)
    places.sort(key=lambda at: (-worth[at], group.options[at].place))
    return [group.options[at] for at in places]


def scores(
    group: Group, drawn: float, health: Health, tokens: tuple[int, int] | None
) -> Sequence[float] | None:
    """A number for each option, higher is better; None: they are asked as they are written.

    `tokens` are those of the prompt and of the answer, for what the request will cost.
    """
    match group.strategy:
        case Strategy.ORDER:
            return None
        case Strategy.WEIGHTED | Strategy.STICKY if not group.even:
            return _weighted(group, drawn)
        case Strategy.WEIGHTED | Strategy.STICKY | Strategy.ROUND_ROBIN:
            return _even(group, drawn)
        case Strategy.LEAST_COST:
            asked, answered = tokens or (0, 0)
            costs = [cost(one.planned, asked, answered) for one in group.options]
            return [_LAST if each is None else -each for each in costs]
        case Strategy.LEAST_LATENCY | Strategy.MOST_THROUGHPUT | Strategy.LEAST_BUSY:
            return _by_health(group, drawn, health)


def _weighted(group: Group, drawn: float) -> list[float]:
    """Weighted rendezvous: of exponential clocks, one that runs w times as fast rings first in w of
    so many cases. `share` stands here by hand: fifty calls of it take 5 us."""
    return [log(drawn * angle % 1.0 + _LEAST) * patience for angle, patience in group.draws]


def _even(group: Group, drawn: float) -> list[float]:
    return [drawn * angle % 1.0 for angle, _ in group.draws]


def _by_health(group: Group, drawn: float, health: Health) -> list[float]:
    """Those that are not looked at come last, as they are drawn."""
    found = _even(group, drawn)
    places: Sequence[int] = range(len(found))
    ahead = 0.0
    if len(found) > _LOOKED_AT:
        places = _best_first(found)[:_LOOKED_AT]
        ahead = _AHEAD
    keys = [group.options[place].key for place in places]
    shares = [found[place] + _LEAST for place in places]
    for place, score in zip(places, _compared(group.strategy, keys, shares, health), strict=True):
        found[place] = score + ahead
    return found


def _compared(
    strategy: Strategy, keys: Sequence[str], shares: Sequence[float], health: Health
) -> Sequence[float]:
    match strategy:
        case Strategy.LEAST_LATENCY:
            latencies = [health.latency(key) for key in keys]
            best = min((one for one in latencies if one is not None), default=0.0)
            merits = [1.0 if not one else best / one for one in latencies]
        case Strategy.MOST_THROUGHPUT:
            speeds = [health.throughput(key) for key in keys]
            best = max((one for one in speeds if one is not None), default=0.0) or 1.0
            merits = [1.0 if one is None else one / best for one in speeds]
        case _:
            return [-health.busy(key) - share for key, share in zip(keys, shares, strict=True)]
    least = _TRIED_ANYWAY / len(keys)
    return [
        log(share) / max(merit**_STEEPNESS, least)
        for share, merit in zip(shares, merits, strict=True)
    ]


def _best_first(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)


def cost(planned: Planned, tokens: int, answer: int) -> float | None:
    """What a prompt of so many tokens and such an answer cost at this target, in US dollars; None:
    not known."""
    price = planned.target.price
    return None if price is None else price.estimate(tokens, answer)


def _session(call: Call, headers: Mapping[str, str]) -> str:
    """What the client calls this talk, or itself: a name of the caller's, so others' differ."""
    named = next((headers[name] for name in SESSION_HEADERS if name in headers), None)
    chat = _chat(call)
    if named is None and chat is not None:
        wishes = chat.options
        named = wishes.conversation or chat.cache_key or wishes.user or chat.user
    return f"{call.caller.name}\0{named}" if named else ""


def _beginning(call: Call) -> str:
    """What stays the same while a conversation grows: its instructions and the first question."""
    chat = _chat(call)
    texts: list[str] = []
    for message in chat.messages if chat is not None else ():
        texts += [p.text[:_LONGEST_PREFIX] for p in message.parts[:4] if isinstance(p, Text)]
        if message.role not in (Role.SYSTEM, Role.DEVELOPER) or len(texts) > 8:
            break
    return "\0".join(texts)


def _chat(call: Call) -> Chat | None:
    request = call.request
    if isinstance(request, Count):
        return request.chat
    return request if isinstance(request, Chat) else None

"""What a target's language cannot carry: named, and never dropped in silence.

A renderer asks `Losses` at every place where something would get lost. Harmless
hints are dropped and named to the client (`x-sluice-dropped`); what changes the
meaning is refused, with the field's name and the target's; the middle is
decided by the backend's `on_lossy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias

from extproc.dialects._extras import BOUND, CARRIED, SHAPE
from extproc.model.call import OnLossy, Target
from extproc.model.chat import (
    NO_SAMPLING,
    NOTHING,
    Audio,
    Chat,
    Document,
    Extra,
    Image,
    Json,
    OpaquePart,
    Part,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.errors import Unsupported
from extproc.model.fields import Field

_STATE = frozenset({"background", "conversation", "previous_response_id"})
"""what a provider keeps between calls, and no other has"""
_FORM = frozenset(
    {"stream", "stream_options", "obfuscation", "index", "id", "object", "status", "type"}
)
"""about the form of a reply, which is made anew in the client's language; which one and of what kind it is"""
_HINTS: tuple[tuple[Field, Callable[[Chat], Any]], ...] = tuple(
    (name, attrgetter(path))
    for name, path in (
        (Field.USER, "user"),
        (Field.METADATA, "metadata"),
        (Field.SERVICE_TIER, "service_tier"),
        (Field.CACHE_KEY, "cache_key"),
        (Field.CACHE_RETENTION, "cache_retention"),
        (Field.VERBOSITY, "verbosity"),
        (Field.SAFETY_IDENTIFIER, "safety_identifier"),
    )
)
_SAMPLED: tuple[tuple[Field, Callable[[Sampling], Any]], ...] = tuple(
    (name, attrgetter(path))
    for name, path in (
        (Field.TEMPERATURE, "temperature"),
        (Field.TOP_P, "top_p"),
        (Field.TOP_K, "top_k"),
        (Field.SEED, "seed"),
    )
)


def _wants_logprobs(sampling: Sampling) -> bool:
    return bool(sampling.logprobs or sampling.top_logprobs)


_PENALTIES = (
    (Field.FREQUENCY_PENALTY, attrgetter("frequency_penalty")),
    (Field.PRESENCE_PENALTY, attrgetter("presence_penalty")),
)
"""of which 0 says nothing"""
_SHAPING: tuple[tuple[Field, Callable[[Sampling], Any], str], ...] = (
    (Field.STOP, attrgetter("stop"), "it takes no stop sequences"),
    (Field.LOGPROBS, _wants_logprobs, "it tells none"),
    (Field.LOGIT_BIAS, attrgetter("logit_bias"), "it cannot favour tokens"),
)


class Losses:
    """The losses of one request on its way to `target`. `names` is in order, without doubles.

    They are of the canonical vocabulary; `flow` tells them to the client in its own words.
    """

    __slots__ = ("_names", "_target")

    def __init__(self, target: Target) -> None:
        self._target = target
        self._names: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def settings(self, chat: Chat, carried: frozenset[Field]) -> None:
        """What `chat` sets and is not `carried`: hints are dropped, what shapes the answer is refused.

        Of settings alone: tools, output and reasoning are each renderer's own.
        """
        hints, sampled, shaping = _not_carried(carried)
        for field, given in hints:
            if given(chat):
                self.drop(field)
        # Not to store is what happens anyway where there is no such store: no loss.
        if chat.store and Field.STORE not in carried:
            raise self.refusal(Field.STORE, "it keeps nothing between calls")
        sampling = chat.sampling
        if sampling is NO_SAMPLING:
            return
        for field, given in sampled:
            if given(sampling) is not None:
                self.drop(field)
        for field, given in _PENALTIES:
            if field not in carried and given(sampling):
                self.drop(field)
        for field, given, why in shaping:
            if given(sampling):
                raise self.refusal(field, why)
        if (sampling.n or 1) > 1 and Field.N not in carried:
            raise self.refusal(Field.N, "it gives one answer to a request")

    def drop(self, field: Field) -> None:
        """A harmless hint: seed, user, a cache mark, thinking of another provider."""
        self._names[field] = None

    def lossy(self, field: Field, why: str) -> None:
        """Neither harmless nor fatal: dropped and named, or refused, as the backend's `on_lossy` says."""
        if self._target.on_lossy is OnLossy.REJECT:
            raise self.refusal(field, why)
        self._names[field] = None

    def no_thinking(self, wanted: Reasoning) -> None:
        """A wish to think that is not granted: called by what the client said of it."""
        self.drop(Field.BUDGET if wanted.effort is None else Field.EFFORT)

    def refusal(self, field: Field, why: str) -> Unsupported:
        """The meaning would change: raise it. `why` completes "provider x cannot take `field`: "."""
        return self._refusal(field, why)

    def foreign(self, extra: Extra, home: str) -> None:
        """Members of a request or part that only another dialect than `home` knows: named, or refused.

        They keep the client's own names. What says nothing (null, false, empty) is no loss.
        """
        if extra is NOTHING or extra.dialect == home:
            return
        fields = extra.fields
        if fields.keys() <= _FORM:
            return
        bound = fields.get(BOUND)
        if isinstance(bound, list) and bound:
            why = "only the client's own dialect knows what it stands for"
            raise self._refusal(str(bound[0]), why)
        carried = fields.get(CARRIED)
        for name, value in fields.items():
            if name in _FORM or name[:1] == SHAPE or _says_nothing(value):
                continue
            if isinstance(carried, list) and name in carried:
                continue
            if name in _STATE:
                raise self._refusal(name, "it keeps nothing between calls")
            self._names[name] = None

    def _refusal(self, name: str, why: str) -> Unsupported:
        return Unsupported(
            f"Provider {self._target.provider} cannot take `{name}`: {why}.", param=name
        )


_Hints: TypeAlias = tuple[tuple[Field, Callable[[Chat], Any]], ...]
_Sampled: TypeAlias = tuple[tuple[Field, Callable[[Sampling], Any]], ...]
_Shaping: TypeAlias = tuple[tuple[Field, Callable[[Sampling], Any], str], ...]


@lru_cache(maxsize=256)
def _not_carried(carried: frozenset[Field]) -> tuple[_Hints, _Sampled, _Shaping]:
    """What there is to ask of a chat; renderers have few different `carried`."""
    return (
        tuple(one for one in _HINTS if one[0] not in carried),
        tuple(one for one in _SAMPLED if one[0] not in carried),
        tuple(one for one in _SHAPING if one[0] not in carried),
    )


_PARTS: Mapping[type[Part], Field] = {
    Text: Field.CONTENT,
    Image: Field.IMAGE,
    Audio: Field.AUDIO,
    Document: Field.DOCUMENT,
    Thinking: Field.THINKING,
    ToolCall: Field.TOOLS,
    ToolResult: Field.RESULT,
    Refusal: Field.REFUSAL,
    OpaquePart: Field.CONTENT,
}


def field_of(part: Part) -> Field:
    """By what name a part is told that is lost or refused whole."""
    return _PARTS[type(part)]


def _says_nothing(value: Json) -> bool:
    if isinstance(value, dict):
        return all(map(_says_nothing, value.values()))
    return value is None or value is False or value in ("", [])

"""Members of a request's body read one by one, as they are there: OpenAI's languages have many, a request few.

Takes the body as an object and a dialect's `Table`; gives plain settings under
the names of the canonical fields, and the rest for `extra`. Raises
`InvalidRequest` with the path of what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects.openai_chat.words import OPTIONS, STOP
from extproc.model.chat import NO_SAMPLING, Json, Reasoning, Sampling

Object: TypeAlias = dict[str, Json]
Read: TypeAlias = Callable[[Json, str], object]
"""A value that is not null, and its path, to what is canonical."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a dialect knows of its members.

    `settings` and `sampling` have the canonical field of each and how it is read;
    `apart` are the canonical ones of which a plain value says too little; `others` are
    checked, and known to this dialect alone.
    """

    settings: Mapping[str, tuple[str, Read]]
    sampling: Mapping[str, tuple[str, Read]]
    apart: frozenset[str]
    others: Mapping[str, Read]


@dataclass(slots=True)
class Members:
    """`rest` goes to `extra`; more comes to it while the other canonical fields are read."""

    x: Object
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    sampled: dict[str, Any] = field(default_factory=dict[str, Any])
    rest: Object = field(default_factory=dict[str, Json])

    def keep(self, name: str) -> None:
        """The canonical model could not hold this member."""
        self.rest[name] = self.x[name]

    def sampling(self) -> Sampling:
        return Sampling(**self.sampled) if self.sampled else NO_SAMPLING


def sort_members(x: Object, table: Table) -> Members:
    settings, sampling, apart = table.settings, table.sampling, table.apart
    found = Members(x)
    for name, value in x.items():
        if value is None:
            found.rest[name] = None
        elif name in settings:
            at, reader = settings[name]
            found.settings[at] = reader(value, name)
        elif name in sampling:
            at, reader = sampling[name]
            found.sampled[at] = reader(value, name)
        elif name not in apart:
            if name in table.others:
                table.others[name](value, name)
            found.rest[name] = value
    if x.get("stream") is False:
        found.rest["stream"] = False
    if BODY_MEMBER in found.rest:
        del found.rest[BODY_MEMBER]
        found.rest[OPTIONS] = True
    return found


def keep_stop(found: Members) -> None:
    """How the stop sequences were written, where they can be written in several ways."""
    if "stop" in found.sampled:
        if isinstance(found.x["stop"], str):
            found.rest[STOP] = "string"
        elif not found.sampled["stop"]:
            found.keep("stop")


# --- readers


def stops(value: Json, path: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise read.type_error(value, path, "a string or an array of strings")
    return tuple(read.expect_string(word, f"{path}[{i}]") for i, word in enumerate(value))


def biases(value: Json, path: str) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for token, bias in read.expect_object(value, path).items():
        number = read.optional_number(bias, f"{path}.{token}")
        if number is None:
            raise read.type_error(bias, f"{path}.{token}", "a number")
        found[token] = number
    return found


def metadata(value: Json, path: str) -> Mapping[str, str]:
    members = read.expect_object(value, path).items()
    return {name: read.expect_string(word, f"{path}.{name}") for name, word in members}


def effort(value: Json, path: str) -> Reasoning:
    return Reasoning(read.expect_string(value, path))


SETTINGS: Mapping[str, tuple[str, Read]] = {
    "parallel_tool_calls": ("parallel_tools", read.optional_bool),
    "user": ("user", read.expect_string),
    "metadata": ("metadata", metadata),
    "service_tier": ("service_tier", read.expect_string),
    "store": ("store", read.optional_bool),
    "prompt_cache_key": ("cache_key", read.expect_string),
    "prompt_cache_retention": ("cache_retention", read.expect_string),
    "safety_identifier": ("safety_identifier", read.expect_string),
}
"""those that Chat and Responses have at the same place"""

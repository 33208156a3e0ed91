"""Legacy completions requests: a JSON body to the canonical `Chat`, as a conversation of one prompt.

Several prompts, prompts of token ids, a `suffix` and `echo` mean nothing in a
conversation: they are opaque parts, named in `_extras.BOUND`, and go only home.
Raises `InvalidRequest` with the path of what is wrong.

Source: OpenAI's API reference, POST /v1/completions.
"""

from __future__ import annotations

from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, refuse_shapes
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.openai_chat.members import (
    Members,
    Table,
    biases,
    keep_stop,
    sort_members,
    stops,
)
from extproc.dialects.openai_completions.words import LISTED, LOGPROBS, NAME
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Message,
    OpaquePart,
    Part,
    Role,
    Sampling,
    Text,
)
from extproc.model.dialect import Headers
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]

_MOST_LOGPROBS = 20


def parse_completion(headers: Headers, body: bytes) -> Chat:
    """The request in `body`, with `raw` set to it."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    model = read.expect_string(x["model"], "model") if "model" in x else ""
    if not model:
        raise read.missing("model")
    if x.get("prompt") is None:
        raise read.missing("prompt")
    stream = read.optional_bool(x.get("stream"), "stream") is True
    found = sort_members(x, _TABLE)
    extra = found.rest
    parts = _parts(x, extra)
    return Chat(
        dialect=NAME,
        model=model,
        messages=(Message(Role.USER, parts),),
        stream=stream,
        sampling=_sampling(found),
        include_usage=_include_usage(x, stream),
        options=read_options(headers, x.get(BODY_MEMBER)),
        raw=body,
        **found.settings,
        extra=Extra(NAME, extra) if extra else NOTHING,
    )


_TABLE = Table(
    settings={"user": ("user", read.expect_string)},
    sampling={
        "temperature": ("temperature", read.optional_number),
        "top_p": ("top_p", read.optional_number),
        "max_tokens": ("max_tokens", read.optional_int),
        "stop": ("stop", stops),
        "seed": ("seed", read.optional_int),
        "frequency_penalty": ("frequency_penalty", read.optional_number),
        "presence_penalty": ("presence_penalty", read.optional_number),
        "n": ("n", read.optional_int),
        "logit_bias": ("logit_bias", biases),
    },
    apart=frozenset({"model", "prompt", "stream", "suffix", "echo", "logprobs"}),
    others={},
)


def _parts(x: Object, extra: Object) -> tuple[Part, ...]:
    prompt = x["prompt"]
    parts: list[Part] = []
    bound: list[Json] = []
    alone: Object = {}
    match prompt:
        case str():
            parts.append(Text(prompt))
        case [str(text)]:
            parts.append(Text(text))
            extra[LISTED] = True
        case list() if prompt and _is_prompts(prompt):
            alone["prompt"] = prompt
        case list():
            what = "a string, an array of strings, or token ids"
            raise read.type_error(prompt, "prompt", what)
        case _:
            raise read.type_error(prompt, "prompt", "a string or an array")
    suffix = read.optional_string(x.get("suffix"), "suffix")
    echo = read.optional_bool(x.get("echo"), "echo")
    for name, value in (("suffix", suffix), ("echo", echo)):
        if value:
            alone[name] = value
        elif value is not None:
            extra[name] = value
    if alone:
        bound.extend(alone)
        extra[BOUND] = bound
        parts.append(OpaquePart(Extra(NAME, alone)))
    return tuple(parts)


def _is_prompts(prompt: list[Json]) -> bool:
    return (
        all(isinstance(item, str) for item in prompt)
        or _is_ids(prompt)
        or all(isinstance(item, list) and _is_ids(item) for item in prompt)
    )


def _is_ids(items: list[Json]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) for item in items)


def _include_usage(x: Object, stream: bool) -> bool:
    """Whether the client wants usage. A whole reply always has it."""
    value = x.get("stream_options")
    if value is None:
        return not stream
    options = read.expect_object(value, "stream_options")
    wanted = read.optional_bool(options.get("include_usage"), "stream_options.include_usage")
    return wanted is True or not stream


def _sampling(found: Members) -> Sampling:
    keep_stop(found)
    logprobs = _logprobs(found.x.get("logprobs"), found.rest)
    if logprobs is not None:
        found.sampled["logprobs"] = True
        found.sampled["top_logprobs"] = logprobs or None
    return found.sampling()


def _logprobs(value: Json, extra: Object) -> int | None:
    """How many of the likeliest tokens are wanted; 0: only the one chosen."""
    if isinstance(value, bool):
        # Some servers take a boolean here, as chat does.
        extra[LOGPROBS] = value
        return 0 if value else None
    number = read.optional_int(value, "logprobs")
    if number is not None and not 0 <= number <= _MOST_LOGPROBS:
        message = f"logprobs must be from 0 to {_MOST_LOGPROBS}"
        raise InvalidRequest(message, param="logprobs")
    return number

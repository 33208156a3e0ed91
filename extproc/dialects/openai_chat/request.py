"""OpenAI Chat requests: a JSON body to the canonical `Chat`.

What the canonical model holds goes there; all the rest stays in `extra` of the
object it was found in. `extra` *fills gaps*: when the request is written again
(`render`), the canonical fields are written first and a member of
`extra` is added only where nothing stands yet. So a stage that changes a
canonical field is never overruled by what the client once sent.

Shapes that the canonical model has no word for (a content list of one text,
the older names of a field) are kept as members of `extra` whose names start
with a NUL; a client's own members must not.

Source: OpenAI's API reference, POST /v1/chat/completions.
"""

from __future__ import annotations

from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, CARRIED, refuse_shapes
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.openai_chat.members import (
    SETTINGS,
    Members,
    Table,
    biases,
    effort,
    keep_stop,
    sort_members,
    stops,
)
from extproc.dialects.openai_chat.messages import parse_messages
from extproc.dialects.openai_chat.tools import parse_tool_choice, parse_tools
from extproc.dialects.openai_chat.words import (
    LIMIT,
    NAME,
    residue,
)
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Output,
    OutputKind,
    Sampling,
)
from extproc.model.dialect import Headers
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]


def parse_chat(headers: Headers, body: bytes) -> Chat:
    """The request in `body`, with `raw` set to it.

    Raises `InvalidRequest` whose `param` is the path of the member at fault.
    """
    x = read.read_object(body)
    refuse_shapes(x, body)
    model = read.expect_string(x["model"], "model") if "model" in x else ""
    if not model:
        raise read.missing("model")
    if "messages" not in x:
        raise read.missing("messages")
    stream = read.optional_bool(x.get("stream"), "stream") is True
    found = sort_members(x, _TABLE)
    return Chat(
        dialect=NAME,
        model=model,
        messages=parse_messages(x["messages"]),
        stream=stream,
        tools=parse_tools(x, found.keep),
        tool_choice=parse_tool_choice(x, found.keep),
        sampling=_sampling(found),
        output=_output(x, found),
        include_usage=_include_usage(x, stream),
        options=read_options(headers, x.get(BODY_MEMBER)),
        raw=body,
        **found.settings,
        extra=_extra(found.rest),
    )


_TABLE = Table(
    settings={
        **SETTINGS,
        "reasoning_effort": ("reasoning", effort),
        "verbosity": ("verbosity", read.expect_string),
    },
    sampling={
        "temperature": ("temperature", read.optional_number),
        "top_p": ("top_p", read.optional_number),
        "max_tokens": ("max_tokens", read.optional_int),
        "max_completion_tokens": ("max_completion_tokens", read.optional_int),
        "stop": ("stop", stops),
        "seed": ("seed", read.optional_int),
        "frequency_penalty": ("frequency_penalty", read.optional_number),
        "presence_penalty": ("presence_penalty", read.optional_number),
        "n": ("n", read.optional_int),
        "logprobs": ("logprobs", read.optional_bool),
        "top_logprobs": ("top_logprobs", read.optional_int),
        "logit_bias": ("logit_bias", biases),
    },
    apart=frozenset(
        {
            "model",
            "messages",
            "stream",
            "tools",
            "functions",
            "tool_choice",
            "function_call",
            "response_format",
        }
    ),
    others={
        "audio": read.expect_object,
        "modalities": read.expect_list,
        "moderation": read.expect_object,
        "prediction": read.expect_object,
        "prompt_cache_options": read.expect_object,
        "stream_options": read.expect_object,
        "web_search_options": read.expect_object,
    },
)


def _extra(rest: Object) -> Extra:
    if not rest:
        return NOTHING
    bound: list[Json] = [name for name in _BOUND if _is_bound(name, rest.get(name))]
    if bound:
        rest[BOUND] = bound
    if rest.get("modalities") == _TEXT_ALONE:
        rest[CARRIED] = ["modalities"]
    return Extra(NAME, rest)


_BOUND = (
    "audio",
    "modalities",
    "response_format",
    "search_parameters",
    "tool_choice",
    "web_search_options",
)
"""what changes the answer, and no other dialect has"""
_TEXT_ALONE = ["text"]
"""the modality of every answer, asked for or not"""


def _is_bound(name: str, value: Json) -> bool:
    if name == "modalities":
        return isinstance(value, list) and value != _TEXT_ALONE and bool(value)
    return value is not None


def _include_usage(x: Object, stream: bool) -> bool:
    """Whether the client wants usage. A whole reply always has it."""
    options = x.get("stream_options")
    if not isinstance(options, dict):
        return not stream
    wanted = read.optional_bool(options.get("include_usage"), "stream_options.include_usage")
    return wanted is True or not stream


def _sampling(found: Members) -> Sampling:
    said = found.sampled
    new = said.pop("max_completion_tokens", None)
    if new is not None and "max_tokens" in said:
        message = "max_tokens and max_completion_tokens must not be sent together; use the latter"
        raise InvalidRequest(message, param="max_tokens", code="invalid_parameter_combination")
    if new is not None:
        said["max_tokens"] = new
        found.rest[LIMIT] = "max_completion_tokens"
    elif "max_tokens" in said:
        found.rest[LIMIT] = "max_tokens"
    keep_stop(found)
    return found.sampling()


def _output(x: Object, found: Members) -> Output | None:
    value = x.get("response_format")
    if value is None:
        return None
    shape = read.expect_object(value, "response_format")
    match shape.get("type"):
        case "text":
            return Output(OutputKind.TEXT, extra=residue(shape, ("type",)))
        case "json_object":
            return Output(OutputKind.JSON, extra=residue(shape, ("type",)))
        case "json_schema":
            return _schema_output(shape)
        case str():
            found.keep("response_format")
            return None
        case other:
            raise read.type_error(other, "response_format.type", "a string")


def _schema_output(shape: Object) -> Output:
    path = "response_format.json_schema"
    if "json_schema" not in shape:
        raise read.missing(path)
    schema = read.expect_object(shape["json_schema"], path)
    return Output(
        OutputKind.SCHEMA,
        schema=schema.get("schema"),
        name=read.optional_string(schema.get("name"), path + ".name"),
        description=read.optional_string(schema.get("description"), path + ".description"),
        strict=read.optional_bool(schema.get("strict"), path + ".strict"),
        extra=residue(shape, ("type",), {"json_schema": _SCHEMA}),
    )


_SCHEMA = ("schema", "name", "description", "strict")

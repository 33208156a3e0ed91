"""Anthropic Messages requests: a JSON body to the canonical `Chat`.

What the canonical model holds goes there; all the rest stays in `extra` of the
object it was found in, and fills the gaps when the request is written again
(`render`). A stage that changes a canonical field is never overruled.

Source: Anthropic's API reference, POST /v1/messages and /v1/messages/count_tokens.
"""

from __future__ import annotations

from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, refuse_shapes, residue
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.anthropic_messages.messages import parse_messages, parse_system
from extproc.dialects.anthropic_messages.words import (
    BETAS,
    FIELD,
    NAME,
    OPTIONS,
    QUERY,
    WRAPPED,
    read_cache,
)
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Output,
    OutputKind,
    Reasoning,
    Sampling,
    Thinking,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.dialect import RequestHead
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]

TIERS = {"auto": "auto", "standard_only": "default"}
"""this language's word for a service tier, and the canonical one"""
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_BETA_QUERY = "beta=true"


def parse_chat(head: RequestHead, body: bytes) -> Chat:
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
    rest = _rest(x, head)
    messages = parse_messages(x["messages"])
    if any(type(part) is Thinking and part.origin != NAME for m in messages for part in m.parts):
        rest[WRAPPED] = True
    system = x.get("system")
    if system:
        messages.insert(0, parse_system(system))
    elif "system" in x:
        rest["system"] = system
    tool_choice, parallel = _tool_choice(x, rest)
    return Chat(
        dialect=NAME,
        model=model,
        messages=tuple(messages),
        stream=read.optional_bool(x.get("stream"), "stream") is True,
        tools=_tools(x, rest),
        tool_choice=tool_choice,
        parallel_tools=parallel,
        sampling=_sampling(x, rest),
        output=_output(x, rest),
        reasoning=_reasoning(x),
        user=_user(x, rest),
        service_tier=_tier(x, rest),
        options=read_options(head.headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, rest) if rest else NOTHING,
        raw=body,
    )


_CANONICAL = frozenset(
    {
        "model",
        "messages",
        "system",
        "stream",
        "tools",
        "tool_choice",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "output_config",
        "output_format",
        "thinking",
        "metadata",
        "service_tier",
    }
)


_BOUND = ("container", "inference_geo", "mcp_servers")
"""a place with files and skills, where the model may run, tools of another's server: nobody else has them"""


def _rest(x: Object, head: RequestHead) -> Object:
    """What goes to `extra` of the request, but for what is found while fields are read."""
    rest: Object = {
        name: value for name, value in x.items() if name not in _CANONICAL or value is None
    }
    if x.get("stream") is False:
        rest["stream"] = False
    if bound := [name for name in _BOUND if rest.get(name)]:
        rest[BOUND] = list(bound)
    if BODY_MEMBER in rest:
        del rest[BODY_MEMBER]
        rest[OPTIONS] = True
    betas = head.headers.get("anthropic-beta")
    if betas:
        rest[BETAS] = betas
    if head.query == _BETA_QUERY:
        rest[QUERY] = head.query
    return rest


def _sampling(x: Object, rest: Object) -> Sampling:
    words = x.get("stop_sequences")
    stop: tuple[str, ...] = ()
    if words is not None:
        items = read.expect_list(words, "stop_sequences")
        stop = tuple(
            read.expect_string(word, f"stop_sequences[{i}]") for i, word in enumerate(items)
        )
        if not items:
            rest["stop_sequences"] = []
    return Sampling(
        temperature=read.optional_number(x.get("temperature"), "temperature"),
        top_p=read.optional_number(x.get("top_p"), "top_p"),
        top_k=read.optional_int(x.get("top_k"), "top_k"),
        max_tokens=read.optional_int(x.get("max_tokens"), "max_tokens"),
        stop=stop,
    )


def _user(x: Object, rest: Object) -> str | None:
    if x.get("metadata") is None:
        return None
    metadata = read.expect_object(x["metadata"], "metadata")
    user = read.optional_string(metadata.get("user_id"), "metadata.user_id")
    left = dict(residue(NAME, metadata, ("user_id",)).fields)
    if left or user is None:
        rest["metadata"] = left
    return user


def _tier(x: Object, rest: Object) -> str | None:
    word = read.optional_string(x.get("service_tier"), "service_tier")
    if word is None or word in TIERS:
        return None if word is None else TIERS[word]
    rest["service_tier"] = word
    return None


# --- the form of the answer, and thinking ---------------------------------------------------


def _output(x: Object, rest: Object) -> Output | None:
    """Also keeps what else `output_config` holds; its effort is `_reasoning`'s."""
    config = x.get("output_config")
    found: Output | None = None
    if config is not None:
        config = read.expect_object(config, "output_config")
        found = _format(config.get("format"))
        left = {
            name: value
            for name, value in config.items()
            if not (name == "format" and found) and not (name == "effort" and _effort(value))
        }
        if left or not config:
            rest["output_config"] = left
    older = x.get("output_format")
    if older is not None:
        form = None if found else _format(older)
        if form is None:
            rest["output_format"] = older
        else:
            found = Output(form.kind, form.schema, extra=_marked(form.extra))
    return found


def _format(value: Json) -> Output | None:
    """None for a form that only this dialect has a word for."""
    if not isinstance(value, dict) or value.get("type") != "json_schema":
        return None
    schema = value.get("schema")
    extra = residue(NAME, value, ("type", "schema"))
    return Output(OutputKind.SCHEMA, schema, extra=extra)


def _marked(extra: Extra) -> Extra:
    return Extra(NAME, {**extra.fields, FIELD: "output_format"})


def _effort(value: Json) -> str | None:
    return value if isinstance(value, str) and value in _EFFORTS else None


def _reasoning(x: Object) -> Reasoning | None:
    config = x.get("output_config")
    effort = _effort(config.get("effort")) if isinstance(config, dict) else None
    thinking = x.get("thinking")
    if thinking is None:
        return None if effort is None else Reasoning(effort)
    shape = read.expect_object(thinking, "thinking")
    known = ("type",)
    match shape:
        case {"type": "enabled", "budget_tokens": int(budget)} if budget > 0:
            known = ("type", "budget_tokens")
        case {"type": "adaptive"}:
            budget = -1
        case {"type": "disabled"}:
            budget = 0
        case _:
            return Reasoning(effort, extra=Extra(NAME, {"thinking": shape}))
    shown = shape.get("display") == "summarized"
    left = dict(residue(NAME, shape, known).fields)
    extra = Extra(NAME, {"thinking": left}) if left else NOTHING
    return Reasoning(effort, budget, "auto" if shown else None, extra)


# --- tools ----------------------------------------------------------------------------------


def _tools(x: Object, rest: Object) -> tuple[Tool, ...]:
    value = x.get("tools")
    if value is None:
        return ()
    items = read.expect_list(value, "tools")
    if not items:
        rest["tools"] = []
    return tuple([_usual(item) or _tool(item, f"tools[{i}]") for i, item in enumerate(items)])


def _usual(x: Json) -> Tool | None:
    """A tool of the form that most have, at once; None for one that must be looked at."""
    if not isinstance(x, dict) or len(x) != 3:
        return None
    name, told, schema = x.get("name"), x.get("description"), x.get("input_schema")
    if not name or not isinstance(name, str) or not isinstance(told, str):
        return None
    return Tool(name, told, schema) if isinstance(schema, dict) else None


def _tool(value: Json, path: str) -> Tool:
    x = read.expect_object(value, path)
    if x.get("type") not in (None, "custom"):
        return Tool("", extra=Extra(NAME, x))
    if "name" not in x:
        raise read.missing(path + ".name")
    name = read.expect_string(x["name"], path + ".name")
    if not name:
        raise InvalidRequest(f"{path}.name must not be empty", param=path + ".name")
    if "input_schema" not in x:
        raise read.missing(path + ".input_schema")
    cache = read_cache(x.get("cache_control"))
    known = ("name", "description", "input_schema", "strict")
    return Tool(
        name=name,
        description=read.optional_string(x.get("description"), path + ".description"),
        parameters=read.expect_object(x["input_schema"], path + ".input_schema"),
        strict=read.optional_bool(x.get("strict"), path + ".strict"),
        cache=cache,
        extra=residue(NAME, x, known if cache is None else (*known, "cache_control")),
    )


_MODES = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE}


def _tool_choice(x: Object, rest: Object) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether several tools may be called at once."""
    if x.get("tool_choice") is None:
        return None, None
    shape = read.expect_object(x["tool_choice"], "tool_choice")
    path = "tool_choice.disable_parallel_tool_use"
    single = read.optional_bool(shape.get("disable_parallel_tool_use"), path)
    known = ("type", "name") + (("disable_parallel_tool_use",) if single else ())
    parallel = None if single is None else not single
    kind = shape.get("type")
    if kind == "tool":
        if "name" not in shape:
            raise read.missing("tool_choice.name")
        name = read.expect_string(shape["name"], "tool_choice.name")
        return ToolChoice(ToolMode.NAMED, (name,), residue(NAME, shape, known)), parallel
    if not isinstance(kind, str) or kind not in _MODES:
        rest["tool_choice"] = shape
        return None, None
    left = residue(NAME, shape, ("type", *known[2:]))
    return ToolChoice(_MODES[kind], extra=left), parallel

"""The canonical `Chat` to an OpenAI Responses request.

A client of this dialect whose bytes nobody touched gets them through, spliced
at most. Any other request is written from the canonical fields; what they say
and this language cannot goes through `Losses`. Nothing that we write is stored
by the provider unless the client asked for that.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects._tools import Names, schema_of
from extproc.dialects.openai_chat.foreign import put_foreign_hints
from extproc.dialects.openai_chat.foreign_messages import kind_of
from extproc.dialects.openai_chat.home import put_hints
from extproc.dialects.openai_chat.quirks import nearest_effort, path_of, quirks_of
from extproc.dialects.openai_chat.words import OPTIONS
from extproc.dialects.openai_responses.words import (
    ENCRYPTED,
    FOREIGN,
    INSTRUCTIONS,
    LOGPROBS,
    NAME,
    PLAIN,
)
from extproc.dialects.openai_responses.written import Writer
from extproc.model.call import Target
from extproc.model.chat import (
    NO_SAMPLING,
    NOTHING,
    Chat,
    Json,
    Message,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.dialect import Rendered
from extproc.model.embed import Count
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

_PATH = "/responses"
_COUNT = "/responses/input_tokens"
_HEADERS = {"content-type": "application/json"}
_LEAST_TOKENS = 16
_EFFORTS = ((2048, "low"), (8192, "medium"), (16384, "high"))
_REASONING_MODEL = re.compile(r"(?:.*[/.])?(?:o\d|gpt-[5-9])")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BAD_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")
_COUNTED = frozenset(
    {
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
"""members that counting takes"""


CARRIED = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.LOGPROBS,
        Field.USER,
        Field.METADATA,
        Field.SERVICE_TIER,
        Field.STORE,
        Field.CACHE_KEY,
        Field.CACHE_RETENTION,
        Field.VERBOSITY,
        Field.SAFETY_IDENTIFIER,
    }
)
"""settings that the language has"""


def new_names() -> Names:
    return Names(_NAME, _BAD_IN_NAME, 64)


def render_chat(chat: Chat, target: Target) -> Rendered:
    """The request for `target`. Raises `Unsupported` for what must not be dropped."""
    path = path_of(target, _PATH)
    if _is_untouched(chat):
        return Rendered(path, _spliced(chat, target.model), _HEADERS, (), chat.stream)
    losses, names = Losses(target), new_names()
    body = write_body(chat, target, losses, names)
    return Rendered(
        path,
        jsontext.dumps(body),
        _HEADERS,
        losses.names,
        chat.stream,
        renamed=names.renamed,
    )


def render_count(count: Count, target: Target) -> Rendered:
    """The same conversation, to be counted: settings of the answer are no loss here."""
    chat = count.chat
    path = path_of(target, _COUNT)
    if _is_untouched(chat):
        return Rendered(path, _spliced(chat, target.model), _HEADERS)
    if chat.dialect != NAME:
        chat = replace(chat, sampling=NO_SAMPLING, store=None)
    body = write_body(chat, target, Losses(target), new_names())
    if chat.dialect != NAME:
        body = {name: value for name, value in body.items() if name in _COUNTED}
    return Rendered(path, jsontext.dumps(body), _HEADERS)


def _is_untouched(chat: Chat) -> bool:
    return bool(chat.raw) and chat.dialect == NAME and FOREIGN not in chat.extra.fields


def _spliced(chat: Chat, model: str) -> bytes:
    replace = {"model": jsontext.dumps(model)} if model != chat.model and chat.model else {}
    add = {"model": jsontext.dumps(model)} if model and not chat.model else {}
    remove = (BODY_MEMBER,) if OPTIONS in chat.extra.fields else ()
    if not (replace or add or remove):
        return chat.raw
    return jsontext.splice(chat.raw, replace=replace, remove=remove, add=add)


# --- the body -------------------------------------------------------------------------------


def write_body(chat: Chat, target: Target, losses: Losses, names: Names) -> Object:
    """All members, in no special order but `model` first."""
    at_home = chat.dialect == NAME
    out: Object = {"model": target.model} if target.model else {}
    _conversation(out, chat, Writer(chat, losses, names), losses)
    if chat.stream:
        out["stream"] = True
    if chat.tools:
        out["tools"] = [
            written_tool(tool) if at_home else _foreign_tool(tool, losses, names)
            for tool in chat.tools
        ]
    carried = CARRIED if at_home else CARRIED & quirks_of(target).carried
    losses.settings(chat, carried)
    _settings(out, chat, carried, None if at_home else names)
    _sampling(out, chat.sampling)
    if at_home:
        put_hints(out, chat, carried)
        fill(out, chat.extra.fields)
        return out
    losses.foreign(chat.extra, NAME)
    put_foreign_hints(out, chat, carried, losses)
    _away(out, chat, target, losses)
    return out


def _conversation(out: Object, chat: Chat, writer: Writer, losses: Losses) -> None:
    messages = chat.messages
    leading = 0
    if chat.dialect != NAME:
        while leading < len(messages) and _is_instruction(messages[leading]):
            leading += 1
    elif messages and INSTRUCTIONS in messages[0].extra.fields:
        leading = 1
    texts: list[str] = []
    for message in messages[:leading]:
        losses.foreign(message.extra, NAME)
        for part in message.parts:
            if isinstance(part, Text):
                losses.foreign(part.extra, NAME)
                texts.append(part.text)
    if texts:
        out["instructions"] = "\n\n".join(texts)
    said = messages[leading:]
    if chat.extra.home(NAME).get(PLAIN) is True and len(said) <= 1:
        parts = said[0].parts if said else ()
        if len(parts) <= 1 and all(isinstance(part, Text) for part in parts):
            out["input"] = "".join(part.text for part in parts if isinstance(part, Text))
            return
    items = writer.items(said)
    if items or chat.dialect != NAME:
        out["input"] = items


def _is_instruction(message: Message) -> bool:
    """System text that needs no item of its own: no marks in it, nobody's name."""
    return (
        message.role is Role.SYSTEM
        and message.name is None
        and all(isinstance(part, Text) and part.cache is None for part in message.parts)
    )


def _settings(out: Object, chat: Chat, carried: frozenset[Field], names: Names | None) -> None:
    if chat.tool_choice is not None:
        out["tool_choice"] = written_choice(chat.tool_choice, names)
    if chat.parallel_tools is not None:
        out["parallel_tool_calls"] = chat.parallel_tools
    text: Object = {}
    if chat.output is not None:
        text["format"] = written_output(chat.output)
    if chat.verbosity is not None and Field.VERBOSITY in carried:
        text["verbosity"] = chat.verbosity
    if text:
        out["text"] = text
    if chat.reasoning is not None:
        reasoning: Object = {}
        for name, value in (
            ("effort", chat.reasoning.effort),
            ("summary", chat.reasoning.summary),
        ):
            if value is not None:
                reasoning[name] = value
        fill(reasoning, chat.reasoning.extra.home(NAME))
        out["reasoning"] = reasoning


def _sampling(out: Object, sampling: Sampling) -> None:
    for name, value in (
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("max_output_tokens", sampling.max_tokens),
        ("top_logprobs", sampling.top_logprobs),
    ):
        if value is not None:
            out[name] = value


def _away(out: Object, chat: Chat, target: Target, losses: Losses) -> None:
    """What only requests of other dialects need: our defaults, and what of theirs gets lost."""
    out["store"] = chat.store is True
    include: list[Json] = []
    if chat.sampling.logprobs:
        include.append(LOGPROBS)
    if _thinks(target):
        include.append(ENCRYPTED)
    if include:
        out["include"] = include
    limit = chat.sampling.max_tokens
    if limit is not None and limit < _LEAST_TOKENS:
        losses.lossy(Field.MAX_TOKENS, f"it gives at least {_LEAST_TOKENS} tokens")
        out["max_output_tokens"] = _LEAST_TOKENS
    if chat.tool_choice is not None:
        losses.foreign(chat.tool_choice.extra, NAME)
    if chat.reasoning is not None:
        losses.foreign(chat.reasoning.extra, NAME)
        reasoning = _reasoning(chat.reasoning, target, losses)
        if reasoning:
            out["reasoning"] = reasoning
        else:
            del out["reasoning"]
    if isinstance(form := out.get("text"), dict) and chat.output is not None:
        losses.foreign(chat.output.extra, NAME)
        below = form["format"]
        if isinstance(below, dict) and chat.output.kind is OutputKind.SCHEMA:
            below.setdefault("name", "answer")


def _efforts(target: Target) -> tuple[str, ...]:
    """What the model takes as an effort; nothing: it does not reason, and refuses to be asked."""
    return () if target.capabilities.reasoning is False else quirks_of(target).efforts


def _thinks(target: Target) -> bool:
    """Whether to ask for signed reasoning: a model that has none answers that with an error."""
    if target.capabilities.reasoning is not None:
        return target.capabilities.reasoning
    return bool(_efforts(target)) and _REASONING_MODEL.match(target.model) is not None


def _reasoning(asked: Reasoning, target: Target, losses: Losses) -> Object:
    """A budget becomes the effort that comes closest; who has a budget sees what is thought.

    An effort alone asks for no summary. Its client sees no thought at OpenAI's own Chat
    either, and OpenAI answers `summary` with 400 to organisations that it has not verified:
    a request that works would fail by a member that the client cannot take back.
    """
    effort, summary, budget = asked.effort, asked.summary, asked.budget
    efforts = _efforts(target)
    if not efforts:
        losses.no_thinking(asked)
        return {}
    if budget is not None:
        if effort is None and budget >= 0:
            losses.drop(Field.BUDGET)
            effort = "none" if budget == 0 else _effort(budget)
        if budget != 0:
            summary = summary or "auto"
    out: Object = {}
    if effort is not None:
        nearest = nearest_effort(effort, efforts)
        if nearest != effort:
            losses.drop(Field.EFFORT)
        if nearest is not None:
            out["effort"] = nearest
    if summary is not None:
        out["summary"] = summary
    return out


def _effort(budget: int) -> str:
    return next((word for limit, word in _EFFORTS if budget <= limit), "xhigh")


def written_output(output: Output) -> Object:
    match output.kind:
        case OutputKind.TEXT:
            out: Object = {"type": "text"}
        case OutputKind.JSON:
            out = {"type": "json_object"}
        case OutputKind.SCHEMA:
            out = {"type": "json_schema"}
            for name, value in (
                ("name", output.name),
                ("description", output.description),
                ("schema", output.schema),
                ("strict", output.strict),
            ):
                if value is not None:
                    out[name] = value
    fill(out, output.extra.home(NAME))
    return out


def written_tool(tool: Tool) -> Object:
    """A tool as a client of this dialect gave it."""
    if not tool.name:
        return dict(tool.extra.home(NAME))
    out: Object = {"type": "function", "name": tool.name}
    for name, value in (
        ("description", tool.description),
        ("parameters", tool.parameters),
        ("strict", tool.strict),
    ):
        if value is not None:
            out[name] = value
    fill(out, tool.extra.home(NAME))
    return out


def _foreign_tool(tool: Tool, losses: Losses, names: Names) -> Object:
    if not tool.name:
        why = f"a tool of {kind_of(tool.extra)} is known to its own provider only"
        raise losses.refusal(Field.TOOLS, why)
    if tool.cache is not None:
        losses.drop(Field.CACHE)
    if tool.extra is not NOTHING:
        losses.foreign(tool.extra, NAME)
    out: Object = {"type": "function", "name": names.sent(tool.name)}
    if tool.description is not None:
        out["description"] = tool.description
    # Silence means strict in this dialect, and in no other.
    return {**out, "parameters": schema_of(tool.parameters), "strict": tool.strict is True}


def written_choice(choice: ToolChoice, names: Names | None = None) -> Json:
    """`names` None: at home, where no name has to change."""
    if not choice.names or choice.mode is ToolMode.NONE:
        return choice.mode.value
    sent = [name if names is None else names.sent(name) for name in choice.names]
    if choice.mode is ToolMode.NAMED:
        out: Object = {"type": "function", "name": sent[0]}
        fill(out, choice.extra.home(NAME))
        return out
    tools: list[Json] = [{"type": "function", "name": name} for name in sent]
    return {"type": "allowed_tools", "mode": choice.mode.value, "tools": tools}

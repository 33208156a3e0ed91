"""Canonical requests to Cohere bodies, and the splice that spares us most of them.

A request that came in this dialect and that no stage changed leaves as its own
bytes. Anything else is written anew: settings and tools here, the conversation
in `home` or `foreign`. What cannot be carried goes through `Losses`.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _tools
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects.cohere_chat.foreign import write_foreign
from extproc.dialects.cohere_chat.home import write_home
from extproc.dialects.cohere_chat.words import BARE, JSON_HEADERS, NAME, OPTIONS
from extproc.model.call import Target
from extproc.model.chat import (
    Chat,
    Extra,
    Json,
    Output,
    OutputKind,
    Reasoning,
    Sampling,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.dialect import Rendered
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

PATH = "/v2/chat"
CHAT = "chat"
_LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_BAD_IN_NAME = re.compile(r"^[0-9]|[^A-Za-z0-9_]")
_NAME_LIMIT = 64
_MOST_STOPS = 5
_CARRIED = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.TOP_K,
        Field.STOP,
        Field.SEED,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
    }
)
_AT_HOME = _CARRIED | {Field.LOGPROBS}
"""Cohere tells probabilities in a form that no other client reads"""
_BUDGETS = {"minimal": 2048, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}


def render_chat(chat: Chat, target: Target) -> Rendered:
    """The request for the model that the provider calls `target.model`.

    Raises `Unsupported` for what this language cannot say and must not drop.
    """
    if chat.raw and chat.dialect == NAME:
        body = spliced(chat.raw, chat.extra, chat.model, target.model)
        return Rendered(PATH, body, JSON_HEADERS, stream=chat.stream, operation=CHAT)
    writer = _Writer(chat, target)
    body = jsontext.dumps(writer.body())
    return Rendered(
        PATH,
        body,
        JSON_HEADERS,
        writer.losses.names,
        stream=chat.stream,
        renamed=writer.names.renamed,
        operation=CHAT,
    )


def spliced(raw: bytes, extra: Extra, model: str, target_model: str) -> bytes:
    """The client's bytes with the provider's name of the model, and without our own member."""
    replace = {} if model == target_model else {"model": jsontext.dumps(target_model)}
    remove = (BODY_MEMBER,) if OPTIONS in extra.fields else ()
    return jsontext.splice(raw, replace=replace, remove=remove) if replace or remove else raw


class _Writer:
    """Writes one request, and notes in `losses` what had to be left out."""

    def __init__(self, chat: Chat, target: Target) -> None:
        self._chat = chat
        self._target = target
        self._at_home = chat.dialect == NAME
        self.losses = Losses(target)
        self.names = _tools.Names(_LEGAL_NAME, _BAD_IN_NAME, _NAME_LIMIT)

    def body(self) -> Object:
        chat = self._chat
        self.losses.foreign(chat.extra, NAME)
        self.losses.settings(chat, _AT_HOME if self._at_home else _CARRIED)
        out: Object = {"model": self._target.model}
        if self._at_home:
            messages, documents = write_home(chat.messages)
        else:
            vision = self._target.capabilities.vision
            messages, documents = write_foreign(chat, self.losses, self.names, vision=vision)
        out["messages"] = messages
        if documents:
            out["documents"] = documents
        if chat.stream:
            out["stream"] = True
        if chat.tools:
            self._put_tools(out)
        if chat.tool_choice is not None:
            self.losses.foreign(chat.tool_choice.extra, NAME)
            if chat.tools or self._at_home:
                self._put_choice(out, chat.tool_choice)
        self._put_sampling(out, chat.sampling)
        if chat.output is not None:
            self._put_output(out, chat.output)
        if chat.reasoning is not None:
            self._put_thinking(out, chat.reasoning)
        fill(out, chat.extra.home(NAME))
        return out

    # --- tools

    def _put_tools(self, out: Object) -> None:
        chat, losses = self._chat, self.losses
        if self._target.capabilities.tools is False and not self._at_home:
            raise losses.refusal(Field.TOOLS, f"model {self._target.model} calls no tools")
        choice = chat.tool_choice
        tools = [tool for tool in chat.tools if _is_wanted(tool, choice)]
        if not tools:
            raise losses.refusal(Field.TOOL_CHOICE, "it names no tool of the request")
        out["tools"] = [self._tool(tool) for tool in tools]
        if all(tool.strict for tool in tools):
            out["strict_tools"] = True
        elif any(tool.strict for tool in tools):
            losses.drop(Field.STRICT)
        if chat.parallel_tools is False:
            losses.drop(Field.PARALLEL_TOOLS)

    def _put_choice(self, out: Object, choice: ToolChoice) -> None:
        match choice.mode:
            case ToolMode.AUTO:
                pass
            case ToolMode.NONE:
                out["tool_choice"] = "NONE"
            case ToolMode.REQUIRED | ToolMode.NAMED:
                # Besides a named tool nothing is offered, so it is the one that is called.
                out["tool_choice"] = "REQUIRED"

    def _tool(self, tool: Tool) -> Json:
        home = tool.extra.home(NAME)
        if not tool.name:
            if self._at_home:
                return dict(home)
            kind = tool.extra.fields.get("type")
            named = f" of type {kind}" if isinstance(kind, str) else ""
            raise self.losses.refusal(
                Field.TOOLS, f"a tool{named} is known to its own provider only"
            )
        self.losses.foreign(tool.extra, NAME)
        if tool.cache is not None:
            self.losses.drop(Field.CACHE)
        function: Object = {"name": tool.name if self._at_home else self.names.sent(tool.name)}
        if tool.description is not None:
            function["description"] = tool.description
        if not self._at_home:
            function["parameters"] = _tools.schema_of(tool.parameters)
        elif tool.parameters is not None:
            function["parameters"] = tool.parameters
        out: Object = {} if BARE in home else {"type": "function"}
        out["function"] = function
        fill(out, home)
        return out

    # --- settings

    def _put_sampling(self, out: Object, sampling: Sampling) -> None:
        values: Object = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "p": sampling.top_p,
            "k": sampling.top_k,
            "seed": sampling.seed,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "logprobs": sampling.logprobs,
        }
        if not self._at_home:
            self._fit(sampling, values)
        out.update((name, value) for name, value in values.items() if value is not None)
        if sampling.stop:
            out["stop_sequences"] = list(sampling.stop)

    def _fit(self, sampling: Sampling, values: Object) -> None:
        """What is out of Cohere's range is cut to it, and named."""
        losses = self.losses
        if len(sampling.stop) > _MOST_STOPS:
            raise losses.refusal(Field.STOP, f"at most {_MOST_STOPS} sequences are taken")
        values["logprobs"] = None
        for name, least, most, field in _RANGES:
            value = values[name]
            if isinstance(value, int | float) and not least <= value <= most:
                values[name] = min(max(value, least), most)
                losses.drop(field)

    def _put_output(self, out: Object, output: Output) -> None:
        losses = self.losses
        losses.foreign(output.extra, NAME)
        if output.kind is OutputKind.TEXT and not self._at_home:
            return
        form: Object = {"type": "text" if output.kind is OutputKind.TEXT else "json_object"}
        if output.kind is OutputKind.SCHEMA:
            form["json_schema"] = output.schema
        if not self._at_home:
            if output.description is not None:
                losses.drop(Field.OUTPUT_DESCRIPTION)
            beside = next((name for name in ("tools", "documents") if name in out), None)
            if beside is not None:
                losses.lossy(Field.OUTPUT, f"it cannot have a form beside {beside}")
                _instruct(out, output)
                return
            if output.kind is OutputKind.JSON and not _speaks_of_json(out):
                # Without a word about JSON the model may write blanks until it is cut off.
                _instruct(out, output)
        fill(form, output.extra.home(NAME))
        out["response_format"] = form

    def _put_thinking(self, out: Object, reasoning: Reasoning) -> None:
        losses = self.losses
        losses.foreign(reasoning.extra, NAME)
        effort, budget = reasoning.effort, reasoning.budget
        if reasoning.summary is not None:
            losses.drop(Field.SUMMARY)
        if effort is None and budget is None:
            return
        off = effort == "none" or budget == 0
        if self._target.capabilities.reasoning is False and not self._at_home:
            if not off:
                losses.no_thinking(reasoning)
            return
        thinking: Object = {"type": "disabled" if off and not self._at_home else "enabled"}
        if effort == "none":
            thinking["type"] = "disabled"
        if effort is not None and budget is None:
            budget = _BUDGETS.get(effort)
            most = self._chat.sampling.max_tokens
            if budget is not None and most is not None:
                budget = max(1, min(budget, most - 1))
        if budget is not None and budget >= 0 and thinking["type"] == "enabled":
            thinking["token_budget"] = budget
        fill(thinking, reasoning.extra.home(NAME))
        out["thinking"] = thinking


_RANGES = (
    ("p", 0.01, 0.99, Field.TOP_P),
    ("k", 0, 500, Field.TOP_K),
    ("frequency_penalty", 0, 1, Field.FREQUENCY_PENALTY),
    ("presence_penalty", 0, 1, Field.PRESENCE_PENALTY),
)


def _is_wanted(tool: Tool, choice: ToolChoice | None) -> bool:
    """A choice that is limited to some tools is made by sending only these."""
    return choice is None or not choice.names or tool.name in choice.names


def _instruct(out: Object, output: Output) -> None:
    """Says in words what form the answer must have."""
    said = "Answer with JSON and nothing else."
    if output.kind is OutputKind.SCHEMA:
        schema = jsontext.dumps(output.schema).decode()
        said = f"Answer with JSON that fits this schema, and nothing else: {schema}"
    messages = out["messages"]
    if not isinstance(messages, list):
        return
    first = messages[0] if messages else None
    if isinstance(first, dict) and first.get("role") == "system":
        first["content"] = f"{first.get('content')}\n\n{said}"
    else:
        messages.insert(0, {"role": "system", "content": said})


def _speaks_of_json(out: Object) -> bool:
    return b"json" in jsontext.dumps(out["messages"]).lower()

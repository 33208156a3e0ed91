"""Canonical requests to Ollama bodies, and the splice that spares us most of them.

A request that came in this dialect and that no stage changed leaves as its own
bytes. Anything else is written anew from the canonical fields. A prompt of
another language is never cut short in silence: Ollama is told to refuse one
that is too long, and how large the model's window is, where that is known.
"""

from __future__ import annotations

from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects._tools import calls_of, schema_of
from extproc.dialects.ollama_chat.conversation import Conversation
from extproc.dialects.ollama_chat.words import (
    CHAT_PATH,
    GENERATE_PATH,
    NAME,
    OPTIONS,
    UNTYPED,
    is_generate,
)
from extproc.model.call import Target
from extproc.model.chat import (
    Chat,
    Json,
    OutputKind,
    Reasoning,
    Tool,
    ToolMode,
)
from extproc.model.dialect import Rendered
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

HEADERS = {"content-type": "application/json"}
_BUDGETS = ((2048, "low"), (8192, "medium"), (16384, "high"))


def render_chat(chat: Chat, target: Target) -> Rendered:
    """The request for the model that the provider calls `target.model`.

    Raises `Unsupported` for what this language cannot say and must not drop.
    """
    path = GENERATE_PATH if is_generate(chat.extra) else CHAT_PATH
    if chat.raw and chat.dialect == NAME:
        body = spliced(chat.raw, chat.model, target.model, OPTIONS in chat.extra.fields)
        return Rendered(path, body, HEADERS, (), chat.stream)
    writer = _Writer(chat, target)
    body = jsontext.dumps(writer.body())
    return Rendered(path, body, HEADERS, writer.losses.names, chat.stream)


def spliced(raw: bytes, model: str, target_model: str, has_options: bool) -> bytes:
    """The client's bytes with the provider's name of the model, and without our own member."""
    replace = {} if model == target_model else {"model": jsontext.dumps(target_model)}
    remove = (BODY_MEMBER,) if has_options else ()
    return jsontext.splice(raw, replace=replace, remove=remove) if replace or remove else raw


class _Writer:
    """Writes one request, and notes in `losses` what had to be left out."""

    def __init__(self, chat: Chat, target: Target) -> None:
        self._chat = chat
        self._target = target
        self._at_home = chat.dialect == NAME
        self.losses = Losses(target)

    def body(self) -> Object:
        chat = self._chat
        extra = chat.extra.home(NAME)
        self.losses.foreign(chat.extra, NAME)
        out: Object = {"model": self._target.model}
        said = Conversation(chat, self._target, self.losses)
        if is_generate(chat.extra):
            said.put_prompt(out)
        else:
            said.put_messages(out)
        if not (self._at_home and chat.stream and extra.get("stream") is None):
            out["stream"] = chat.stream
        self._tools(out)
        self._options(out)
        self._output(out)
        if chat.reasoning is not None:
            self._think(out, chat.reasoning)
        if chat.parallel_tools is False:
            self.losses.drop(Field.PARALLEL_TOOLS)
        self.losses.settings(chat, _CARRIED)
        if not self._at_home:
            out["truncate"] = False
        fill(out, extra)
        return out

    # --- settings

    def _options(self, out: Object) -> None:
        sampling = self._chat.sampling
        options: Object = {
            name: value
            for name, value in (
                ("temperature", sampling.temperature),
                ("top_p", sampling.top_p),
                ("top_k", sampling.top_k),
                ("num_predict", sampling.max_tokens),
                ("seed", sampling.seed),
                ("frequency_penalty", sampling.frequency_penalty),
                ("presence_penalty", sampling.presence_penalty),
            )
            if value is not None
        }
        if sampling.stop:
            options["stop"] = list(sampling.stop)
        window = self._target.capabilities.context
        if window is not None and not self._at_home:
            options["num_ctx"] = window
        if options or "options" in self._chat.extra.home(NAME):
            out["options"] = options
        if sampling.logprobs is not None:
            out["logprobs"] = sampling.logprobs
        if sampling.top_logprobs is not None:
            out["top_logprobs"] = sampling.top_logprobs

    def _output(self, out: Object) -> None:
        output = self._chat.output
        if output is None:
            return
        self.losses.foreign(output.extra, NAME)
        if output.description is not None:
            self.losses.drop(Field.OUTPUT_DESCRIPTION)
        if output.kind is OutputKind.TEXT:
            return
        if output.kind is OutputKind.JSON:
            out["format"] = "json"
            return
        out["format"] = output.schema if isinstance(output.schema, dict) else "json"

    def _think(self, out: Object, reasoning: Reasoning) -> None:
        self.losses.foreign(reasoning.extra, NAME)
        if reasoning.summary is not None:
            self.losses.drop(Field.SUMMARY)
        think: Json = None
        match reasoning.effort, reasoning.budget:
            case None, None:
                return
            case ("none", _) | (None, 0):
                think = False
            case None, int(budget) if budget < 0:
                think = True
            case None, int(budget):
                think = next((word for most, word in _BUDGETS if budget <= most), "max")
                self.losses.drop(Field.BUDGET)
            case effort, budget:
                if budget is not None:
                    self.losses.drop(Field.BUDGET)
                think = effort if self._at_home else _LEVELS.get(effort or "", "max")
        if self._target.capabilities.reasoning is False and not self._at_home:
            # A model that cannot think refuses to be asked for it.
            if think is not False:
                asked = Field.BUDGET if reasoning.effort is None else Field.EFFORT
                self.losses.lossy(asked, "the model does not think")
            return
        out["think"] = think

    def _tools(self, out: Object) -> None:
        chat = self._chat
        choice = chat.tool_choice
        tools = chat.tools
        if choice is not None and tools:
            self.losses.foreign(choice.extra, NAME)
            match choice.mode:
                case ToolMode.AUTO:
                    if choice.names:
                        tools = tuple(tool for tool in tools if tool.name in choice.names)
                case ToolMode.NONE:
                    if not any(True for _ in calls_of(chat)):
                        return
                    self.losses.drop(Field.TOOL_CHOICE)
                case ToolMode.REQUIRED | ToolMode.NAMED:
                    raise self.losses.refusal(Field.TOOL_CHOICE, "it cannot force a tool call")
        if tools:
            out["tools"] = [self._tool(tool) for tool in tools]

    def _tool(self, tool: Tool) -> Json:
        if not tool.name:
            raise self.losses.refusal(Field.TOOLS, "one of them is known to another provider only")
        if tool.strict:
            self.losses.drop(Field.STRICT)
        if tool.cache is not None:
            self.losses.drop(Field.CACHE)
        self.losses.foreign(tool.extra, NAME)
        extra = tool.extra.home(NAME)
        function: Object = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if not self._at_home:
            function["parameters"] = schema_of(tool.parameters)
        elif tool.parameters is not None:
            function["parameters"] = tool.parameters
        out: Object = {} if UNTYPED in extra or "type" in extra else {"type": "function"}
        out["function"] = function
        fill(out, extra)
        return out


_CARRIED = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.TOP_K,
        Field.STOP,
        Field.SEED,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.LOGPROBS,
    }
)
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}

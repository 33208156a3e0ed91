"""Canonical requests to Gemini bodies and paths, and the bytes that need no change.

A request that came in this dialect and that no stage changed leaves as it came;
the model and the form of the stream stand in the path. Anything else is written
anew from the canonical fields, and `extra` of this dialect fills the gaps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects.gemini_generate.contents import home_of
from extproc.dialects.gemini_generate.paths import VERTEX, path_to
from extproc.dialects.gemini_generate.request import DECLARATIONS, EFFORTS, MODES, STREAM
from extproc.dialects.gemini_generate.schema import json_schema
from extproc.dialects.gemini_generate.words import (
    ARRAY,
    ENTRY,
    LEVEL,
    MODE,
    NAME,
    ONE,
    OPTIONS,
    PACKED,
    SCHEMA,
    TEXT_ONLY,
    VERSION,
    WRAPPED,
    is_gen_3,
)
from extproc.dialects.gemini_generate.written import Contents, Object
from extproc.model.call import Target
from extproc.model.chat import (
    NO_SAMPLING,
    NOTHING,
    Chat,
    Json,
    Output,
    OutputKind,
    Reasoning,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.dialect import Rendered
from extproc.model.embed import Count
from extproc.model.fields import Field

HEADERS = {"content-type": "application/json"}
_EVENTS = "alt=sse"
_PACKED = PACKED.encode()


def render_chat(chat: Chat, target: Target) -> Rendered:
    """The request for `target`. Raises `Unsupported` for what must not be dropped."""
    home = chat.extra.home(NAME)
    verb = STREAM if chat.stream else "generateContent"
    path = path_to(target, verb, version_of(home), _EVENTS if chat.stream else "")
    # Plain JSON says of no reply that it is a stream, so an array is asked for as events too.
    array = ARRAY in home
    if (body := untouched(chat, home, target)) is not None:
        return Rendered(path, body, HEADERS, (), chat.stream, reshaped=array)
    writer = Writer(chat, target)
    body = jsontext.dumps(writer.body())
    renamed = writer.renamed
    return Rendered(
        path, body, HEADERS, writer.dropped, chat.stream, renamed=renamed, reshaped=array
    )


def render_count(count: Count, target: Target) -> Rendered:
    """Vertex counts a request as it is; the Gemini API wants one with more than contents within another."""
    chat = count.chat
    home = chat.extra.home(NAME)
    path = path_to(target, "countTokens", version_of(home))
    vertex = target.variant == VERTEX
    if not (vertex and WRAPPED in home) and (raw := untouched(chat, home, target)) is not None:
        return Rendered(path, raw, HEADERS)
    writer = Writer(chat, target)
    inner = writer.body()
    body: Object = inner
    wrapped = home.get(WRAPPED)
    if not vertex and (wrapped is not None or (chat.dialect != NAME and len(inner) > 1)):
        if chat.dialect != NAME:
            inner["model"] = f"models/{target.model}"
        body = {"generateContentRequest": inner}
        fill(body, wrapped if isinstance(wrapped, dict) else {})
    return Rendered(path, jsontext.dumps(body), HEADERS, writer.dropped, renamed=writer.renamed)


def version_of(home: Mapping[str, Json]) -> str:
    version = home.get(VERSION)
    return version if isinstance(version, str) else ""


def untouched(chat: Chat, home: Mapping[str, Json], target: Target) -> bytes | None:
    """The client's bytes, if they may leave: they hold no other provider's signature and no other model."""
    if not chat.raw or chat.dialect != NAME or _PACKED in chat.raw:
        return None
    if "model" in home and target.model != chat.model:
        return None
    if OPTIONS in home:
        return jsontext.splice(chat.raw, remove=(BODY_MEMBER,))
    return chat.raw


class Writer:
    """Writes one request."""

    def __init__(self, chat: Chat, target: Target) -> None:
        self._chat = chat
        self._target = target
        self._home = chat.extra.home(NAME)
        self._at_home = chat.dialect == NAME
        self._losses = Losses(target)
        self._contents = Contents(chat, target, self._losses)

    @property
    def dropped(self) -> tuple[str, ...]:
        return self._losses.names

    @property
    def renamed(self) -> dict[str, str]:
        return self._contents.names.renamed

    def body(self) -> Object:
        chat, out = self._chat, Object()
        self._contents.write(out)
        self._tools(out)
        config: Object = {}
        self._sampling(config)
        if chat.output is not None:
            self._output(config, chat.output)
        if chat.reasoning is not None:
            self._reasoning(config, chat.reasoning)
        if TEXT_ONLY in self._home:
            config["responseModalities"] = ["TEXT"]
        if config:
            out["generationConfig"] = config
        self._about(out)
        self._losses.settings(chat, _CARRIED)
        self._losses.foreign(chat.extra, NAME)
        fill(out, self._home)
        ones = self._home.get(ONE)
        for name in ones if isinstance(ones, list) else []:
            items = out.get(str(name))
            if isinstance(items, list) and len(items) == 1:
                out[str(name)] = items[0]
        if "model" in self._home and self._target.model != chat.model:
            out["model"] = f"models/{self._target.model}"
        return out

    def _about(self, out: Object) -> None:
        """Whose it is, and how urgent."""
        chat = self._chat
        if chat.parallel_tools is False:
            self._losses.drop(Field.PARALLEL_TOOLS)
        if chat.metadata is not None:
            labels = dict(chat.metadata)
            carried = self._at_home or (self._target.variant == VERTEX and _are_labels(labels))
            if carried:
                out["labels"] = dict[str, Json](labels)
            elif labels:
                self._losses.drop(Field.METADATA)
        tier = chat.service_tier
        if tier is None:
            return
        word = tier if self._at_home else _TIERS.get(tier)
        if word is not None:
            out["serviceTier"] = word
        elif tier != "auto":
            self._losses.drop(Field.SERVICE_TIER)

    # --- generationConfig

    def _sampling(self, out: Object) -> None:
        sampling = self._chat.sampling
        if sampling is NO_SAMPLING:
            return
        if len(sampling.stop) > _MOST_STOPS and not self._at_home:
            raise self._losses.refusal(Field.STOP, f"it takes at most {_MOST_STOPS} sequences")
        if sampling.stop:
            out["stopSequences"] = list(sampling.stop)
        for name, value in (
            ("temperature", sampling.temperature),
            ("topP", sampling.top_p),
            ("topK", sampling.top_k),
            ("maxOutputTokens", sampling.max_tokens),
            ("seed", sampling.seed),
            ("frequencyPenalty", sampling.frequency_penalty),
            ("presencePenalty", sampling.presence_penalty),
            ("candidateCount", sampling.n if self._at_home or sampling.n != 1 else None),
            ("responseLogprobs", sampling.logprobs),
            ("logprobs", sampling.top_logprobs),
        ):
            if value is not None:
                out[name] = value

    def _output(self, out: Object, output: Output) -> None:
        self._losses.foreign(output.extra, NAME)
        if output.description is not None:
            self._losses.drop(Field.OUTPUT_DESCRIPTION)
        if output.kind is OutputKind.TEXT:
            if self._at_home:
                out["responseMimeType"] = "text/plain"
            return
        out["responseMimeType"] = "application/json"
        if output.kind is OutputKind.JSON:
            return
        own = home_of(output.extra).get(SCHEMA)
        if own is not None and json_schema(own) == output.schema:
            out["responseSchema"] = own
        else:
            out["responseJsonSchema"] = output.schema

    def _reasoning(self, out: Object, reasoning: Reasoning) -> None:
        if self._at_home:
            out["thinkingConfig"] = _thinking_home(reasoning)
            return
        self._losses.foreign(reasoning.extra, NAME)
        off = reasoning.effort == "none" or (reasoning.effort is None and reasoning.budget == 0)
        if self._target.capabilities.reasoning is False or _OLD.match(self._target.model):
            if not off:
                self._losses.no_thinking(reasoning)
        elif (config := self._thinking(reasoning, off=off)) is not None:
            out["thinkingConfig"] = config

    def _thinking(self, reasoning: Reasoning, *, off: bool) -> Object | None:
        """Levels for the third generation, a budget for the one before. What thinks also shows it."""
        effort, budget = reasoning.effort, reasoning.budget
        model = self._target.model
        if effort is None and budget is None:
            return {"includeThoughts": True} if reasoning.summary else None
        if not is_gen_3(model):
            least, most = (128, 32768) if "pro" in model else (0, 24576)
            given = _BUDGETS.get(effort or "", budget or 0) if budget is None or off else budget
            spent = given if given < 0 else max(least, min(most, given))
            if spent != given and (off or budget is not None):
                self._losses.drop(Field.EFFORT if budget is None else Field.BUDGET)
            return {"thinkingBudget": spent, "includeThoughts": not off}
        if off or effort is not None:
            level = "MINIMAL" if off else _LEVELS.get(effort or "", "HIGH")
            if level == "MINIMAL" and "pro" in model:
                level = "LOW"
                if off:
                    self._losses.drop(Field.BUDGET if effort is None else Field.EFFORT)
            if budget is not None and effort is not None:
                self._losses.drop(Field.BUDGET)
            return {"thinkingLevel": level, "includeThoughts": not off}
        return {"thinkingBudget": budget, "includeThoughts": True}

    # --- tools

    def _tools(self, out: Object) -> None:
        tools: list[Json] = []
        at: Json = None
        declared: list[Json] | None = None
        for tool in self._chat.tools:
            if not tool.name and tool.extra.dialect != NAME:
                raise self._losses.refusal(Field.TOOLS, "one of them only another provider knows")
            if tool.cache is not None:
                self._losses.drop(Field.CACHE)
            if tool.extra is not NOTHING:
                self._losses.foreign(tool.extra, NAME)
            entry = home_of(tool.extra).get(ENTRY, at)
            if not tools or entry != at:
                tools.append({})
                at, declared = entry, None
            last = tools[-1]
            assert isinstance(last, dict)
            if not tool.name:
                fill(last, home_of(tool.extra))
                continue
            if declared is None:
                last[DECLARATIONS] = declared = []
            declared.append(self._declared(tool))
        if tools:
            out["tools"] = tools
        choice = self._chat.tool_choice
        strict = not self._at_home and any(tool.strict for tool in self._chat.tools)
        if choice is None and strict:
            choice = ToolChoice(ToolMode.AUTO)
        if choice is not None and (tools or self._at_home):
            out["toolConfig"] = {"functionCallingConfig": self._choice(choice, strict=strict)}

    def _declared(self, tool: Tool) -> Json:
        extra = home_of(tool.extra)
        out: Object = {"name": tool.name if self._at_home else self._contents.names.sent(tool.name)}
        if tool.description is not None:
            out["description"] = tool.description
        own = extra.get(SCHEMA)
        if own is not None and json_schema(own) == tool.parameters:
            out["parameters"] = own
        elif tool.parameters is not None and (self._at_home or not _is_empty(tool.parameters)):
            out["parametersJsonSchema"] = tool.parameters
        fill(out, extra)
        return out

    def _choice(self, choice: ToolChoice, *, strict: bool) -> Object:
        names = self._contents.names
        self._losses.foreign(choice.extra, NAME)
        word = home_of(choice.extra).get(MODE)
        if not isinstance(word, str) or MODES.get(word) is not _plain(choice.mode):
            word = _MODE_WORDS[choice.mode]
            if word == "AUTO" and (strict or choice.names):
                word = "VALIDATED"
        out: Object = {"mode": word}
        if choice.names:
            at_home = self._at_home
            out["allowedFunctionNames"] = [n if at_home else names.sent(n) for n in choice.names]
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
        Field.N,
        Field.LOGPROBS,
        Field.METADATA,
        Field.SERVICE_TIER,
    }
)
"""metadata and tier as far as they go: see `_about`"""
_TIERS: Mapping[str, str] = {
    "default": "standard",
    "standard": "standard",
    "flex": "flex",
    "priority": "priority",
}
_MOST_STOPS = 5
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_OLD = re.compile(r"(?:.*/)?(?:gemini-(?:1|2\.0)|gemma)")
_BUDGETS: Mapping[str, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 32768,
}
_LEVELS: Mapping[str, str] = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
}
"""anything above is the highest that every model has"""
_MODE_WORDS: Mapping[ToolMode, str] = {
    ToolMode.AUTO: "AUTO",
    ToolMode.NONE: "NONE",
    ToolMode.REQUIRED: "ANY",
    ToolMode.NAMED: "ANY",
}


def _plain(mode: ToolMode) -> ToolMode:
    return ToolMode.REQUIRED if mode is ToolMode.NAMED else mode


def _are_labels(labels: Mapping[str, str]) -> bool:
    return all(_LABEL.fullmatch(key) and _LABEL.fullmatch(word) for key, word in labels.items())


def _is_empty(schema: Json) -> bool:
    """A tool without parameters has no schema here."""
    return isinstance(schema, dict) and not schema.get("properties") and len(schema) <= 2


def _thinking_home(reasoning: Reasoning) -> Object:
    extra = home_of(reasoning.extra)
    out: Object = {}
    if reasoning.effort is not None:
        level = extra.get(LEVEL)
        same = isinstance(level, str) and EFFORTS.get(level.upper()) == reasoning.effort
        out["thinkingLevel"] = level if same else _LEVELS.get(reasoning.effort, "HIGH")
    if reasoning.budget is not None:
        out["thinkingBudget"] = reasoning.budget
    if reasoning.summary is not None:
        out["includeThoughts"] = True
    fill(out, extra)
    return out

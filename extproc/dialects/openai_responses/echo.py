"""What a Responses reply repeats of its request, as OpenAI does.

Takes the client's `Chat`, gives the members of a `response` that are not the
answer. Nothing is stored here, so `store` is false; a provider of this dialect
overrules all of it with its own words.
"""

from __future__ import annotations

from extproc.dialects._extras import fill
from extproc.dialects.openai_chat.home import given
from extproc.dialects.openai_responses.render import written_choice, written_output, written_tool
from extproc.dialects.openai_responses.words import (
    INSTRUCTIONS,
    NAME,
)
from extproc.model.chat import Chat, Json, Text

_KEPT = (
    "max_tool_calls",
    "truncation",
)


def echo(chat: Chat) -> dict[str, Json]:
    """The settings, each with the default that OpenAI names where the client said nothing."""
    sampling, extra = chat.sampling, chat.extra.home(NAME)
    tools: list[Json] = [written_tool(tool) for tool in chat.tools]
    form: dict[str, Json] = {"type": "text"}
    if chat.output is not None:
        form = written_output(chat.output)
    text: dict[str, Json] = {"format": form}
    if chat.verbosity is not None:
        text["verbosity"] = chat.verbosity
    others = extra.get("text")
    if isinstance(others, dict):
        fill(text, others)
    reasoning: dict[str, Json] = {"effort": None, "summary": None}
    if chat.reasoning is not None:
        asked = chat.reasoning
        reasoning = {"effort": asked.effort, "summary": asked.summary}
        fill(reasoning, asked.extra.home(NAME))
    choice = chat.tool_choice
    out: dict[str, Json] = {
        "background": False,
        "instructions": _instructions(chat),
        "max_output_tokens": sampling.max_tokens,
        "metadata": dict(chat.metadata or {}),
        "parallel_tool_calls": chat.parallel_tools is not False,
        "previous_response_id": None,
        "reasoning": reasoning,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "text": text,
        "tool_choice": extra.get("tool_choice", "auto")
        if choice is None
        else written_choice(choice),
        "tools": tools,
        "top_logprobs": sampling.top_logprobs or 0,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "truncation": "disabled",
        "user": chat.user,
    }
    out |= given(
        ("prompt_cache_key", chat.cache_key),
        ("prompt_cache_retention", chat.cache_retention),
        ("safety_identifier", chat.safety_identifier),
    )
    for name in _KEPT:
        if name in extra:
            out[name] = extra[name]
    return out


def _instructions(chat: Chat) -> str | None:
    first = chat.messages[0] if chat.messages else None
    if first is None or INSTRUCTIONS not in first.extra.home(NAME):
        said = chat.extra.home(NAME).get("instructions")
        return said if isinstance(said, str) else None
    return "\n\n".join(part.text for part in first.parts if isinstance(part, Text))

"""Single settings of a request, asked by the chat client of every provider, and what becomes of each.

What is not named in `expected` is carried. A hint is dropped and named; what would
change the answer's meaning is refused, and the refusal names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.matrix.cell import WORKS, Cell

_TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        "strict": True,
    },
}
_CUSTOM = {"type": "custom", "custom": {"name": "free_text"}}
_AWAY = (
    "openai_responses",
    "anthropic_messages",
    "gemini_generate",
    "bedrock_converse",
    "ollama_chat",
    "cohere_chat",
    "openai_completions",
)
"""providers of every language but the client's"""
_NOT_OPENAI = _AWAY[1:]
"""of every language but the two newer of OpenAI's"""


def _dropped(name: str, *providers: str) -> dict[str, Cell]:
    return dict.fromkeys(providers, Cell("lossy", (name,)))


def _refused(name: str, *providers: str) -> dict[str, Cell]:
    return dict.fromkeys(providers, Cell("refused", (name,)))


_NO_TOOLS = _refused("tools", "openai_completions")
_NO_PENALTY = ("openai_responses", "anthropic_messages", "bedrock_converse")


@dataclass(frozen=True, slots=True)
class Setting:
    """`fields` are members of the request; `cells` what is expected where it is not carried.

    `silent`: it may be carried by saying nothing.
    """

    name: str
    fields: Mapping[str, Any]
    cells: Mapping[str, Cell] = field(default_factory=dict[str, Cell])
    silent: bool = False

    def expected(self, provider: str) -> Cell:
        return self.cells.get(provider, WORKS)


SETTINGS = (
    Setting("top_p", {"top_p": 0.5}),
    Setting(
        "temperature above 1",
        {"temperature": 1.5},
        _dropped("temperature", "anthropic_messages", "bedrock_converse"),
    ),
    Setting(
        "presence_penalty", {"presence_penalty": 0.5}, _dropped("presence_penalty", *_NO_PENALTY)
    ),
    Setting(
        "frequency_penalty", {"frequency_penalty": 0.5}, _dropped("frequency_penalty", *_NO_PENALTY)
    ),
    Setting("stop", {"stop": ["###"]}, _refused("stop", "openai_responses")),
    Setting("seed", {"seed": 1}, _dropped("seed", *_NO_PENALTY)),
    Setting(
        "n: 2",
        {"n": 2},
        _refused(
            "n",
            *("openai_responses", "anthropic_messages", "bedrock_converse"),
            *("ollama_chat", "cohere_chat"),
        ),
    ),
    Setting(
        "logprobs",
        {"logprobs": True},
        _refused(
            "logprobs",
            *("anthropic_messages", "bedrock_converse", "cohere_chat", "openai_completions"),
        ),
    ),
    Setting("logit_bias", {"logit_bias": {"50": -5}}, _refused("logit_bias", *_AWAY[:-1])),
    Setting(
        "user",
        {"user": "someone"},
        _dropped("user", "gemini_generate", "bedrock_converse", "ollama_chat", "cohere_chat"),
    ),
    Setting(
        "metadata",
        {"metadata": {"team": "red"}},
        _dropped(
            "metadata",
            *("anthropic_messages", "gemini_generate", "ollama_chat", "cohere_chat"),
            "openai_completions",
        ),
    ),
    Setting(
        "service_tier",
        {"service_tier": "flex"},
        _dropped(
            "service_tier",
            *("anthropic_messages", "ollama_chat", "cohere_chat", "openai_completions"),
        ),
    ),
    Setting("store: true", {"store": True}, _refused("store", *_NOT_OPENAI)),
    Setting("store: false", {"store": False}, silent=True),
    Setting(
        "prompt_cache_key",
        {"prompt_cache_key": "talk-1"},
        _dropped("prompt_cache_key", *_NOT_OPENAI),
    ),
    Setting("verbosity", {"verbosity": "low"}, _dropped("verbosity", *_NOT_OPENAI)),
    Setting(
        "safety_identifier",
        {"safety_identifier": "someone"},
        # Anthropic's word for it is `metadata.user_id`.
        _dropped("safety_identifier", *_NOT_OPENAI[1:]),
    ),
    Setting(
        "a strict tool",
        {"tools": [_TOOL]},
        {**_dropped("tools.function.strict", "ollama_chat"), **_NO_TOOLS},
    ),
    Setting(
        "tool_choice: required",
        {"tools": [_TOOL], "tool_choice": "required"},
        # Nothing else of the request is looked at once it is refused.
        {**_refused("tool_choice", "ollama_chat"), **_NO_TOOLS},
    ),
    Setting(
        "tool_choice: none",
        {"tools": [_TOOL], "tool_choice": "none"},
        _dropped("tools", "openai_completions"),
        silent=True,
    ),
    Setting(
        "parallel_tool_calls: false",
        {"tools": [_TOOL], "parallel_tool_calls": False},
        {
            **_dropped("parallel_tool_calls", "gemini_generate", "bedrock_converse", "cohere_chat"),
            "ollama_chat": Cell("lossy", ("tools.function.strict", "parallel_tool_calls")),
            **_NO_TOOLS,
        },
    ),
    Setting("a custom tool", {"tools": [_CUSTOM]}, _refused("tools", *_AWAY)),
    Setting(
        "web_search_options", {"web_search_options": {}}, _refused("web_search_options", *_AWAY)
    ),
)

"""What well-known models can do, as their makers said at the date below.

A table by name and a look-up in it, for routing and for dialects. Only what is
sure stands here; the rest is None, not known. The configuration's `capabilities:`
come first, field by field. Pure data: nothing is asked of a provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import TypeVar

from extproc.config.schema import Provider
from extproc.model.call import ANY, Capabilities

DATED = "2026-11"
"""year and month in which the catalogue was compared with its makers' pages"""

_VENDOR = re.compile(
    r"(?:(?:us|eu|apac|jp|au|ca|in|us-gov|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|mistral|openai|qwen)\."
)
"""what Bedrock puts before a name"""

_KNOWS = Capabilities(tools=True)
_SEES = Capabilities(tools=True, vision=True)
_BLIND = Capabilities(tools=True, vision=False)
_SCHEMA = replace(_SEES, json_schema=True)
_PLAIN = replace(_SCHEMA, reasoning=False)
_THINKS = replace(_SCHEMA, reasoning=True)

_EMBEDDERS = (
    *("text-embedding-", "gemini-embedding-", "textembedding-", "text-multilingual-embedding-"),
    *("embed-", "titan-embed-", "mistral-embed", "codestral-embed"),
    *("nomic-embed-", "mxbai-embed-", "all-minilm", "bge-", "snowflake-arctic-embed"),
)
USUAL_EMBEDDERS = {
    "openai_chat": ("text-embedding-ada-002", "mistral-embed"),
    "gemini_generate": ("gemini-embedding-001",),
    "bedrock_converse": ("amazon.titan-embed-text-v2:0",),
    "ollama_chat": ("nomic-embed-text",),
    "cohere_chat": ("embed-v4.0",),
}
"""dialect -> what to ask for vectors where the configuration names no model that makes them"""
_OTHERWISE = ("audio", "realtime", "search", "transcribe", "tts")
"""models that share a name and little else"""

_CLAUDE = replace(
    _SEES,
    json_schema=False,
    reasoning=False,
    adaptive_thinking=False,
    system_in_messages=False,
    context=200_000,
)
_CLAUDE_4 = replace(_CLAUDE, reasoning=True)
_CLAUDE_45 = replace(_CLAUDE_4, json_schema=True, max_output=64_000)
_CLAUDE_46 = replace(_CLAUDE_45, adaptive_thinking=True, max_output=128_000, context=1_000_000)
_CLAUDE_5 = replace(_CLAUDE_46, system_in_messages=None)


def _size(one: Capabilities, max_output: int, context: int) -> Capabilities:
    return replace(one, max_output=max_output, context=context)


_GEMINI = _size(_THINKS, 65_536, 1_048_576)

CATALOGUE: dict[str, Capabilities] = {
    "gpt-3.5-turbo*": _size(replace(_BLIND, json_schema=False, reasoning=False), 4096, 16_385),
    "gpt-4*": Capabilities(reasoning=False),
    "gpt-4-turbo*": _size(replace(_PLAIN, json_schema=False), 4096, 128_000),
    "gpt-4o*": _size(_PLAIN, 16_384, 128_000),
    "gpt-4o-2024-05-13": _size(replace(_PLAIN, json_schema=False), 4096, 128_000),
    **{f"gpt-4o{mini}-{other}*": ANY for mini in ("", "-mini") for other in _OTHERWISE},
    "gpt-4.1*": _size(_PLAIN, 32_768, 1_047_576),
    "gpt-5*": replace(_THINKS, max_output=128_000),
    "gpt-5-chat*": Capabilities(vision=True, reasoning=False, max_output=16_384, context=128_000),
    "gpt-oss*": replace(_BLIND, reasoning=True, context=131_072),
    "o1*": _size(_THINKS, 100_000, 200_000),
    "o1-mini*": Capabilities(False, False, False, True, max_output=65_536, context=128_000),
    "o1-preview*": Capabilities(False, False, False, True, max_output=32_768, context=128_000),
    "o3*": _size(_THINKS, 100_000, 200_000),
    "o3-mini*": _size(replace(_THINKS, vision=False), 100_000, 200_000),
    "o4-mini*": _size(_THINKS, 100_000, 200_000),
    "claude-3-*": replace(_CLAUDE, max_output=4096),
    "claude-3-5-*": replace(_CLAUDE, max_output=8192),
    "claude-3-7-*": replace(_CLAUDE_4, max_output=64_000),
    "claude-sonnet-4*": replace(_CLAUDE_4, max_output=64_000),
    "claude-opus-4*": replace(_CLAUDE_4, max_output=32_000),
    "claude-opus-4-1*": replace(_CLAUDE_4, json_schema=None, max_output=32_000),
    **{f"claude-{size}-4-5*": _CLAUDE_45 for size in ("haiku", "sonnet", "opus")},
    "claude-sonnet-4-6*": replace(_CLAUDE_46, max_output=64_000, context=None),
    "claude-opus-4-6*": _CLAUDE_46,
    "claude-opus-4-7*": _CLAUDE_46,
    "claude-opus-4-8*": replace(_CLAUDE_46, system_in_messages=True),
    **{f"claude-{size}-5*": _CLAUDE_5 for size in ("haiku", "sonnet", "opus", "fable")},
    "claude-sonnet-5": replace(_CLAUDE_5, system_in_messages=False),
    "gemini-1.5-flash*": _size(_PLAIN, 8192, 1_048_576),
    "gemini-1.5-pro*": _size(_PLAIN, 8192, 2_097_152),
    "gemini-2.0-flash*": _size(replace(_SCHEMA, reasoning=None), 8192, 1_048_576),
    "gemini-2.5-flash*": _GEMINI,
    "gemini-2.5-flash-image*": Capabilities(tools=False, vision=True),
    "gemini-2.5-pro*": _GEMINI,
    "gemini-3*": Capabilities(vision=True),
    **dict.fromkeys(("gemini-3-flash*", "gemini-3-pro-preview*"), _GEMINI),
    **dict.fromkeys(("llama3.1*", "llama-3.1*", "llama3-1*"), _BLIND),
    **dict.fromkeys(("llama3.2*", "llama-3.2*", "llama3-2*"), _KNOWS),
    **dict.fromkeys(("llama3.3*", "llama-3.3*", "llama3-3*"), _BLIND),
    **dict.fromkeys(("llama4*", "llama-4*"), _SEES),
    "qwen2.5*": _KNOWS,
    "qwen2.5-vl*": Capabilities(vision=True),
    "qwen3*": _KNOWS,
    "qwen3-vl*": _SEES,
    "mistral-large*": _KNOWS,
    "mistral-small*": _KNOWS,
    "magistral*": replace(_KNOWS, reasoning=True),
    "pixtral*": _SEES,
    "command-r*": replace(_BLIND, reasoning=False, context=128_000),
    "command-a-03-2025": replace(_BLIND, reasoning=False, max_output=8000, context=256_000),
    "command-a-reasoning*": replace(_KNOWS, reasoning=True),
    "command-a-vision*": Capabilities(vision=True),
    "nova-micro*": replace(_BLIND, reasoning=False, context=128_000),
    "nova-lite*": replace(_SEES, reasoning=False, context=300_000),
    "nova-pro*": replace(_SEES, reasoning=False, context=300_000),
    "nova-premier*": replace(_SEES, reasoning=False, context=1_000_000),
    "titan-text*": Capabilities(tools=False, vision=False, reasoning=False),
    **{f"{name}*": Capabilities(embedding=True) for name in _EMBEDDERS},
}

_NAMES = tuple(field.name for field in fields(Capabilities))
_Said = TypeVar("_Said")


def capabilities(provider: Provider, model: str) -> Capabilities:
    """What is known of a model of this provider. `model` is the provider's own name of it.

    Each field comes from the most exact pattern of the configuration that says it, and then from
    the catalogue.
    """
    said = matching(provider.capabilities.items(), model)
    known = next(matching(CATALOGUE.items(), plain(model)), ANY)
    layers = (*said, known)
    return Capabilities(
        **{
            name: next((v for v in (getattr(one, name) for one in layers) if v is not None), None)
            for name in _NAMES
        }
    )


def default_model(provider: Provider, *, embeds: bool = False) -> str | None:
    """What a provider answers with, or makes vectors with, when no model is named."""
    named = (provider.model, *provider.models)
    known = (m for m in named if m and m[-1] != "*")
    return next((m for m in known if (capabilities(provider, m).embedding is True) is embeds), None)


def matching(patterns: Iterable[tuple[str, _Said]], model: str) -> Iterator[_Said]:
    """What is said of the model by the patterns that take it in, the most exact first."""
    found = [
        (len(pattern) + 2 * (pattern[-1:] != "*"), one)
        for pattern, one in patterns
        if pattern == model or (pattern[-1:] == "*" and model.startswith(pattern[:-1]))
    ]
    return (one for _, one in sorted(found, key=lambda one: -one[0]))


def plain(model: str) -> str:
    """A name as its maker writes it: without a vendor, a router's path, or a tag of the host."""
    name = model.lower().rpartition("/")[2]
    name = _VENDOR.sub("", name, count=1) if _VENDOR.match(name) else name
    name = name.removeprefix("meta-")
    return name.replace(".", "-") if name.startswith("claude-") else name

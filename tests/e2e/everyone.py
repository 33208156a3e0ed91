"""A gateway in front of one provider of each kind, under the names that people know them by.

All of them are the mock, in their own language, at a base path of their own where
the wire is OpenAI's: `/xai/v1`, `/tgi/v1`. So what came to whom can be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extproc.mock import MockProvider

CHAT_MODELS: Mapping[str, str] = {
    "openai": "gpt-4o",
    "grok": "grok-1",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "ollama": "llama3",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere": "command-a-03-2025",
}
"""The default model of every provider that has one."""

THINKERS: Mapping[str, str] = {
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "responses": "gpt-5-mini",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "deepseek": "deepseek-reasoner",
    "ollama": "qwen3",
    "cohere": "command-a-reasoning-08-2025",
}
"""A model that thinks and calls tools, in each language of providers."""


def blocks(mock: MockProvider) -> dict[str, Any]:
    """The configuration: every provider has a credential of its own, `key-of-NAME`."""

    def provider(name: str, endpoint: str, **more: object) -> dict[str, Any]:
        model = {"model": CHAT_MODELS[name]} if name in CHAT_MODELS else {}
        return {"endpoint": endpoint, "api_key": f"key-of-{name}", **model, **more}

    return {
        "workers": 1,
        "providers": {
            "openai": provider(
                "openai",
                mock.base_url,
                models=[
                    "gpt-4*",
                    "gpt-3*",
                    "o3*",
                    "text-*",
                    "omni-*",
                    "dall-e-*",
                    "tts-*",
                    "whisper-*",
                ],
                cost_per_token=0.001,
            ),
            "grok": provider("grok", f"{mock.url}/xai/v1"),
            "anthropic": provider("anthropic", mock.url),
            "gemini": provider("gemini", mock.url, models=["gemini-*"]),
            "ollama": provider("ollama", mock.url),
            "bedrock": provider("bedrock", mock.url),
            "cohere": provider(
                "cohere", mock.url, models=["command-*", "rerank-*", "embed-*"], timeout="5s"
            ),
            "azure": provider(
                "azure", f"{mock.url}/res", api_version="2024-10-21", models=["deployed-*"]
            ),
            "responses": provider(
                "responses", mock.base_url, dialect="openai_responses", models=["gpt-5*"]
            ),
            "deepseek": provider("deepseek", mock.base_url),
            "vllm": provider("vllm", f"{mock.url}/vllm/v1", models=["vllm/*"]),
            "tgi": {
                "dialect": "openai_chat",
                "endpoint": f"{mock.url}/tgi/v1",
                "models": ["tgi"],
            },
        },
        "models": {"fast": [{"provider": "openai", "model": "gpt-4o-mini"}]},
    }

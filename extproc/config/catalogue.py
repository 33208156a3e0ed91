"""The providers that need no introduction: what a name alone says.

A table and look-ups in it. Never reads the environment; it only knows the
names of variables. Endpoints are the base URLs that the providers' own SDKs use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from extproc.config.schema import SecurityLevel

DIALECTS = frozenset(
    {
        "openai_chat",
        "openai_responses",
        "anthropic_messages",
        "bedrock_converse",
        "cohere_chat",
        "gemini_generate",
        "ollama_chat",
    }
)
"""wire languages that a provider may speak, built in already or not"""


@dataclass(frozen=True, slots=True)
class Known:
    """`key_variables`: the first that is set holds the key. `key_needed`: it is useless without.

    `endpoint` None: there is no default, since it is each customer's own.
    `models` are patterns of the names it serves when the configuration gives none.
    """

    name: str
    dialect: str
    endpoint: str | None
    models: tuple[str, ...]
    key_variables: tuple[str, ...] = ()
    key_needed: bool = True
    endpoint_variable: str | None = None
    security_level: SecurityLevel = SecurityLevel.MEDIUM


_OPENAI = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "text-embedding-*")
_LOCAL = ("llama*", "qwen*", "gemma*", "phi*", "codellama*", "mistral*", "nomic-embed*")
_AMAZON = ("anthropic.*", "amazon.*", "meta.*", "mistral.*", "cohere.*", "ai21.*", "us.*", "eu.*")
_HIGH = SecurityLevel.HIGH

_KNOWN = (
    Known(
        "bedrock",
        "bedrock_converse",
        "https://bedrock-runtime.us-east-1.amazonaws.com",
        (*_AMAZON, "apac.*", "global.*"),
        ("AWS_BEARER_TOKEN_BEDROCK",),
        key_needed=False,
        endpoint_variable="BEDROCK_ENDPOINT",
        security_level=_HIGH,
    ),
    Known(
        "ollama",
        "ollama_chat",
        "http://127.0.0.1:11434",
        _LOCAL,
        key_needed=False,
        endpoint_variable="OLLAMA_ENDPOINT",
        security_level=_HIGH,
    ),
    Known("openai", "openai_chat", "https://api.openai.com/v1", _OPENAI, ("OPENAI_API_KEY",)),
    Known(
        "anthropic",
        "anthropic_messages",
        "https://api.anthropic.com",
        ("claude-*",),
        ("ANTHROPIC_API_KEY",),
    ),
    Known(
        "grok", "openai_chat", "https://api.x.ai/v1", ("grok-*",), ("GROK_API_KEY", "XAI_API_KEY")
    ),
    Known(
        "xai", "openai_chat", "https://api.x.ai/v1", ("grok-*",), ("XAI_API_KEY", "GROK_API_KEY")
    ),
    Known(
        "gemini",
        "gemini_generate",
        "https://generativelanguage.googleapis.com",
        ("gemini-*", "gemma-*"),
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    Known(
        "azure",
        "openai_chat",
        None,
        _OPENAI,
        ("AZURE_OPENAI_API_KEY",),
        endpoint_variable="AZURE_OPENAI_ENDPOINT",
    ),
    Known(
        "mistral",
        "openai_chat",
        "https://api.mistral.ai/v1",
        ("mistral-*", "ministral-*", "codestral-*", "magistral-*", "devstral-*", "pixtral-*"),
        ("MISTRAL_API_KEY",),
    ),
    Known(
        "groq",
        "openai_chat",
        "https://api.groq.com/openai/v1",
        ("llama-*", "groq/*"),
        ("GROQ_API_KEY",),
    ),
    Known(
        "deepseek",
        "openai_chat",
        "https://api.deepseek.com/v1",
        ("deepseek-*",),
        ("DEEPSEEK_API_KEY",),
    ),
    Known(
        "together",
        "openai_chat",
        "https://api.together.xyz/v1",
        ("meta-llama/*", "Qwen/*", "deepseek-ai/*", "mistralai/*", "google/*"),
        ("TOGETHER_API_KEY",),
    ),
    Known(
        "openrouter",
        "openai_chat",
        "https://openrouter.ai/api/v1",
        (
            "openai/*",
            "anthropic/*",
            "google/*",
            "meta-llama/*",
            "mistralai/*",
            "deepseek/*",
            "qwen/*",
            "x-ai/*",
        ),
        ("OPENROUTER_API_KEY",),
    ),
    Known("cohere", "cohere_chat", "https://api.cohere.com", ("command-*",), ("COHERE_API_KEY",)),
    Known(
        "vllm",
        "openai_chat",
        "http://127.0.0.1:8000/v1",
        ("*",),
        ("VLLM_API_KEY",),
        key_needed=False,
        endpoint_variable="VLLM_ENDPOINT",
        security_level=_HIGH,
    ),
    Known(
        "llamacpp",
        "openai_chat",
        "http://127.0.0.1:8080/v1",
        ("*",),
        ("LLAMACPP_API_KEY",),
        key_needed=False,
        endpoint_variable="LLAMACPP_ENDPOINT",
        security_level=_HIGH,
    ),
    Known(
        "mock",
        "openai_chat",
        "http://127.0.0.1:9001/v1",
        ("*",),
        key_needed=False,
    ),
)

KNOWN = {known.name: known for known in _KNOWN}
"""every built-in provider by name, in the order that providers from the environment take"""


def find(name: str) -> Known | None:
    return KNOWN.get(name)


def matches(patterns: Iterable[str], model: str) -> bool:
    """Whether one of the patterns (a name, a prefix ending in `*`, or `*`) takes in the model."""
    return any(
        model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern
        for pattern in patterns
    )

"""The providers of the matrix: one for each language, and the variants of some languages.

Pure data: what each is called, which of its models is asked for what, and what its
requests must look like when they arrive. All of them are the mock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from extproc.mock import MockProvider
from tests.e2e.harness import closed_port

REGION, PROJECT = "europe-west1", "reading-room"


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a variant's requests arrive: their path, the header of its credential, members of the body.

    `has` are members with their values, `lacks` those that must not be there.
    """

    path: str
    credential: str
    has: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lacks: tuple[str, ...] = ()

    def check(self, path: str, headers: Mapping[str, str], body: Any) -> None:
        """Asserts all of it."""
        assert re.fullmatch(self.path, path), f"another path than {self.path}: {path}"
        assert self.credential in headers, f"no {self.credential}: {sorted(headers)}"
        assert {name: body.get(name) for name in self.has} == self.has
        assert not body.keys() & set(self.lacks), f"its body has {body.keys() & set(self.lacks)}"


@dataclass(frozen=True, slots=True)
class Provider:
    """`skills` are models for what `model` cannot do. `block` is what its configuration has besides.

    `base` follows the mock's address. `auth` is how its requests are signed. `wordless`: it
    refuses in plain text. `hides`: what it thinks is not shown. `effortless`: it cannot be told
    how much to think.
    """

    name: str
    dialect: str
    title: str
    model: str
    skills: Mapping[str, str] = field(default_factory=dict[str, str])
    base: str = ""
    block: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arrival: Arrival | None = None
    auth: Literal["key", "aws", "google"] = "key"
    wordless: bool = False
    hides: bool = False
    effortless: bool = False

    @property
    def signed(self) -> bool:
        """Whether its requests bear a signature."""
        return self.auth == "aws"

    def configured(self, mock: MockProvider, account: Path) -> dict[str, Any]:
        """Its block of `sluice.yaml`. `account` is the key file of Google's."""
        credentials: Mapping[str, Mapping[str, Any]] = {
            "key": {"api_key": "${ACME_KEY}"},
            "aws": {"auth": "aws"},
            "google": {"auth": {"google": {"credentials_file": str(account)}}},
        }
        return {
            "dialect": self.dialect,
            "endpoint": mock.url + self.base,
            "models": [any_model(self.name) + "*"],
            **credentials[self.auth],
            **self.block,
        }


def any_model(name: str) -> str:
    """How all names begin that go to this provider as they are."""
    return f"any-{name}-"


LANGUAGES = (
    Provider(
        "openai_chat",
        "openai_chat",
        "OpenAI Chat",
        "gpt-5-mini",
        # OpenAI's own do not show in this language what they think.
        {
            "thinking": "qwen3",
            "embedding": "text-embedding-3-small",
            "ranking": "jina-reranker-v3",
        },
        "/v1",
    ),
    Provider("openai_responses", "openai_responses", "OpenAI Responses", "gpt-5-mini", base="/v1"),
    Provider("anthropic_messages", "anthropic_messages", "Anthropic", "claude-sonnet-4-5"),
    Provider(
        "gemini_generate",
        "gemini_generate",
        "Gemini",
        "gemini-3-flash-preview",
        {"embedding": "gemini-embedding-001"},
    ),
    Provider(
        "bedrock_converse",
        "bedrock_converse",
        "Bedrock",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"embedding": "amazon.titan-embed-text-v2:0", "ranking": "amazon.rerank-v1:0"},
    ),
    Provider(
        "ollama_chat",
        "ollama_chat",
        "Ollama",
        "qwen3",
        {"embedding": "nomic-embed-text"},
        wordless=True,
    ),
    Provider(
        "cohere_chat",
        "cohere_chat",
        "Cohere",
        "command-a-03-2025",
        {
            "thinking": "command-a-reasoning-08-2025",
            "seeing": "command-a-vision-07-2025",
            "embedding": "embed-v4.0",
            "ranking": "rerank-v3.5",
        },
        wordless=True,
    ),
    Provider(
        "openai_completions",
        "openai_completions",
        "OpenAI Completions",
        "gpt-3.5-turbo-instruct",
        base="/v1",
        wordless=True,
    ),
)
"""in the order of the table's columns"""

_VERTEX = {"variant": "vertex", "project": PROJECT, "region": REGION}
_PLACE = f"/v1(beta1)?/projects/{PROJECT}/locations/{REGION}/publishers"

_DEEPSEEK = {"capabilities": {"deepseek-*": {"json_schema": False}}}

VARIANTS = (
    Provider(
        "azure",
        "openai_chat",
        "Azure OpenAI",
        "gpt-5-mini",
        {"embedding": "text-embedding-3-small"},
        block={"variant": "azure", "api_version": "2025-04-01-preview"},
        arrival=Arrival(
            r"/openai/deployments/gpt-5-mini/chat/completions\?api-version=2025-04-01-preview",
            "api-key",
        ),
        hides=True,
    ),
    Provider(
        "azure-responses",
        "openai_responses",
        "Azure OpenAI (Responses)",
        "gpt-5-mini",
        block={"variant": "azure"},
        arrival=Arrival("/openai/v1/responses", "api-key", {"model": "gpt-5-mini"}),
    ),
    Provider(
        "bedrock-claude",
        "anthropic_messages",
        "Claude on Bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        block={"variant": "bedrock", "region": "us-east-1"},
        arrival=Arrival(
            r"/model/us\.anthropic\.claude-sonnet-4-5-20250929-v1%3A0/invoke(-with-response-stream)?",
            "authorization",
            {"anthropic_version": "bedrock-2023-05-31"},
            ("model", "stream"),
        ),
        auth="aws",
    ),
    Provider(
        "vertex-claude",
        "anthropic_messages",
        "Claude on Vertex",
        "claude-sonnet-4-5@20250929",
        block=_VERTEX,
        arrival=Arrival(
            _PLACE + r"/anthropic/models/claude-sonnet-4-5@20250929:(rawPredict|streamRawPredict)",
            "authorization",
            {"anthropic_version": "vertex-2023-10-16"},
            ("model",),
        ),
        auth="google",
    ),
    Provider(
        "vertex-gemini",
        "gemini_generate",
        "Gemini on Vertex",
        "gemini-3-flash-preview",
        {"embedding": "text-embedding-005"},
        block=_VERTEX,
        arrival=Arrival(
            _PLACE + r"/google/models/gemini-3-flash-preview"
            r":(generateContent|streamGenerateContent\?alt=sse)",
            "x-goog-api-key",
        ),
    ),
    Provider(
        "mistral",
        "openai_chat",
        "Mistral",
        "mistral-large-latest",
        {"thinking": "magistral-medium-latest", "seeing": "pixtral-large-latest"},
        "/v1",
        arrival=Arrival(
            "/v1/chat/completions", "authorization", {}, ("max_completion_tokens", "seed")
        ),
        wordless=True,
        effortless=True,
    ),
    Provider(
        "xai",
        "openai_chat",
        "xAI",
        "grok-4-fast-non-reasoning",
        {"thinking": "grok-3-mini"},
        "/v1",
        wordless=True,
    ),
    Provider(
        "deepseek",
        "openai_chat",
        "DeepSeek",
        "deepseek-chat",
        {"thinking": "deepseek-reasoner"},
        "/v1",
        block=_DEEPSEEK,
        arrival=Arrival("/v1/chat/completions", "authorization", {}, ("max_completion_tokens",)),
        wordless=True,
    ),
    Provider("vllm", "openai_chat", "vLLM", "Qwen/Qwen3-32B", base="/v1", wordless=True),
)

_OLDER = Provider(
    "older-claude", "anthropic_messages", "Claude without schemas", "claude-sonnet-4-0"
)
_OF = {provider.name: provider for provider in (*LANGUAGES, *VARIANTS, _OLDER)}
PICKY = {
    name: replace(_OF[name], name=f"picky-{name}", block={**_OF[name].block, "on_lossy": "reject"})
    for name in ("openai_completions", "deepseek", "older-claude")
}
"""those whose operator wants no loss in the middle ground, by the name of the same without"""
PROVIDERS = {**_OF, **{provider.name: provider for provider in PICKY.values()}}


def alias(provider: str, skill: str = "") -> str:
    """What clients call the provider's model."""
    return f"{skill}-on-{provider.replace('_', '-')}".removeprefix("-")


def blocks(mock: MockProvider, account: Path) -> dict[str, Any]:
    """The gateway's configuration: every provider, and an alias for each of its models."""
    named = {provider.name.replace("_", "-"): provider for provider in PROVIDERS.values()}
    aliases = {
        alias(provider.name, skill): [{"provider": name, "model": model}]
        for name, provider in named.items()
        for skill, model in {"": provider.model, **provider.skills}.items()
    }
    configured = {name: provider.configured(mock, account) for name, provider in named.items()}
    configured["away"] = {
        "dialect": "anthropic_messages",
        "endpoint": f"{mock.url}/fault/status=529",
        "api_key": "${ACME_KEY}",
        "models": ["away-model"],
    }
    away = {"provider": "away", "model": "away-model"}
    failing: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
        "unreachable": ({"endpoint": f"http://127.0.0.1:{closed_port()}/v1"}, ("m",)),
        "late": ({"endpoint": mock.fault_url("delay=9s"), "timeout": "200ms"}, ("m",)),
        "resting": ({"endpoint": mock.fault_url("status=429;retry-after=300")}, ("m", "n")),
    }
    for name, (how, models) in failing.items():
        configured[name] = {"dialect": "openai_chat", "models": list(models), **how}
    failed = {name: [f"{name}/{one}" for one in models] for name, (_, models) in failing.items()}
    fallen = {fallen_to(name): {"targets": [away, *to]} for name, to in aliases.items()}
    return {
        "providers": configured,
        "models": {**aliases, **fallen, **failed},
        # who is away is asked each time
        "routing": {
            "breaker": {"failures": 1000, "minimum": 100000},
            "budget": {"minimum": 100000},
        },
    }


def fallen_to(alias: str) -> str:
    """What clients call a model whose first provider is away, so that this one answers."""
    return f"fallen-to-{alias}"

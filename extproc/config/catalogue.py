"""The providers that need no introduction: what a name alone says.

A table and look-ups in it. Never reads the environment; it only knows the
names of variables. Endpoints are the base URLs that the providers' own SDKs use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from extproc.config.schema import SecurityLevel

DIALECTS = frozenset(
    {
        "openai_chat",
        "openai_completions",
        "openai_responses",
        "anthropic_messages",
        "bedrock_converse",
        "cohere_chat",
        "gemini_generate",
        "ollama_chat",
    }
)
"""wire languages that a provider may speak, built in already or not"""


OPENAI = ("openai_chat", "openai_responses", "openai_completions")

_ALL = ("*",)
_CLAUDE = ("*claude*",)
VARIANTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "azure": dict.fromkeys(OPENAI, _ALL),
    "vertex": {
        "gemini_generate": ("*gemini*", "*gemma*", "*embedding*"),
        "anthropic_messages": _CLAUDE,
    },
    "bedrock": {"bedrock_converse": _ALL, "anthropic_messages": _CLAUDE},
}
"""variant -> the dialects that it is a variant of -> the models that it serves in each"""

_LISTINGS = {
    **dict.fromkeys(OPENAI, "/models"),
    "anthropic_messages": "/v1/models?limit=1",
    "cohere_chat": "/v1/models?page_size=1",
    "gemini_generate": "/v1beta/models?pageSize=1",
    "ollama_chat": "/api/tags",
}
_UNLISTED = frozenset({"bedrock", "vertex"})
"""variants whose hosts list nothing, or elsewhere"""

VERSIONED = frozenset({"anthropic_messages", "gemini_generate"})
"""dialects whose API has versions; the variant azure has them too"""

ANTHROPIC_VERSION = "2023-06-01"
AWS_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Known:
    """`key_variables`: the first that is set holds the key. `key_needed`: it is useless without.

    `dialects`: the first is what it is spoken to in, the others it speaks too.
    `endpoint` None: there is no default, since it is each customer's own; `{region}` in it stands
    for the region. `variables` are those of other keys, `needs` those of them that it is useless
    without. `models` are patterns of the names it serves when the configuration gives none.
    `by_name_only`: its variables alone do not make it a provider.
    """

    name: str
    dialects: tuple[str, ...]
    endpoint: str | None
    models: tuple[str, ...]
    key_variables: tuple[str, ...] = ()
    key_needed: bool = True
    endpoint_variable: str | None = None
    security_level: SecurityLevel = SecurityLevel.MEDIUM
    variant: str = ""
    variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    needs: tuple[str, ...] = ()
    by_name_only: bool = False


_CHAT = ("openai_chat",)
_OPENAI = (
    *("gpt-*", "chatgpt-*", "codex-*", "o1*", "o3*", "o4*", "ft:*", "text-embedding-*"),
    *("omni-moderation-*", "text-moderation-*", "tts-*", "whisper-*", "dall-e-*", "sora-*"),
)
_LOCAL = ("llama*", "qwen*", "gemma*", "phi*", "codellama*", "mistral*", "nomic-embed*")
_AMAZON = ("anthropic.*", "amazon.*", "meta.*", "mistral.*", "cohere.*", "ai21.*", "us.*", "eu.*")
_HIGH = SecurityLevel.HIGH

_KNOWN = (
    Known(
        "bedrock",
        ("bedrock_converse", "anthropic_messages"),
        "https://bedrock-runtime.{region}.amazonaws.com",
        (*_AMAZON, "apac.*", "global.*"),
        ("AWS_BEARER_TOKEN_BEDROCK",),
        key_needed=False,
        endpoint_variable="BEDROCK_ENDPOINT",
        security_level=_HIGH,
        variant="bedrock",
        variables={"region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
    ),
    Known(
        "ollama",
        ("ollama_chat",),
        "http://127.0.0.1:11434",
        _LOCAL,
        key_needed=False,
        endpoint_variable="OLLAMA_ENDPOINT",
        security_level=_HIGH,
    ),
    Known("openai", OPENAI, "https://api.openai.com/v1", _OPENAI, ("OPENAI_API_KEY",)),
    Known(
        "anthropic",
        ("anthropic_messages",),
        "https://api.anthropic.com",
        ("claude-*",),
        ("ANTHROPIC_API_KEY",),
    ),
    Known("grok", OPENAI[:2], "https://api.x.ai/v1", ("grok-*",), ("GROK_API_KEY", "XAI_API_KEY")),
    Known(
        "xai",
        OPENAI[:2],
        "https://api.x.ai/v1",
        ("grok-*",),
        ("XAI_API_KEY", "GROK_API_KEY"),
        by_name_only=True,
    ),
    Known(
        "gemini",
        ("gemini_generate",),
        "https://generativelanguage.googleapis.com",
        ("gemini-*", "gemma-*"),
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    Known(
        "vertex",
        ("gemini_generate", "anthropic_messages"),
        "https://{region}-aiplatform.googleapis.com",
        ("gemini-*", "claude-*"),
        key_needed=False,
        variant="vertex",
        variables={"project": ("GOOGLE_CLOUD_PROJECT",), "region": ("GOOGLE_CLOUD_LOCATION",)},
        needs=("project", "region"),
        by_name_only=True,
    ),
    Known(
        "azure",
        OPENAI[:2],
        None,
        _OPENAI,
        ("AZURE_OPENAI_API_KEY",),
        endpoint_variable="AZURE_OPENAI_ENDPOINT",
        variant="azure",
        variables={"api_version": ("OPENAI_API_VERSION",)},
    ),
    Known(
        "mistral",
        _CHAT,
        "https://api.mistral.ai/v1",
        ("mistral-*", "ministral-*", "codestral-*", "magistral-*", "devstral-*", "pixtral-*"),
        ("MISTRAL_API_KEY",),
    ),
    Known(
        "groq",
        OPENAI[:2],
        "https://api.groq.com/openai/v1",
        ("llama-*", "groq/*"),
        ("GROQ_API_KEY",),
    ),
    Known(
        "deepseek",
        _CHAT,
        "https://api.deepseek.com/v1",
        ("deepseek-*",),
        ("DEEPSEEK_API_KEY",),
    ),
    Known(
        "together",
        ("openai_chat", "openai_completions"),
        "https://api.together.xyz/v1",
        ("meta-llama/*", "Qwen/*", "deepseek-ai/*", "mistralai/*", "google/*"),
        ("TOGETHER_API_KEY",),
    ),
    Known(
        "openrouter",
        _CHAT,
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
    Known(
        "cohere",
        ("cohere_chat",),
        "https://api.cohere.com",
        ("command-*", "c4ai-*", "embed-*", "rerank-*"),
        ("COHERE_API_KEY",),
    ),
    Known(
        "vllm",
        OPENAI,
        "http://127.0.0.1:8000/v1",
        ("*",),
        ("VLLM_API_KEY",),
        key_needed=False,
        endpoint_variable="VLLM_ENDPOINT",
        security_level=_HIGH,
    ),
    Known(
        "llamacpp",
        ("openai_chat", "openai_completions"),
        "http://127.0.0.1:8080/v1",
        ("*",),
        ("LLAMACPP_API_KEY",),
        key_needed=False,
        endpoint_variable="LLAMACPP_ENDPOINT",
        security_level=_HIGH,
    ),
    Known(
        "mock",
        OPENAI,
        "http://127.0.0.1:9001/v1",
        ("*",),
        key_needed=False,
    ),
)

KNOWN = {known.name: known for known in _KNOWN}
"""every built-in provider by name, in the order that providers from the environment take"""


def find(name: str) -> Known | None:
    return KNOWN.get(name)


def home(variant: str, region: str) -> str | None:
    """The endpoint of a region, for a variant whose hosts have regions."""
    match variant:
        case "bedrock":
            china = ".cn" if region.startswith("cn-") else ""
            return f"https://bedrock-runtime.{region}.amazonaws.com{china}"
        case "vertex" if region == "global":
            return "https://aiplatform.googleapis.com"
        case "vertex" if region in ("us", "eu"):
            return f"https://aiplatform.{region}.rep.googleapis.com"
        case "vertex":
            return f"https://{region}-aiplatform.googleapis.com"
        case _:
            return None


def listing(dialect: str, variant: str) -> str | None:
    """Where a provider of this dialect lists its models, below its endpoint, as briefly as it can;
    None: nowhere that is known. To ask for that costs no token."""
    return None if variant in _UNLISTED else _LISTINGS.get(dialect)


def languages(variant: str, spoken: tuple[str, ...], model: str) -> tuple[str, ...]:
    """Those of the dialects spoken in which a model is served, in order; the first, where nobody knows."""
    of = VARIANTS.get(variant, {})
    name = model.lower()
    found = [d for d in spoken if any(fnmatchcase(name, p) for p in of.get(d, _ALL))]
    return tuple(found) or spoken[:1]


def matches(patterns: Iterable[str], model: str) -> bool:
    """Whether one of the patterns (a name, a prefix ending in `*`, or `*`) takes in the model."""
    return any(
        model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern
        for pattern in patterns
    )

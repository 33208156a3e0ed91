"""What one provider or model of this language takes and another does not, as data.

Takes a target; gives its `Quirks`, and the paths of its endpoints. Rows are looked
up from the top: first those of a provider, known by its host or by the name that it
has in the configuration, then those of models, which many providers may serve. Nothing
here is sent, refused or dropped: `foreign` and `render` ask.

Sources: OpenAI's model pages, Azure's REST reference, the API pages of xAI, DeepSeek,
Mistral, Groq and Cerebras, of which the last three answer 400 or 422 to a member they
do not know. DeepSeek passes over `max_completion_tokens` without a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from extproc.dialects import _names
from extproc.model.call import Target
from extproc.model.fields import Field

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""from least to most"""

SETTINGS = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.STOP,
        Field.SEED,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.N,
        Field.LOGPROBS,
        Field.LOGIT_BIAS,
        Field.USER,
        Field.METADATA,
        Field.SERVICE_TIER,
        Field.STORE,
        Field.CACHE_KEY,
        Field.CACHE_RETENTION,
        Field.VERBOSITY,
        Field.SAFETY_IDENTIFIER,
    }
)
"""all that the language has; OpenAI takes it, and so do those who pass over what they do not know"""
_NOT_TERSE = SETTINGS - {Field.VERBOSITY}
_SHARED = _NOT_TERSE - {
    Field.METADATA,
    Field.STORE,
    Field.CACHE_KEY,
    Field.CACHE_RETENTION,
    Field.SAFETY_IDENTIFIER,
}
_UNPUNISHED = SETTINGS - {Field.FREQUENCY_PENALTY, Field.PRESENCE_PENALTY}
_OF_MISTRAL = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.STOP,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.N,
        Field.CACHE_KEY,
    }
)
_OF_DEEPSEEK = _OF_MISTRAL - {Field.N, Field.CACHE_KEY} | {Field.LOGPROBS}
_MEDIA = frozenset({Field.IMAGE, Field.AUDIO, Field.DOCUMENT})
_SEES = frozenset({Field.IMAGE})


@dataclass(frozen=True, slots=True)
class Quirks:
    """`efforts`: the reasoning efforts it knows; empty: it refuses the field.

    `carried`: the settings that it takes. `stops`: how many stop sequences. `limit`: the one name
    of the token limit that it knows, None: either. `tells_usage`: its streams end with usage
    unasked, and to ask is an error. `media`: what it takes but text. `ids`: what the id of a tool call looks like, and `id_length`
    how long one is that we make.
    """

    efforts: tuple[str, ...] = ("low", "medium", "high")
    carried: frozenset[Field] = SETTINGS
    stops: int = 4
    limit: str | None = None
    tells_usage: bool = False
    media: frozenset[Field] = _MEDIA
    ids: re.Pattern[str] = re.compile(r"[A-Za-z0-9_-]{1,40}")
    id_length: int = 25


_TO_HIGH = ("low", "medium", "high")
_OLD, _NEW = "max_tokens", "max_completion_tokens"
_NO_STOP = Quirks(carried=_NOT_TERSE, stops=0, limit=_NEW)
_GROK = Quirks(efforts=(), media=_SEES)
_GROK_THINKS = replace(_GROK, carried=_UNPUNISHED, stops=0)
_OLDER = Quirks(efforts=(), carried=_NOT_TERSE)
_STRICT = Quirks(carried=_SHARED, media=_SEES)
_MISTRALS = Quirks(efforts=(), ids=re.compile(r"[A-Za-z0-9]{9}"), id_length=9)
"""of its models, wherever they are"""
_MISTRAL = replace(
    _MISTRALS,
    carried=_OF_MISTRAL,
    limit=_OLD,
    tells_usage=True,
    media=_SEES | {Field.AUDIO},
)
_DEEPSEEK = Quirks(carried=_OF_DEEPSEEK, limit=_OLD, media=frozenset())

_PROVIDERS: tuple[tuple[str, str, str, Quirks], ...] = (
    ("mistral", "mistral.ai", r"mistral-small", replace(_MISTRAL, efforts=("none", "high"))),
    ("mistral", "mistral.ai", r"", _MISTRAL),
    ("deepseek", "deepseek.com", r"", _DEEPSEEK),
    ("groq", "groq.com", r"", _STRICT),
    ("cerebras", "cerebras.ai", r"", _STRICT),
)
_MODELS: tuple[tuple[str, Quirks], ...] = (
    (r"(o3(?!-mini)|o4-mini)", _NO_STOP),
    (r"o\d", Quirks(carried=_NOT_TERSE, limit=_NEW)),
    (r"gpt-5-chat", replace(_OLDER, limit=_NEW)),
    (r"gpt-[34]|chatgpt", _OLDER),
    (r"gpt-5(?!\.)", Quirks(efforts=("minimal", *_TO_HIGH), limit=_NEW)),
    (r"gpt-5\.1", Quirks(efforts=("none", *_TO_HIGH), limit=_NEW)),
    (r"gpt-[5-9]", Quirks(efforts=("none", *_TO_HIGH, "xhigh"), limit=_NEW)),
    (r"grok-3-mini", replace(_GROK_THINKS, efforts=("low", "high"))),
    (r"grok-.*non-reasoning|grok-[23]", _GROK),
    (r"grok-", _GROK_THINKS),
    (r"(open-)?(mistral|mixtral|ministral|magistral|codestral|devstral|pixtral)", _MISTRALS),
)
_COMPILED = tuple((re.compile(r"(?:.*/)?(?:" + name + ")"), found) for name, found in _MODELS)
_USUAL = Quirks()


def quirks_of(target: Target) -> Quirks:
    """Its provider's, else its model's, else what most do."""
    host = target.authority.partition(":")[0]
    return _quirks(target.provider, host, target.model.lower())


@lru_cache(maxsize=1024)
def _quirks(provider: str, host: str, model: str) -> Quirks:
    for name, ending, start, found in _PROVIDERS:
        if (provider == name or host.endswith(ending)) and re.match(start, model):
            return found
    return next((found for name, found in _COMPILED if name.match(model)), _USUAL)


def nearest_effort(effort: str, known: tuple[str, ...]) -> str | None:
    """The effort to ask for, or None when there is none that means it.

    What is missing becomes the next higher, else the highest; not to think at all becomes
    the least that there is, if that is `minimal`.
    """
    if effort in known:
        return effort
    if effort not in EFFORTS or not known:
        return None
    if effort == "none":
        return "minimal" if "minimal" in known else None
    higher = EFFORTS[EFFORTS.index(effort) :]
    return next((word for word in higher if word in known), known[-1])


# --- paths ----------------------------------------------------------------------------------

_OF_DEPLOYMENTS = ("/chat/completions", "/completions", "/embeddings", "/images/", "/audio/")


def path_of(target: Target, path: str, query: str = "") -> str:
    """Where the endpoint `path` is at this target, relative to its base path.

    Azure has it below the deployment that serves a model, with a version in the
    query; without a version, or with version `v1`, it is where OpenAI has it.
    """
    if target.variant != "azure":
        return _with(path, query)
    version = target.detail("api_version")
    if not version or target.base_path.endswith("/v1"):
        return _with(path, query)
    if version == "v1":
        return _with(f"/v1{path}", query)
    if target.model and path.startswith(_OF_DEPLOYMENTS):
        path = f"/deployments/{_names.write(target.model)}{path}"
    if "api-version=" not in query:
        query = f"{query}&api-version={version}" if query else f"api-version={version}"
    return _with(path, query)


def _with(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path

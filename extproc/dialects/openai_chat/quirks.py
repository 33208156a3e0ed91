"""What one provider or model of this language takes and another does not, as data.

Takes a target; gives its `Quirks`, the name of its token limit, and the paths
of its endpoints. Rows are looked up from the top, by the provider's host and
the model's name. Nothing here is sent, refused or dropped: `foreign` asks.

Sources: OpenAI's model pages, Azure's REST reference, the API pages of xAI, Mistral,
Groq and Cerebras, of which the last three answer 400 or 422 to a member they do not know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
    }
)


@dataclass(frozen=True, slots=True)
class Quirks:
    """`efforts`: the reasoning efforts it knows; empty: it refuses the field.

    `carried`: the settings that it takes. `stops`: how many stop sequences. `ids`: what the id of a tool call looks like, and
    `id_length` how long one is that we make.
    """

    efforts: tuple[str, ...] = ("low", "medium", "high")
    carried: frozenset[Field] = SETTINGS
    stops: int = 4
    ids: re.Pattern[str] = re.compile(r"[A-Za-z0-9_-]{1,40}")
    id_length: int = 25


_TO_HIGH = ("low", "medium", "high")
_NO_STOP = Quirks(carried=_NOT_TERSE, stops=0)
_PLAIN = Quirks(efforts=())
_OLDER = Quirks(efforts=(), carried=_NOT_TERSE)
_STRICT = Quirks(carried=_SHARED)
_MISTRAL = Quirks((), _OF_MISTRAL, ids=re.compile(r"[A-Za-z0-9]{9}"), id_length=9)

_ROWS: tuple[tuple[str, str, Quirks], ...] = (
    ("mistral.ai", r"", _MISTRAL),
    ("groq.com", r"", _STRICT),
    ("cerebras.ai", r"", _STRICT),
    ("", r"(o3(?!-mini)|o4-mini)", _NO_STOP),
    ("", r"o\d", Quirks(carried=_NOT_TERSE)),
    ("", r"gpt-5-chat|gpt-[34]|chatgpt", _OLDER),
    ("", r"gpt-5(?!\.)", Quirks(efforts=("minimal", *_TO_HIGH))),
    ("", r"gpt-5\.1", Quirks(efforts=("none", *_TO_HIGH))),
    ("", r"gpt-[5-9]", Quirks(efforts=("none", *_TO_HIGH, "xhigh"))),
    ("", r"grok-3-mini", Quirks(("low", "high"), _UNPUNISHED, stops=0)),
    ("", r"grok-.*non-reasoning|grok-[23]", _PLAIN),
    ("", r"grok-", Quirks((), _UNPUNISHED, stops=0)),
    ("", r"(open-)?(mistral|mixtral|ministral|magistral|codestral|devstral|pixtral)", _MISTRAL),
)
_COMPILED = tuple((host, re.compile(r"(?:.*/)?(?:" + name + ")"), q) for host, name, q in _ROWS)
_USUAL = Quirks()


def quirks_of(target: Target) -> Quirks:
    """The first row whose host the target's ends in and whose pattern its model starts with."""
    return _quirks(target.authority.partition(":")[0], target.model.lower())


@lru_cache(maxsize=1024)
def _quirks(host: str, model: str) -> Quirks:
    for ending, name, found in _COMPILED:
        if host.endswith(ending) and name.match(model):
            return found
    return _USUAL


_REASONS = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")


def refuses_max_tokens(model: str) -> bool:
    """OpenAI's reasoning models know `max_completion_tokens` only; many others nothing but the older name."""
    return _REASONS.match(model) is not None


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

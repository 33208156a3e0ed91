"""Words that the files of the Gemini dialect share: its name, shapes, finish reasons, usage, signatures.

Source: the reference of `generateContent` (Gemini API and Vertex AI).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping

from extproc.dialects._extras import SHAPE, fill
from extproc.dialects._extras import residue as residue_of
from extproc.dialects._reading import count
from extproc.dialects._signatures import unwrap, wrap
from extproc.model.chat import Extra, Json
from extproc.model.reply import Reason, Usage

NAME = "gemini_generate"

ARRAY = SHAPE + "array"
"""the client wants its stream as one JSON array, not as events"""
CALL_PARTS = SHAPE + "response"
"""the `response` object of a result, whose text is canonical, if it is not the usual one"""
DATA = SHAPE + "data"
"""`url`: the base64 was in the alphabet for URLs"""
ENTRY = SHAPE + "entry"
"""the number of the entry of `tools` in which a tool stood, if it is not the first"""
FORM = SHAPE + "form"
"""of reasoning without text: `own` stood on an empty text, `thought` on an empty thought"""
LEVEL = SHAPE + "level"
"""the thinking level as it was spelled"""
MODE = SHAPE + "mode"
"""the calling mode as it was spelled"""
NO_ID = SHAPE + "no_id"
"""a call or result that came without an id"""
ONE = SHAPE + "one"
"""names of members that held one object where a list belongs"""
OPTIONS = SHAPE + "options"
"""the body has our own object, which is cut out before it leaves"""
SCHEMA = SHAPE + "schema"
"""a schema in Gemini's own form, whose JSON Schema is canonical"""
TEXT_ONLY = SHAPE + "text_only"
"""the client asked for text and nothing else, as everyone does who asks for nothing"""
VERSION = SHAPE + "version"
"""the API's version in the client's path"""
WRAPPED = SHAPE + "wrapped"
"""a count's request stood in `generateContentRequest`; its other members are kept here"""

_GEN_3 = re.compile(r"gemini-(?:[3-9]|\d\d)|gemini-(?:pro|flash|flash-lite)-latest")


def is_gen_3(model: str) -> bool:
    """Whether the model is of the generation that insists on signatures, or newer."""
    return _GEN_3.match(model.rpartition("/")[2]) is not None


def residue(
    shape: Mapping[str, Json],
    known: Collection[str],
    nested: Mapping[str, Collection[str]] | None = None,
) -> Extra:
    """What `_extras.residue` keeps, for this dialect."""
    return residue_of(NAME, shape, known, nested)


def marked(extra: Extra, name: str, value: Json) -> Extra:
    """`extra` with one more member."""
    return Extra(NAME, {**extra.fields, name: value})


# --- finish reasons -------------------------------------------------------------------------

FINISH_NUMBERS: Mapping[int, str] = dict(
    enumerate(
        (
            "FINISH_REASON_UNSPECIFIED",
            "STOP",
            "MAX_TOKENS",
            "SAFETY",
            "RECITATION",
            "OTHER",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MALFORMED_FUNCTION_CALL",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "IMAGE_OTHER",
            "UNEXPECTED_TOOL_CALL",
            "NO_IMAGE",
        )
    )
)
"""Vertex's numbers, which it sends when asked for `enum-encoding=int`"""

_REASONS: Mapping[str, Reason] = {
    "STOP": Reason.STOP,
    "MAX_TOKENS": Reason.LENGTH,
    "CONTINUATION": Reason.PAUSED,
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "ESCALATION",
            "PUP_LIMITED_DISABLED",
            "MODEL_ARMOR",
            "JAILBREAK",
        ),
        Reason.FILTER,
    ),
}

BROKEN: frozenset[str] = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""the model wrote what cannot be used: no reply, but a failure"""
MALFORMED = "MALFORMED_FUNCTION_CALL"

_WORDS: Mapping[Reason, str] = {
    Reason.STOP: "STOP",
    Reason.STOP_SEQUENCE: "STOP",
    Reason.LENGTH: "MAX_TOKENS",
    Reason.CONTEXT: "MAX_TOKENS",
    Reason.TOOL: "STOP",
    Reason.FILTER: "SAFETY",
    Reason.REFUSAL: "SAFETY",
    Reason.PAUSED: "STOP",
    Reason.OTHER: "STOP",
}


def reason_of(word: str | None, saw_tool: bool) -> Reason:
    """The canonical reason. A turn with calls ends with a plain stop here."""
    reason = _REASONS.get(word or "STOP", Reason.OTHER)
    return Reason.TOOL if reason is Reason.STOP and saw_tool else reason


def word_of(reason: Reason, raw: str | None, at_home: bool) -> str:
    """The wire's word; the provider's own goes home, if it still says the same."""
    if at_home and raw and raw not in BROKEN:
        means = reason_of(raw, False)
        if means is reason or (means is Reason.STOP and reason is Reason.TOOL):
            return raw
    return _WORDS[reason]


# --- usage ----------------------------------------------------------------------------------

_COUNTS = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
)
_TOOL_USE = "toolUsePromptTokenCount"


def read_usage(value: Mapping[str, Json]) -> Usage | None:
    """Normalised usage, or None where nothing was counted. Counts that make no sense are 0.

    The prompt's count holds what the cache gave; thoughts are counted beside the
    answer, and what tools of the provider added beside the prompt.
    """
    if not any(name in value for name in _COUNTS):
        return None
    prompt = count(value.get("promptTokenCount"))
    cached = min(count(value.get("cachedContentTokenCount")), prompt)
    thoughts = count(value.get("thoughtsTokenCount"))
    total = value.get("totalTokenCount")
    fields = {name: _worded(name, item) for name, item in value.items() if name not in _COUNTS}
    return Usage(
        fresh=prompt - cached + count(value.get(_TOOL_USE)),
        cache_read=cached,
        output=count(value.get("candidatesTokenCount")) + thoughts,
        reasoning=thoughts,
        audio_in=_audio(value.get("promptTokensDetails")),
        audio_out=_audio(value.get("candidatesTokensDetails")),
        total=None if total is None else count(total),
        extra=Extra(NAME, fields),
    )


_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "modality": ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"),
    "trafficType": ("TRAFFIC_TYPE_UNSPECIFIED", "ON_DEMAND", "PROVISIONED_THROUGHPUT"),
}


def _worded(name: str, value: Json) -> Json:
    """Vertex's numbers as the words that every client knows."""
    if isinstance(value, list):
        return [_worded(name, item) for item in value]
    if isinstance(value, dict):
        return {below: _worded(below, item) for below, item in value.items()}
    if isinstance(value, int) and name in _NUMBERS and 0 <= value < len(_NUMBERS[name]):
        return _NUMBERS[name][value]
    return value


def write_usage(usage: Usage) -> dict[str, Json]:
    """The wire's `usageMetadata`."""
    home = usage.extra.home(NAME)
    out: dict[str, Json] = {
        "promptTokenCount": max(0, usage.prompt - count(home.get(_TOOL_USE))),
        "candidatesTokenCount": max(0, usage.output - usage.reasoning),
        "totalTokenCount": usage.prompt + usage.output if usage.total is None else usage.total,
    }
    if usage.cache_read:
        out["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        out["thoughtsTokenCount"] = usage.reasoning
    if usage.audio_in:
        out["promptTokensDetails"] = _split("AUDIO", usage.audio_in, usage.prompt)
    if usage.audio_out:
        spoken = usage.output - usage.reasoning
        out["candidatesTokensDetails"] = _split("AUDIO", usage.audio_out, spoken)
    out.update({name: item for name, item in home.items() if name.endswith("Details")})
    fill(out, home)
    return out


def _split(modality: str, part: int, whole: int) -> Json:
    text: Json = {"modality": "TEXT", "tokenCount": max(0, whole - part)}
    return [text, {"modality": modality, "tokenCount": part}]


def _audio(details: Json) -> int:
    if not isinstance(details, list):
        return 0
    return sum(
        count(item.get("tokenCount"))
        for item in details
        if isinstance(item, dict) and item.get("modality") in ("AUDIO", 4)
    )


# --- signatures -----------------------------------------------------------------------------

PACKED = "c2x1aWNlMS"
"""how a wrapped signature begins: `sluice1.` in base64, since the field holds bytes"""
_REDACTED = "!"
"""at the end of a wrapped signature's origin: it is redacted reasoning"""
_STANDARD = str.maketrans("-_", "+/")
_FOR_URLS = str.maketrans("+/", "-_")


def pack(value: str, origin: str, *, redacted: bool = False) -> str:
    """The `thoughtSignature` in which another provider's signature travels through a client."""
    wrapped = wrap(value, origin + _REDACTED if redacted else origin, NAME)
    return base64.b64encode(wrapped.encode()).decode()


def unpack(signature: str) -> tuple[str, str, bool]:
    """Signature, origin, and whether it is redacted reasoning. Google's own stay as they are."""
    if not signature.startswith(PACKED):
        return signature, NAME, False
    try:
        wrapped = base64.b64decode(standard(signature)).decode("ascii")
    except (ValueError, binascii.Error):
        return "", "", False
    value, origin = unwrap(wrapped, NAME)
    return value, origin.removesuffix(_REDACTED), origin.endswith(_REDACTED)


def standard(data: str) -> str:
    """Base64 in its usual alphabet and with its padding; this API takes that for URLs as well."""
    data = data.translate(_STANDARD) if "-" in data or "_" in data else data
    return data + "=" * (-len(data) % 4)


def for_urls(data: str) -> str:
    return data.translate(_FOR_URLS)

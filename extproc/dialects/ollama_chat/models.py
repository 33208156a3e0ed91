"""Model lists, one model, and the version in Ollama's shape.

Sizes, digests and families of models are not known to a gateway: they are empty,
in the shape that clients expect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from extproc.codec import jsontext
from extproc.model.call import Capabilities
from extproc.model.chat import Json
from extproc.model.dialect import ModelCard, WireReply
from extproc.model.errors import NotFound

VERSION = "\0version"
"""the name of no model: the version was asked for"""
_SPOKEN = "0.13.0"
"""of the server whose language this is; clients compare it"""
_LATEST = ":latest"


def render_models(models: Sequence[ModelCard], wanted: str | None) -> WireReply:
    """All, or the one that is `wanted`; a name without a tag means the tag `latest` too."""
    if wanted == VERSION:
        return _ok({"version": _SPOKEN})
    if wanted is None:
        cards: list[Json] = [_card(card) for card in models]
        return _ok({"models": cards})
    names = (wanted, wanted.removesuffix(_LATEST), wanted + _LATEST)
    for card in models:
        if card.id in names:
            return _ok(_shown(card))
    raise NotFound(f"model '{wanted[:128]}' not found", param="model", code="model_not_found")


def _details(card: ModelCard) -> Json:
    return {
        "parent_model": "",
        "format": "",
        "family": card.owner,
        "families": [card.owner],
        "parameter_size": "",
        "quantization_level": "",
    }


def _time(card: ModelCard) -> str:
    return datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z")


def _card(card: ModelCard) -> Json:
    return {
        "name": card.id,
        "model": card.id,
        "modified_at": _time(card),
        "size": 0,
        "digest": hashlib.sha256(card.id.encode("utf-8", "replace")).hexdigest(),
        "details": _details(card),
    }


def _shown(card: ModelCard) -> Json:
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(card),
        "model_info": _info(card),
        "capabilities": _capabilities(card.capabilities),
        "modified_at": _time(card),
    }


def _info(card: ModelCard) -> Json:
    """How much a model can hold is told below the name of its architecture."""
    size = card.capabilities.context
    if size is None:
        return {}
    return {"general.architecture": card.owner, f"{card.owner}.context_length": size}


def _capabilities(known: Capabilities) -> list[Json]:
    """What is known of it: clients offer tools and pictures only where they are named."""
    if known.embedding:
        return ["embedding"]
    can = (("tools", known.tools), ("vision", known.vision), ("thinking", known.reasoning))
    return ["completion", *(word for word, known in can if known)]


def _ok(value: Json) -> WireReply:
    return WireReply(
        200, {"content-type": "application/json; charset=utf-8"}, jsontext.dumps(value)
    )

"""The model list as Anthropic's clients read it: pages, or one model.

Takes the models that a caller may use and what was asked; gives the reply. Pages are
cut as Anthropic cuts them (`limit`, `after_id`, `before_id`), but whoever asks for no
limit gets all. It knows nothing of providers.

Source: Anthropic's API reference, GET /v1/models and /v1/models/{model_id}.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from extproc.codec import jsontext
from extproc.dialects._models import asked_for
from extproc.model.chat import Json, ListModels
from extproc.model.dialect import ModelCard, WireReply
from extproc.model.errors import InvalidRequest

_LONGEST_PAGE = 1000
_SHOWN = 128


def render_models(models: Sequence[ModelCard], asked: ListModels, call_id: str) -> WireReply:
    """Raises `NotFound` for a model that is not in the list, `InvalidRequest` for no page of it."""
    one = asked_for(models, asked, "model: {}")
    if one is not None:
        return _ok(_card(one), call_id)
    found, more = _page(models, dict(parse_qsl(asked.query)))
    cards: list[Json] = [_card(card) for card in found]
    page: dict[str, Json] = {
        "data": cards,
        "has_more": more,
        "first_id": found[0].id if found else None,
        "last_id": found[-1].id if found else None,
    }
    return _ok(page, call_id)


def _page(models: Sequence[ModelCard], asked: dict[str, str]) -> tuple[Sequence[ModelCard], bool]:
    """The page, and whether there are more in the direction in which the client reads."""
    limit = _limit(asked["limit"]) if "limit" in asked else len(models)
    if "before_id" in asked:
        end = _place(models, asked, "before_id")
        start = max(0, end - limit)
        return models[start:end], start > 0
    start = _place(models, asked, "after_id") + 1 if "after_id" in asked else 0
    return models[start : start + limit], start + limit < len(models)


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 1 <= limit <= _LONGEST_PAGE:
        raise InvalidRequest(f"limit: must be from 1 to {_LONGEST_PAGE}", param="limit")
    return limit


def _place(models: Sequence[ModelCard], asked: dict[str, str], name: str) -> int:
    for place, card in enumerate(models):
        if card.id == asked[name]:
            return place
    raise InvalidRequest(f"{name}: no such model: {asked[name][:_SHOWN]}", param=name)


def _card(card: ModelCard) -> Json:
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": datetime.fromtimestamp(card.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
    }


def _ok(value: Json, call_id: str) -> WireReply:
    headers = {"content-type": "application/json", "request-id": call_id}
    return WireReply(200, headers, jsontext.dumps(value))

"""Model lists: what every language does alike before it writes its own shape."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.model.chat import ListModels
from extproc.model.dialect import ModelCard
from extproc.model.embed import Request
from extproc.model.errors import NotFound

_SHOWN = 128


def asked_for(models: Sequence[ModelCard], request: Request, absent: str) -> ModelCard | None:
    """The one model that is asked for, or None where all of them are.

    Raises `NotFound` if it is not among `models`; `absent` says that in the dialect's
    own words, with `{}` in place of the name.
    """
    name = request.model if isinstance(request, ListModels) else None
    if name is None:
        return None
    for card in models:
        if card.id == name:
            return card
    raise NotFound(absent.format(name[:_SHOWN]), param="model", code="model_not_found")

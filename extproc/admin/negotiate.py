"""Which form of an answer the client wants: of `/metrics`, and with how much detail. Pure."""

from __future__ import annotations

from enum import Enum

from extproc.model.errors import InvalidRequest


class Form(Enum):
    JSON = "json"
    PROMETHEUS = "prometheus"
    OPENMETRICS = "openmetrics"


_MEDIA = {
    "application/openmetrics-text": Form.OPENMETRICS,
    "text/plain": Form.PROMETHEUS,
    "application/json": Form.JSON,
    "application/*": Form.JSON,
    "text/*": Form.PROMETHEUS,
    "*/*": Form.JSON,
}
"""media types that we know, the more particular first: that order decides between equals"""


def choose(accept: str, asked: str | None) -> Form:
    """`asked` is `?format=` and wins; then the best of `Accept` by its q; JSON where nothing fits.

    A client that takes anything, as curl does, gets JSON; a scraper names what
    it wants. Raises InvalidRequest for a format that does not exist.
    """
    if asked is not None:
        try:
            return Form(asked)
        except ValueError:
            raise InvalidRequest(
                f"Unknown format {asked[:40]!r}; expected json, prometheus or openmetrics.",
                param="format",
            ) from None
    best = Form.JSON
    best_rank = (0.0, 0)
    ranks = {media: -place for place, media in enumerate(_MEDIA)}
    for entry in accept.lower().split(","):
        media, *parameters = (word.strip() for word in entry.split(";"))
        rank = (_quality(parameters), ranks.get(media, -len(ranks)))
        if media in _MEDIA and rank[0] > 0 and (best_rank[0] == 0.0 or rank > best_rank):
            best, best_rank = _MEDIA[media], rank
    return best


def wants_detail(asked: str | None) -> bool:
    """`?detail=`: 1 or 0, and 0 where it is absent. Raises InvalidRequest for anything else."""
    if asked not in (None, "0", "1"):
        raise InvalidRequest(f"Unknown detail {asked[:40]!r}; expected 1 or 0.", param="detail")
    return asked == "1"


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0

"""Model names that stand in a path: taken out once, checked, and put in again.

A client's name must never become another path at a provider: no dot segments,
no second decoding, no query.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from extproc.model.call import Target
from extproc.model.errors import InvalidRequest

_LONGEST = 256
_NAME = re.compile(r"[A-Za-z0-9][\w.:@+-]*(?:/[A-Za-z0-9][\w.:@+-]*)*", re.ASCII)
_BEDROCK_ARN = re.compile(
    r"arn:aws[\w-]*:(?:bedrock|sagemaker):[a-z0-9-]*:\d{0,12}:[\w-]+/[\w.:/-]+", re.ASCII
)

_RESOURCES = ("projects/", "publishers/", "endpoints/")
_TURNS = re.compile(r"\.\.|(?:^|/)\.?(?:/|$)|[%?#;\\\x00-\x1f\x7f\ud800-\udfff]")
"""what would turn a name into another path (an empty or a dot segment too), a query or parameters"""


def read(text: str) -> str:
    """The model named by a piece of a path, decoded once. Raises `InvalidRequest`."""
    name = unquote(text)
    fits = len(name) <= _LONGEST and ".." not in name
    if fits and (_NAME.fullmatch(name) or _BEDROCK_ARN.fullmatch(name)):
        return name
    raise _bad()


def write(model: str, *, safe: str = "") -> str:
    """The name as one segment of a path. `safe` are characters that stay as they are.

    Raises `InvalidRequest`: the name may come from a client's body. Quoted it would be one
    segment here, and yet another path to whoever decodes it once more.
    """
    if _TURNS.search(model):
        raise _bad()
    return quote(model, safe=f"{safe}-._~")


def on_vertex(model: str, publisher: str, target: Target) -> str:
    """Where a model is at Vertex, below the version. Raises `InvalidRequest`.

    A bare name is the publisher's; one that begins with `publishers/` or `endpoints/`, or with the
    project, says itself where it is.
    """
    place = ""
    if not model.startswith("projects/") and (project := target.detail("project")):
        place = f"projects/{project}/locations/{target.detail('region')}/"
    if not model.startswith(_RESOURCES):
        model = f"publishers/{publisher}/models/{write(model, safe='@')}"
    else:
        model = write(model, safe="/@")
    return place + model


def _bad() -> InvalidRequest:
    return InvalidRequest(
        "The model's name has characters that no model has.",
        param="model",
        code="invalid_model_name",
    )

"""Paths of the Gemini API and of Vertex: a client's taken apart, a provider's put together.

`/v1beta/models/{model}:{verb}` on the one, and on the other
`/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:{verb}`.
A client's model never becomes another path: it is read once and written anew.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qs

from extproc.dialects import _names
from extproc.model.call import Target
from extproc.model.errors import InvalidRequest, NotFound
from extproc.model.value import value

VERTEX = "vertex"
_VERSIONS = ("v1", "v1beta1")
"""of Vertex"""
_VERB = re.compile(r"[A-Za-z]{1,64}")
_PROJECT = re.compile(r"/(v1|v1beta1)/projects/[^/]+/locations/[^/]+(?=/)")


@value
class Place:
    """What a path says: `version` is `v1`, `v1beta` or `v1beta1`; `verb` may be empty."""

    version: str
    model: str
    verb: str = ""


@lru_cache(maxsize=256)
def place_of(path: str, *, has_verb: bool = True) -> Place:
    """The model and verb that a client's path names. Raises `InvalidRequest`, or `NotFound` without a model."""
    _, version, rest = [*path.split("/", 2), "", ""][:3]
    before, found, name = f"/{rest}".partition("/models/")
    if not found or (before and not before.startswith(("/projects/", "/publishers/"))):
        before, found, name = rest.partition("tunedModels/")
        if before or not found:
            raise NotFound("the path names no model", param="model", code="model_not_found")
        name = found + name
    verb = ""
    if has_verb and ":" in name.rpartition("/")[2]:
        name, _, verb = name.rpartition(":")
    if "%2f" in name.lower() or (verb and not _VERB.fullmatch(verb)):
        raise InvalidRequest(
            "The path must be that of a model and a method.",
            param="model",
            code="invalid_model_name",
        )
    return Place(version, _names.read(name), verb)


def wants_events(query: str) -> bool:
    """Whether a client wants its stream as server-sent events, and not as one JSON array."""
    values = parse_qs(query)
    return "sse" in (values.get("alt") or values.get("$alt") or [""])[-1]


def path_to(target: Target, verb: str, version: str = "", query: str = "") -> str:
    """The provider's path. `version` is the one that a client of this dialect asked for."""
    end = f":{verb}?{query}" if query else f":{verb}"
    model = target.model
    if target.variant != VERTEX:
        rooted = model.startswith(("models/", "tunedModels/"))
        name = _names.write(model, safe="/") if rooted else f"models/{_names.write(model)}"
        return f"/v1beta/{name}{end}"
    chosen = version if version in _VERSIONS else "v1"
    return f"/{chosen}/{_names.on_vertex(model, 'google', target)}{end}"


def moved(path: str, target: Target) -> str | None:
    """A path that is not a model's, as this provider has it; None where it has none."""
    if target.variant != VERTEX:
        return None if _PROJECT.match(path) else path
    if not _PROJECT.match(path):
        return None
    place = f"/projects/{target.detail('project')}/locations/{target.detail('region')}"
    return _PROJECT.sub(lambda found: f"/{found[1]}{place}", path, count=1)

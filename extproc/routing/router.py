"""Which provider answers: a pure function of the atlas, the caller and the request.

Gives a `Plan`, or raises `NotFound`, `InvalidRequest`, `PermissionDenied` or
`Overloaded` with the reason. Never asks Envoy and never waits.
"""

from __future__ import annotations

from extproc.model.call import Caller
from extproc.model.dialect import LIST_MODELS
from extproc.model.embed import Embed, Opaque, Routed
from extproc.model.errors import (
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unsupported,
)
from extproc.routing.atlas import Atlas
from extproc.routing.backend import Backend, Plan, Planned

AUTO = "auto"
"""the model or provider name that means: you choose"""
_MOST_PLANS = 4096
"""plans kept: a client may name any model where `*` is served"""


def plan(atlas: Atlas, caller: Caller, request: Routed) -> Plan:
    """The targets to try, in order. Today: exactly one."""
    named = request.model if request.model != AUTO else ""
    pinned = request.provider if request.provider and request.provider != AUTO else ""
    key = (request.dialect, pinned, named, type(request))
    found = atlas.plans.get(key)
    if found is None:
        found = _find(atlas, request, pinned, named)
        if len(atlas.plans) < _MOST_PLANS:
            atlas.plans[key] = found
    _allow(atlas, caller, request, found)
    return found


def _find(atlas: Atlas, request: Routed, provider: str, model: str) -> Plan:
    match request:
        case Opaque():
            return _opaque(atlas, request.dialect, provider, model)
        case Embed():
            return _vectors(atlas, request.dialect, provider, model)
        case _:
            return _plan(atlas, request.dialect, provider, model)


def _plan(atlas: Atlas, client: str, provider: str, model: str) -> Plan:
    if provider:
        return _pinned(atlas, client, provider, model)
    return _by_name(atlas, client, model) if model else _default(atlas, client)


def _vectors(atlas: Atlas, client: str, provider: str, model: str) -> Plan:
    """As any other, but that what is not named must be a model that makes vectors."""
    if model:
        return _plan(atlas, client, provider, model)
    if provider:
        return _pinned(atlas, client, provider, model, embeds=True)
    for name, route in atlas.models.items():
        first = next((ref for ref in route.targets if ref.provider in atlas.backends), None)
        if first is not None and atlas.backends[first.provider].embeds(first.model):
            return _by_name(atlas, client, name)
    for backend in atlas.backends.values():
        if found := backend.default_model(embeds=True):
            return _one(found, backend, client, found)
    for backend in atlas.backends.values():
        if found := backend.usual_embedder:
            return _one(_label(backend, found), backend, client, found)
    if not atlas.backends:
        raise Overloaded(f"No provider is available: {_reasons(atlas)}.")
    raise InvalidRequest(
        "No model was named, and none here is known to make vectors: a provider's"
        " `capabilities` say so of those that are less known (`embedding: true`).",
        param="model",
    )


def _opaque(atlas: Atlas, client: str, provider: str, model: str) -> Plan:
    """What is not translated goes to a provider of the client's own language, or nowhere."""
    if provider or model:
        found = _plan(atlas, client, provider, model)
        if found.targets[0].target.dialect == client:
            return found
    else:
        for backend in atlas.backends.values():
            if backend.dialect(client, "").name == client:
                return _one(f"{backend.provider.name}/*", backend, client, "")
    raise Unsupported(
        f"This path is not translated, and no provider here speaks {client}"
        + (f" for model {model[:128]!r}." if model else ".")
    )


def _one(name: str, backend: Backend, client: str, model: str) -> Plan:
    dialect = backend.dialect(client, model)
    return Plan(name, (Planned(backend, dialect, backend.target(model, dialect.name)),))


def _pinned(atlas: Atlas, client: str, provider: str, model: str, *, embeds: bool = False) -> Plan:
    backend = atlas.backends.get(provider)
    if backend is None:
        if why := atlas.unavailable.get(provider):
            raise Overloaded(f"Provider {provider} is not available: {why}.")
        known = ", ".join(atlas.backends) or "none"
        raise InvalidRequest(
            f"There is no provider {provider[:64]!r}. Use auto, or one of: {known}.",
            param="provider",
        )
    name = model or backend.default_model(embeds=embeds)
    if name is None and embeds:
        name = backend.usual_embedder
    if name is None:
        what = "has no default model for vectors" if embeds else "has no default model"
        raise InvalidRequest(f"Provider {provider} {what}: name one in `model`.", param="model")
    if not backend.fit(name) and name != backend.provider.model:
        raise _unknown(atlas, client, name)
    return _one(name, backend, client, name)


def _default(atlas: Atlas, client: str) -> Plan:
    if AUTO in atlas.models:
        return _by_name(atlas, client, AUTO)
    for backend in atlas.backends.values():
        if model := backend.default_model(embeds=False):
            return _one(model, backend, client, model)
    if not atlas.backends:
        raise Overloaded(f"No provider is available: {_reasons(atlas)}.")
    raise InvalidRequest("No model was named and none is the default.", param="model")


def _by_name(atlas: Atlas, client: str, model: str) -> Plan:
    if route := atlas.models.get(model):
        for ref in route.targets:
            if backend := atlas.backends.get(ref.provider):
                return _one(model, backend, client, ref.model)
        raise Overloaded(f"No provider of model {model} is available: {_reasons(atlas)}.")
    best = max(atlas.backends.values(), key=lambda b: b.fit(model), default=None)
    if best is not None and best.fit(model):
        return _one(_label(best, model), best, client, model)
    provider, slash, rest = model.partition("/")
    backend = atlas.backends.get(provider)
    if slash and backend is not None and backend.fit(rest):
        return _one(_label(backend, rest), backend, client, rest)
    raise _unknown(atlas, client, model)


def _label(backend: Backend, model: str) -> str:
    """The model's name if the configuration lists it, else the pattern that let it through."""
    patterns = backend.provider.models
    if model in patterns or model == backend.provider.model:
        return model
    return f"{backend.provider.name}/*"


def _unknown(atlas: Atlas, client: str, model: str) -> NotFound:
    return NotFound(
        f"The model {model[:128]!r} does not exist here or no provider serves it."
        f" {_list(atlas, client)} lists those that you may use.",
        param="model",
        code="model_not_found",
    )


def _list(atlas: Atlas, client: str) -> str:
    """Where the client finds its model list, in its own language if that has one."""
    own = atlas.dialects.get(client, atlas.error_dialect)
    return next(
        f"{endpoint.method} {endpoint.path}"
        for dialect in (own, atlas.error_dialect)
        for endpoint in dialect.endpoints
        if endpoint.operation == LIST_MODELS
    )


def _reasons(atlas: Atlas) -> str:
    reasons = [f"{name}: {why}" for name, why in atlas.unavailable.items()]
    return "; ".join(reasons) or "none is configured"


def _allow(atlas: Atlas, caller: Caller, request: Routed, found: Plan) -> None:
    """A key's list holds names as clients ask for them; `provider/model` passes as `model` too."""
    asked = request.model if request.model not in ("", AUTO) else found.name
    if caller.may_use(asked):
        return
    target = found.targets[0].target
    if not target.model:
        raise PermissionDenied(
            f"Key `{caller.name}` is limited to some models, and this path names none.",
            code="model_not_allowed",
        )
    if asked == f"{target.provider}/{target.model}" and caller.may_use(target.model):
        return
    raise PermissionDenied(
        f"Key `{caller.name}` may not use model {asked[:128]!r}."
        f" {_list(atlas, request.dialect)} lists those that it may use.",
        param="model",
        code="model_not_allowed",
    )

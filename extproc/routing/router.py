"""Which provider answers: a pure function of the atlas, the targets' health, and the call.

Gives a `Plan`, or raises `NotFound`, `InvalidRequest`, `PermissionDenied`, `Overloaded` or
what `decide` raises, with the reason. Never asks Envoy and never waits. A name that leads to
one target is looked up, and no more: its health is not asked, since nobody is better.
"""

from __future__ import annotations

from extproc.config.schema import Retry, Routing, addressed
from extproc.model.call import Caller, Target
from extproc.model.dialect import LIST_MODELS
from extproc.model.embed import Embed, Opaque, Routed
from extproc.model.errors import (
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unsupported,
)
from extproc.model.value import value
from extproc.routing.atlas import Atlas
from extproc.routing.backend import Backend, Plan, Planned
from extproc.routing.decide import decide, settled
from extproc.routing.health import Health
from extproc.routing.hearing import Asked
from extproc.routing.reasons import Why
from extproc.routing.virtual import Choice, Client, Dead, Virtual, bind, single

AUTO = "auto"
"""the model or provider name that means: you choose"""
_MOST_PLANS = 4096
_MOST_CHOICES = 512
"""kept of names that clients make up: any, where `*` is served"""


def plan(atlas: Atlas, health: Health, asked: Asked) -> Plan:
    """The targets to try, in order. Pure but for what the atlas remembers of names."""
    found = find(atlas, asked.call.caller, asked.request)
    return found if isinstance(found, Plan) else chosen(atlas, found, health, asked)


def chosen(atlas: Atlas, choice: Choice, health: Health, asked: Asked) -> Plan:
    """`decide`, with what is missing called as the client calls it."""
    try:
        return decide(choice, health, asked)
    except Unsupported as refused:
        words = atlas.dialects[asked.request.dialect].field_names
        raise refused.named(words.get(refused.param or "", refused.param or "")) from None


def find(atlas: Atlas, caller: Caller, request: Routed) -> Plan | Choice:
    """What the client's words lead to, if the caller may use it.

    Raises what `plan` raises, but for what depends on health or on what the request needs.
    """
    found = look_up(atlas, request)
    if "*" not in caller.models:
        _allow(atlas, caller, request, found)
    return found


def look_up(atlas: Atlas, request: Routed) -> Plan | Choice:
    """What the client's words lead to: the plan itself where there is nothing to choose."""
    pinned, named = _words(request)
    key = (request.dialect, pinned, named, type(request))
    found = atlas.plans.get(key) or atlas.choices.get(key)
    if found is None:
        choice = _find(atlas, request, pinned, named)
        found = settled(choice)
        if found is not None:
            if len(atlas.plans) < _MOST_PLANS:
                atlas.plans[key] = found
        else:
            found = choice
            made_up = choice.found in (Why.WILDCARD, Why.NAME, Why.PINNED)
            if not made_up or len(atlas.choices) < _MOST_CHOICES:
                atlas.choices[key] = found
    return found


def all_of(atlas: Atlas, request: Routed) -> Choice:
    """As `look_up`, with the targets that can never be asked, also where one is left."""
    return _find(atlas, request, *_words(request))


def alone(atlas: Atlas, request: Routed, name: str, provider: str, model: str) -> Plan | Choice:
    """This very target, and nobody else: for a copy that was made for it under the model `name`.

    Raises Overloaded if its provider is not there any more.
    """
    backend = atlas.backends.get(provider)
    if backend is None:
        raise Overloaded(f"Provider {provider} is not available.")
    if backend.others:
        once = Routing(retry=Retry(attempts=1))
        virtual = single(backend, model, name, once)
        return _bound(_Search(atlas, request.dialect), virtual, Why.ALIAS, model)
    dialect = backend.dialect(request.dialect, model)
    return Plan(name, (Planned(backend, dialect, backend.target(model, dialect.name)),))


# --- from names to targets


def _words(request: Routed) -> tuple[str, str]:
    """The provider and the model that the client names; empty: it leaves that to us."""
    provider = request.provider if request.provider and request.provider != AUTO else ""
    return provider, request.model if request.model != AUTO else ""


@value
class _Search:
    """`untranslated`: only a provider of the client's own language can answer."""

    atlas: Atlas
    client: str
    untranslated: bool = False


def _find(atlas: Atlas, request: Routed, provider: str, model: str) -> Choice:
    match request:
        case Opaque():
            search = _Search(atlas, request.dialect, untranslated=True)
            return _named(search, provider, model) if provider or model else _by_path(search)
        case Embed():
            return _vectors(_Search(atlas, request.dialect), provider, model)
        case _:
            return _named(_Search(atlas, request.dialect), provider, model)


def _named(search: _Search, provider: str, model: str) -> Choice:
    if provider:
        return _pinned(search, provider, model)
    return _by_name(search, model) if model else _default(search)


def _vectors(search: _Search, provider: str, model: str) -> Choice:
    """As any other, but that what is not named must be a model that makes vectors."""
    if model:
        return _named(search, provider, model)
    if provider:
        return _pinned(search, provider, model, embeds=True)
    atlas = search.atlas
    for virtual in atlas.models.exact.values():
        usable = (ref for ref in virtual.route.targets if ref.provider in atlas.backends)
        ref = next(usable, None)
        if ref is not None and atlas.backends[ref.provider].embeds(ref.model):
            return _bound(search, virtual, Why.DEFAULT, virtual.name)
    for backend in atlas.backends.values():
        if found := backend.default_model(embeds=True):
            return _one(search, Why.DEFAULT, found, backend, found)
    for backend in atlas.backends.values():
        if found := backend.usual_embedder:
            return _one(search, Why.DEFAULT, _label(backend, found), backend, found)
    if not atlas.backends:
        raise Overloaded(f"No provider is available: {_reasons(atlas)}.")
    raise InvalidRequest(
        "No model was named, and none here is known to make vectors: a provider's"
        " `capabilities` say so of those that are less known (`embedding: true`).",
        param="model",
    )


def _by_path(search: _Search) -> Choice:
    """What is not translated and names no model. Once only: to do it twice may do harm."""
    atlas, client = search.atlas, search.client
    once = Routing(retry=Retry(attempts=1), deadline=atlas.routing.deadline)
    for backend in atlas.backends.values():
        if backend.dialect(client, "").name == client:
            name = f"{backend.name}/*"
            virtual = single(backend, "", name, once)
            return _bound(search, virtual, Why.PATH, "")
    raise _untranslated(client, "")


def _pinned(search: _Search, provider: str, model: str, *, embeds: bool = False) -> Choice:
    atlas = search.atlas
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
        raise _unknown(atlas, search.client, name)
    label = _label(backend, name) if model else name
    return _one(search, Why.PINNED, label, backend, name)


def _default(search: _Search) -> Choice:
    atlas = search.atlas
    if route := atlas.models.exact.get(AUTO):
        return _bound(search, route, Why.DEFAULT, AUTO)
    for backend in atlas.backends.values():
        if model := backend.default_model(embeds=False):
            return _one(search, Why.DEFAULT, model, backend, model)
    if not atlas.backends:
        raise Overloaded(f"No provider is available: {_reasons(atlas)}.")
    raise InvalidRequest("No model was named and none is the default.", param="model")


def _by_name(search: _Search, model: str) -> Choice:
    """The configuration's own names come first, then the providers', and last `*`."""
    atlas = search.atlas
    if found := atlas.models.find(model):
        return _bound(search, *found, model)
    best = max(atlas.backends.values(), key=lambda b: b.fit(model), default=None)
    if best is not None and best.fit(model):
        return _one(search, Why.NAME, _label(best, model), best, model)
    provider, slash, rest = model.partition("/")
    backend = atlas.backends.get(provider)
    if slash and backend is not None and backend.fit(rest):
        return _one(search, Why.NAME, _label(backend, rest), backend, rest)
    if atlas.models.rest is not None:
        return _bound(search, atlas.models.rest, Why.WILDCARD, model)
    raise _unknown(atlas, search.client, model)


def _one(search: _Search, found: Why, name: str, backend: Backend, model: str) -> Choice:
    virtual = single(backend, model, name, search.atlas.routing)
    return _bound(search, virtual, found, model)


def _bound(search: _Search, virtual: Virtual, found: Why, model: str) -> Choice:
    atlas, client = search.atlas, search.client
    choice = bind(
        virtual,
        found,
        Client(atlas.backends, atlas.unavailable, client, model, search.untranslated),
    )
    if choice.groups:
        return choice
    if any(one.why is Why.STRUCK_LANGUAGE for one in choice.dead):
        raise _untranslated(client, model)
    raise Overloaded(f"No provider of model {model} is available: {_lacking(choice.dead)}.")


def _label(backend: Backend, model: str) -> str:
    """The model's name if the configuration lists it, else the pattern that let it through."""
    patterns = backend.provider.models
    if model in patterns or model == backend.provider.model:
        return model
    return f"{backend.name}/*"


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


def _untranslated(client: str, model: str) -> Unsupported:
    return Unsupported(
        f"This path is not translated, and no provider here speaks {client}"
        + (f" for model {model[:128]!r}." if model else ".")
    )


def _reasons(atlas: Atlas) -> str:
    reasons = [f"{name}: {why}" for name, why in atlas.unavailable.items()]
    return "; ".join(reasons) or "none is configured"


def _lacking(dead: tuple[Dead, ...]) -> str:
    return "; ".join(dict.fromkeys(f"{one.ref.provider}: {one.reason}" for one in dead))


def _only(found: Plan | Choice) -> Target | None:
    """The target, where there is no other than by region or key."""
    if isinstance(found, Plan):
        return found.targets[0].target
    first, *others = found.options
    alike = all(one.place == first.place for one in others)
    return first.planned.target if alike else None


def _allow(atlas: Atlas, caller: Caller, request: Routed, found: Plan | Choice) -> None:
    """A key's list holds names as clients ask for them; `provider/model` passes as `model` too, and
    one region as the whole provider."""
    named = found if isinstance(found, Plan) else found.virtual
    asked = request.model if request.model not in ("", AUTO) else named.name
    if caller.may_use(asked):
        return
    only = _only(found)
    if only is not None and not only.model:
        raise PermissionDenied(
            f"Key `{caller.name}` is limited to some models, and this path names none.",
            code="model_not_allowed",
        )
    if only is not None and any(caller.may_use(name) for name in _names(only, asked)):
        return
    raise PermissionDenied(
        f"Key `{caller.name}` may not use model {asked[:128]!r}."
        f" {_list(atlas, request.dialect)} lists those that it may use.",
        param="model",
        code="model_not_allowed",
    )


def _names(only: Target, asked: str) -> tuple[str, ...]:
    """What a target may also be called whose provider, or its region, is named."""
    whole = f"{only.provider}/{only.model}"
    alone = f"{addressed(only.provider, only.region_name)}/{only.model}"
    return (only.model, whole) if asked in (whole, alone) else ()

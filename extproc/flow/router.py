"""Which provider answers: a pure function of the snapshot, the caller and the request.

Gives a `Plan`, or raises `NotFound`, `InvalidRequest`, `PermissionDenied` or
`Overloaded` with the reason. Never asks Envoy and never waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from extproc.flow.snapshot import Backend, Snapshot
from extproc.model.call import Caller, Target
from extproc.model.embed import Routed
from extproc.model.errors import InvalidRequest, NotFound, Overloaded, PermissionDenied

AUTO = "auto"
"""the model or provider name that means: you choose"""


@dataclass(frozen=True, slots=True)
class Planned:
    backend: Backend
    target: Target


@dataclass(frozen=True, slots=True)
class Plan:
    """`name` is the model as configured: bounded in number, so fit for a metric's label."""

    name: str
    targets: tuple[Planned, ...]


def plan(snapshot: Snapshot, caller: Caller, request: Routed) -> Plan:
    """The targets to try, in order. Today: exactly one."""
    named = request.model if request.model != AUTO else ""
    if request.provider and request.provider != AUTO:
        found = _pinned(snapshot, request.provider, named)
    elif not named:
        found = _default(snapshot)
    else:
        found = _by_name(snapshot, named)
    _allow(caller, named or found.name, found)
    return found


def _pinned(snapshot: Snapshot, provider: str, model: str) -> Plan:
    backend = snapshot.backends.get(provider)
    if backend is None:
        if why := snapshot.unavailable.get(provider):
            raise Overloaded(f"Provider {provider} is not available: {why}.")
        known = ", ".join(snapshot.backends) or "none"
        raise InvalidRequest(
            f"There is no provider {provider[:64]!r}. Use auto, or one of: {known}.",
            param="provider",
        )
    name = model or backend.default_model
    if name is None:
        raise InvalidRequest(
            f"Provider {provider} has no default model: name one in `model`.", param="model"
        )
    if not backend.fit(name) and name != backend.provider.model:
        raise _unknown(name)
    return Plan(name, (Planned(backend, backend.target(name)),))


def _default(snapshot: Snapshot) -> Plan:
    if AUTO in snapshot.aliases:
        return _by_name(snapshot, AUTO)
    for backend in snapshot.backends.values():
        if model := backend.default_model:
            return Plan(model, (Planned(backend, backend.target(model)),))
    if not snapshot.backends:
        raise Overloaded(f"No provider is available: {_reasons(snapshot)}.")
    raise InvalidRequest("No model was named and none is the default.", param="model")


def _by_name(snapshot: Snapshot, model: str) -> Plan:
    if refs := snapshot.aliases.get(model):
        for ref in refs:
            if backend := snapshot.backends.get(ref.provider):
                return Plan(model, (Planned(backend, backend.target(ref.model)),))
        raise Overloaded(f"No provider of model {model} is available: {_reasons(snapshot)}.")
    best = max(snapshot.backends.values(), key=lambda b: b.fit(model), default=None)
    if best is not None and best.fit(model):
        return Plan(_label(best, model), (Planned(best, best.target(model)),))
    provider, slash, rest = model.partition("/")
    backend = snapshot.backends.get(provider)
    if slash and backend is not None and backend.fit(rest):
        return Plan(_label(backend, rest), (Planned(backend, backend.target(rest)),))
    raise _unknown(model)


def _label(backend: Backend, model: str) -> str:
    """The model's name if the configuration lists it, else the pattern that let it through."""
    patterns = backend.provider.models
    if model in patterns or model == backend.provider.model:
        return model
    return f"{backend.provider.name}/*"


def _unknown(model: str) -> NotFound:
    return NotFound(
        f"The model {model[:128]!r} does not exist here or no provider serves it."
        " GET /v1/models lists those that you may use.",
        param="model",
        code="model_not_found",
    )


def _reasons(snapshot: Snapshot) -> str:
    reasons = [f"{name}: {why}" for name, why in snapshot.unavailable.items()]
    return "; ".join(reasons) or "none is configured"


def _allow(caller: Caller, asked: str, found: Plan) -> None:
    """A key's list holds names as clients ask for them; `provider/model` passes as `model` too."""
    if caller.may_use(asked):
        return
    target = found.targets[0].target
    if asked == f"{target.provider}/{target.model}" and caller.may_use(target.model):
        return
    raise PermissionDenied(
        f"Key `{caller.name}` may not use model {asked[:128]!r}."
        " GET /v1/models lists those that it may use.",
        param="model",
        code="model_not_allowed",
    )

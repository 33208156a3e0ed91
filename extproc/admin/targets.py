"""How the targets of each provider stand, for people and for numbers: what the workers agree on.

Takes a look at `Health` and the names in the configuration; gives plain values. A target that
nobody has asked yet, or that nobody watches because its model has no other, is `unknown`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields

from extproc.config.schema import Settings
from extproc.config.targets import keys, named, parts, split
from extproc.routing.breaker import State
from extproc.routing.health import View

UNKNOWN = "unknown"
_NOTHING: Mapping[str, object] = {one.name: None for one in fields(View)} | {"state": UNKNOWN}


def _nobody() -> Mapping[str, View]:
    return {}


@dataclass(slots=True)
class Targets:
    """`look` gives what is known now, by key."""

    look: Callable[[], Mapping[str, View]] = _nobody
    _named: frozenset[tuple[str, str]] = frozenset()
    _keys: frozenset[str] = frozenset()

    def configure(self, settings: Settings) -> None:
        self._named, self._keys = named(settings), keys(settings)

    def told(self) -> Mapping[str, list[dict[str, object]]]:
        """By provider, each target's `model` and the members of its `View`; times that are not
        are null. Of a provider with several regions or keys each target has its `region` and its
        `key_name`."""
        known = self.look()
        found: dict[str, list[dict[str, object]]] = {}
        for key in sorted({*known, *self._keys}):
            one = parts(key)
            said = {"model": one.model, **one.apart}
            found.setdefault(one.provider, []).append({**said, **_told(known.get(key))})
        return found

    def shut(self, provider: str) -> float | None:
        """Since when, in unix seconds, the breakers of all targets of a provider are open; None:
        they are not."""
        known = self.look()
        ours = {key for key in {*known, *self._keys} if parts(key).provider == provider}
        views = [known[key] for key in ours if key in known and known[key].state is State.OPEN]
        return max(view.since for view in views) if ours and len(views) == len(ours) else None

    def counted(self) -> Mapping[tuple[str, str, str], int]:
        """How many there are, by provider, model and state. Whatever clients make up is one."""
        known = self.look()
        states: Counter[tuple[str, str, str]] = Counter()
        for key in self._keys - known.keys():
            states[*split(key, self._named), UNKNOWN] += 1
        for key, view in known.items():
            place = split(key, self._named)
            for state in State:
                states[*place, state.value] += view.state is state
        return states


def _told(view: View | None) -> Mapping[str, object]:
    if view is None:
        return _NOTHING
    return {
        **asdict(view),
        "state": view.state.value,
        "until": view.until or None,
        "since": view.since or None,
    }

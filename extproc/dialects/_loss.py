"""What a target's language cannot carry: named, and never dropped in silence.

A renderer asks `Losses` at every place where something would get lost. Harmless
hints are dropped and named to the client (`x-sluice-dropped`); what changes the
meaning is refused, with the field's name and the target's; the middle is
decided by the backend's `on_lossy`.
"""

from __future__ import annotations

from extproc.dialects._extras import BOUND, CARRIED
from extproc.model.call import OnLossy, Target
from extproc.model.chat import Extra, Json
from extproc.model.errors import Unsupported

_STATE = frozenset({"store", "background", "conversation", "previous_response_id"})
"""what a provider keeps between calls, and no other has"""
_FORM = frozenset({"stream", "stream_options", "obfuscation", "index"})
"""about the form of a reply, which is made anew in the client's language; of a call, its place"""


class Losses:
    """The losses of one request on its way to `target`. `names` is in order, without doubles."""

    __slots__ = ("_names", "_target")

    def __init__(self, target: Target) -> None:
        self._target = target
        self._names: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def drop(self, field: str) -> None:
        """A harmless hint: seed, user, a cache mark, thinking of another provider."""
        self._names[field] = None

    def lossy(self, field: str, why: str) -> None:
        """Neither harmless nor fatal: dropped and named, or refused, as the backend's `on_lossy` says."""
        if self._target.on_lossy is OnLossy.REJECT:
            raise self.refusal(field, why)
        self._names[field] = None

    def refusal(self, field: str, why: str) -> Unsupported:
        """The meaning would change: raise it. `why` completes "provider x cannot take `field`: "."""
        return Unsupported(
            f"Provider {self._target.provider} cannot take `{field}`: {why}.", param=field
        )

    def foreign(self, extra: Extra, home: str) -> None:
        """Members of a request or part that only another dialect than `home` knows: named, or refused.

        What says nothing (null, false, empty) is no loss.
        """
        if extra.dialect == home:
            return
        bound = extra.fields.get(BOUND)
        for name in bound if isinstance(bound, list) else ():
            raise self.refusal(str(name), "only the client's own dialect knows what it stands for")
        carried = extra.fields.get(CARRIED)
        for name, value in extra.fields.items():
            if name.startswith("\0") or name in _FORM or _says_nothing(value):
                continue
            if isinstance(carried, list) and name in carried:
                continue
            if name in _STATE:
                raise self.refusal(name, "it keeps nothing between calls")
            self.drop(name)


def _says_nothing(value: Json) -> bool:
    if isinstance(value, dict):
        return all(map(_says_nothing, value.values()))
    return value is None or value is False or value in ("", [])

"""What a target's language cannot carry: named, and never dropped in silence.

A renderer asks `Losses` at every place where something would get lost. Harmless
hints are dropped and named to the client (`x-sluice-dropped`); what changes the
meaning is refused, with the field's name and the target's; the middle is
decided by the backend's `on_lossy`.
"""

from __future__ import annotations

from extproc.model.call import OnLossy, Target
from extproc.model.errors import Unsupported


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

"""Why a gateway could not start: one exception, whose text is for the person who started it."""

from __future__ import annotations


class CannotStart(Exception):
    """The gateway cannot run here and now. The text says why, and what to do."""

"""Reasoning of other providers in `encrypted_content`, the one field that a Responses client echoes.

A signature travels as `_signatures` wraps it; what is redacted, and so has no
text of its own, says so beside its origin. Takes and gives text.
"""

from __future__ import annotations

from extproc.dialects._signatures import unwrap, wrap
from extproc.dialects.openai_responses.words import NAME

_REDACTED = "-redacted"


def sealed(value: str, origin: str, *, redacted: bool) -> str:
    """What goes into `encrypted_content`."""
    return wrap(value, origin + _REDACTED if redacted else origin, NAME)


def unsealed(value: str) -> tuple[str | None, str | None, str]:
    """Signature or redacted, and the origin: empty where it is broken."""
    plain, origin = unwrap(value, NAME)
    if origin.endswith(_REDACTED):
        return None, plain, origin.removesuffix(_REDACTED)
    return plain, None, origin

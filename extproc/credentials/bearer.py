"""A token that expires, in `Authorization: Bearer`.

What Entra and Google give, and how it goes out. A key that never expires is
`api_key.ApiKey`. Never does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from extproc.model.ports import Signable


@dataclass(frozen=True, slots=True)
class Token:
    """`expires` is in Unix seconds; None: it never does."""

    value: str = field(repr=False)
    expires: float | None = None


def bearer(token: Token, request: Signable) -> Mapping[str, str]:
    """The header that carries the token: the same for every request."""
    del request
    return {"authorization": f"Bearer {token.value}"}

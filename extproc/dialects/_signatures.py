"""Signatures of reasoning travel only home, through clients of any language.

A provider's signature is opaque, and to any other provider it is noise or an
error. Where a client's language has a field that it echoes, a foreign signature
travels wrapped: `sluice1.<dialect>.<base64url>`.
"""

from __future__ import annotations

import base64
import binascii

_MARK = "sluice1."


def wrap(signature: str, origin: str, carrier: str) -> str:
    """What a client of `carrier` is given: its own dialect's signatures go as they are."""
    if origin == carrier:
        return signature
    data = base64.urlsafe_b64encode(signature.encode("utf-8", "surrogatepass"))
    return f"{_MARK}{origin}.{data.decode()}"


def unwrap(signature: str, carrier: str) -> tuple[str, str]:
    """Signature and origin of what a client of `carrier` sent back. What is broken has no origin."""
    if not signature.startswith(_MARK):
        return signature, carrier
    origin, _, data = signature.removeprefix(_MARK).partition(".")
    try:
        plain = base64.urlsafe_b64decode(data.encode("ascii"))
        return plain.decode("utf-8", "surrogatepass"), origin
    except (ValueError, binascii.Error):
        return "", ""

"""`${VAR}`, `${VAR:-default}` and `$$` inside a string. Pure: the environment is passed in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-)([^}]*))?\}|\$\{")


@dataclass(frozen=True, slots=True)
class Filled:
    """`text` with every variable in its place.

    `variables` were named in it, `missing` are those without a value or default,
    `malformed` says that a `${` is not followed by `NAME}`.
    """

    text: str
    variables: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    malformed: bool = False


def fill(text: str, env: Mapping[str, str]) -> Filled:
    """Resolve `text`. As in a shell, `:-` also replaces an empty value."""
    if "$" not in text:
        return Filled(text)
    variables: list[str] = []
    missing: list[str] = []
    malformed = False

    def value(token: re.Match[str]) -> str:
        nonlocal malformed
        if token[0] == "$$":
            return "$"
        name: str | None = token[1]
        if name is None:
            malformed = True
            return ""
        variables.append(name)
        found = env.get(name)
        if token[2]:
            return found or str(token[3])
        if found is None:
            missing.append(name)
        return found or ""

    filled = _TOKEN.sub(value, text)
    return Filled(filled, tuple(variables), tuple(missing), malformed)

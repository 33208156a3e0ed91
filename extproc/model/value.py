"""What makes a class a value: fields that are set once, compared and hashed by what they hold.

A frozen dataclass of the standard library pays for its promise with every object:
its constructor takes three times as long, and an exchange makes dozens. Here the
type checker alone keeps the promise, at no cost (`dataclass_transform`, PEP 681).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`, but that only a type checker sees the first part."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

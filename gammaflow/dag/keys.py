"""Content keys: the digest of everything a result depends on.

A key must be the same in every interpreter, on every machine and in every year, so it is made of
our own canonical JSON and blake2b, never of ``hash()`` or of a tokenizer that promises nothing
between two processes.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from typing import Final

import numpy as np
from astropy import units as u
from astropy.time import Time
from pydantic import BaseModel

STAGE_VERSIONS: Final[Mapping[str, int]] = {"reduce": 1, "stack": 1, "finish": 1}
"""Version of each stage's rules. Raise one when the stage's numbers change: its results are then redone."""

_CANONICAL_UNITS: Final = (u.deg, u.TeV, u.s, u.m, u.one)
"""A quantity enters a key in the first of these that fits, so that its spelling does not matter."""


def canonical(value: object) -> str:
    """Text that is equal for equal values, whatever the order of keys or the spelling of units.

    Parameters
    ----------
    value : object
        None, bool, int, float, str, path, enum, mapping with string keys, sequence, set, frozen
        dataclass, pydantic model, astropy Quantity or Time, numpy scalar or small array; nested at will.

    Returns
    -------
    text : str
        JSON without blanks: keys sorted, floats by ``repr``, sets sorted by their text, quantities as
        ``[value, unit]`` in deg, TeV, s or m with 15 significant digits (a conversion of units may cost the
        last bit, which must not make another key).

    Raises
    ------
    TypeError
        A value of another type: it would have no stable text.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def digest(*values: object) -> str:
    """blake2b of the canonical text of ``values``: 32 hexadecimal digits (128 bit)."""
    return hashlib.blake2b(canonical(values).encode(), digest_size=16).hexdigest()


def short(key: str) -> str:
    """The first eight digits of a key: enough for a label."""
    return key[:8]


def _plain(value: object) -> object:
    """The same value in JSON's own types; tagged where JSON has no type for it."""
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        # JSON has no text for infinities and NaN; repr gives the shortest text that reads back exactly.
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, u.Quantity):
        return {"quantity": _quantity(value)}
    if isinstance(value, Time):
        precise = value.tt.copy(format="isot")
        precise.precision = 9
        return {"time": _plain(precise.value.tolist() if precise.shape else precise.value)}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, BaseModel):
        return _plain({name: getattr(value, name) for name in type(value).model_fields})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, Set):
        return {"set": sorted((_plain(item) for item in value), key=canonical)}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise TypeError(
        f"a {type(value).__name__} has no canonical text, so it cannot be part of a key: {value!r}"
    )


def _mapping(value: Mapping[object, object]) -> dict[str, object]:
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"the keys of a mapping in a key must be text, found {key!r}")
        plain[str(key)] = _plain(item)
    return plain


def _quantity(value: u.Quantity) -> list[object]:
    for unit in _CANONICAL_UNITS:
        if value.unit.is_equivalent(unit):
            value = value.to(unit)
            break
    numbers = np.asarray(value.value, dtype=np.float64)
    texts = [f"{number:.15g}" for number in numbers.ravel()]
    return [texts if numbers.shape else texts[0], value.unit.to_string("vounit")]

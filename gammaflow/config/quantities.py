"""Quantities in the configuration: read from strings such as "0.02 deg", written back as such.

Each kind also has a canonical form, a plain number in the house unit, so that "100 GeV" and "0.1 TeV" are
one value.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle
from astropy.time import Time
from pydantic import BeforeValidator, PlainSerializer

_DIGITS = 12


def canonical_number(value: float) -> float:
    """A float to 12 significant digits, so that the rounding of a unit conversion does not show."""
    return float(f"{float(value):.{_DIGITS}g}")


def canonical_time(time: Time) -> str | list[str]:
    """UTC, ISO 8601, to the nanosecond without trailing zeros."""
    if not time.isscalar:
        return [str(canonical_time(one)) for one in time]
    text = Time(time.utc, precision=9).isot
    return text.rstrip("0").rstrip(".") if "." in text else str(text)


def _parse(value: Any, physical_type: str, example: str) -> u.Quantity:
    if isinstance(value, bool | int | float | np.number):
        raise ValueError(f"a unit is missing: write e.g. '{example}', with quotes or without")
    try:
        quantity = Angle(value) if physical_type == "angle" else u.Quantity(value)
    except (u.UnitsError, TypeError, ValueError) as error:
        raise ValueError(f"not a quantity: write e.g. '{example}'") from error
    if quantity.unit.physical_type != physical_type:
        raise ValueError(f"unit '{quantity.unit}' is not one of {physical_type}: write e.g. '{example}'")
    if not quantity.isscalar:
        raise ValueError(f"one value is needed, not {quantity.size}")
    if not np.isfinite(quantity.value):
        raise ValueError("the value is not finite")
    return quantity


def parse_angle(value: Any) -> Angle:
    """An angle from a string with a unit or a quantity; ValueError for a bare number."""
    return _parse(value, "angle", "0.5 deg")


def parse_positive_angle(value: Any) -> Angle:
    """As `parse_angle`, above zero."""
    angle = parse_angle(value)
    if angle.value <= 0:
        raise ValueError("must be above zero")
    return angle


def parse_energy(value: Any) -> u.Quantity:
    """An energy above zero from a string with a unit or a quantity."""
    energy = _parse(value, "energy", "0.1 TeV")
    if energy.value <= 0:
        raise ValueError("must be above zero")
    return energy


def parse_duration(value: Any) -> u.Quantity:
    """A time span above zero from a string with a unit or a quantity."""
    span = _parse(value, "time", "1 h")
    if span.value <= 0:
        raise ValueError("must be above zero")
    return span


def parse_time(value: Any) -> Time:
    """A time or times (UTC unless the object says otherwise), e.g. "2004-03-26T22:00:00"; YAML's own dates,
    too.
    """
    if isinstance(value, Time):
        return value
    values = value if isinstance(value, list | tuple) else [value]
    texts = []
    for one in values:
        if isinstance(one, datetime.datetime):
            one = one.astimezone(datetime.UTC).replace(tzinfo=None) if one.tzinfo else one
        if isinstance(one, Time):
            texts.append(one.utc.isot)
        elif isinstance(one, datetime.date):
            texts.append(one.isoformat())
        elif isinstance(one, str):
            texts.append(one)
        else:
            raise ValueError("not a time: write e.g. '2004-03-26T22:00:00' (UTC)")
    try:
        return Time(texts if isinstance(value, list | tuple) else texts[0], scale="utc")
    except ValueError as error:
        raise ValueError("not a time: write e.g. '2004-03-26T22:00:00' (UTC)") from error


def quantity_text(quantity: u.Quantity) -> str:
    """As in YAML: the shortest number that reads back the same, and the unit."""
    return f"{float(quantity.value)!r} {quantity.unit}"


_as_text = PlainSerializer(quantity_text, return_type=str, when_used="json-unless-none")

AngleType = Annotated[Angle, BeforeValidator(parse_angle), _as_text]
PositiveAngleType = Annotated[Angle, BeforeValidator(parse_positive_angle), _as_text]
EnergyType = Annotated[u.Quantity, BeforeValidator(parse_energy), _as_text]
DurationType = Annotated[u.Quantity, BeforeValidator(parse_duration), _as_text]
TimeType = Annotated[
    Time, BeforeValidator(parse_time), PlainSerializer(canonical_time, when_used="json-unless-none")
]
PathType = Annotated[str, BeforeValidator(lambda path: str(path) if hasattr(path, "__fspath__") else path)]


def canonical_quantity(quantity: u.Quantity) -> float:
    """The number in the house unit: deg, TeV or s."""
    for unit in (u.deg, u.TeV, u.s):
        if quantity.unit.is_equivalent(unit):
            return canonical_number(quantity.to_value(unit))
    raise ValueError(f"no house unit for '{quantity.unit}'")

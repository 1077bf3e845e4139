"""Angles as a caller gives them: numbers in deg, texts, quantities, one or a pair."""

from __future__ import annotations

import math

import numpy as np
from astropy import units as u

from gammaflow.errors import GeometryError

_HINT = "Give deg, or e.g. '0.02 deg'."


def pair_deg(value: object, what: str) -> tuple[float, float]:
    """Two positive angles in deg, of one or two given.

    Parameters
    ----------
    value : float [deg], str or `~astropy.units.Quantity`; or two of them
        One angle counts for longitude and latitude.
    what : str
        What the angle is of, for the error.

    Raises
    ------
    GeometryError
        What is no angle, or not above zero.
    """
    many = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim == 1)
    parts = list(value) if many else [value]  # type: ignore[call-overload]  # a sequence, as was just asked
    if len(parts) not in (1, 2):
        raise GeometryError(f"{what} {value!r}", hint="Give one angle, or two for longitude and latitude.")
    sizes = [_positive_deg(part, what) for part in parts]
    return sizes[0], sizes[-1]


def _positive_deg(value: object, what: str) -> float:
    try:
        angle = u.Quantity(value)
        degrees = float(angle.value if angle.unit == u.dimensionless_unscaled else angle.to_value(u.deg))
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise GeometryError(f"{what} {value!r} is not an angle", hint=_HINT) from error
    if not (math.isfinite(degrees) and degrees > 0):
        raise GeometryError(f"{what} {value!r} is not above zero", hint=_HINT)
    return degrees


def check_width(width: tuple[float, float], proj: str) -> None:
    """Refuse a map larger than the sky.

    Raises
    ------
    GeometryError
        If it is; 2 % are granted to a geometry whose pixels were rounded up to cover all the sky.
    """
    limits = (360.0, 180.0) if proj == "CAR" else (360.0, 360.0)
    if width[0] > limits[0] * 1.02 or width[1] > limits[1] * 1.02:
        raise GeometryError(
            f"width {width[0]:g} x {width[1]:g} deg is larger than the sky",
            hint=f"In projection {proj} a map has at most {limits[0]:g} x {limits[1]:g} deg.",
        )

"""Where two pixel grids agree, and where one lies in the other.

Pure functions on what `WcsGeom` is made of; each says in words which number differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gammaflow.maps.axis import MapAxis
from gammaflow.maps.projection import SkyProjection

#: In deg, in pixels, or relative, as in Gammapy.
WCS_TOLERANCE = 1e-6
#: How far, in pixels, a shift may be from a whole number: what WCS_TOLERANCE in deg is in small pixels.
SHIFT_TOLERANCE = 1e-4
#: A position this near to a pixel's edge, in pixels, lies on it: what decides must not be rounding.
EDGE_TOLERANCE = 1e-6


def trim_window(center: float, size: int, npix: int) -> tuple[int, int]:
    """First pixel and the one after the last of a window, cut off at the ends of the grid.

    The window begins at ceil(center - size / 2), as that of `astropy.nddata.Cutout2D` in its mode "trim". A
    number within EDGE_TOLERANCE of a whole one is that.
    """
    begin = center - size / 2
    whole = round(begin)
    start = whole if abs(begin - whole) < EDGE_TOLERANCE else math.ceil(begin)
    return max(start, 0), min(start + size, npix)


def axes_difference(mine: Sequence[MapAxis], theirs: Sequence[MapAxis]) -> str | None:
    """The first thing in which two lists of axes differ, or ``None``."""
    if len(mine) != len(theirs):
        return f"axes {[axis.name for axis in mine]} and {[axis.name for axis in theirs]}"
    for a, b in zip(mine, theirs, strict=True):
        difference = a.difference(b)
        if difference is not None:
            return difference
    return None


def sky_difference(mine: SkyProjection, theirs: SkyProjection) -> str | None:
    """The first thing in which two projections differ, or ``None``."""
    if mine is theirs or mine == theirs:
        return None
    if mine.frame != theirs.frame:
        return f"frame {mine.frame} and {theirs.frame}"
    if mine.code != theirs.code:
        return f"projection {mine.code} and {theirs.code}"
    for k in (0, 1):
        apart = abs(mine.crval[k] - theirs.crval[k])
        if min(apart, abs(apart - 360.0)) > WCS_TOLERANCE:
            return f"CRVAL{k + 1} {mine.crval[k]!r} and {theirs.crval[k]!r} deg"
        if abs(mine.cdelt[k] - theirs.cdelt[k]) > WCS_TOLERANCE * abs(mine.cdelt[k]):
            return f"CDELT{k + 1} {mine.cdelt[k]!r} and {theirs.cdelt[k]!r} deg"
    cards, others = dict(mine.cards), dict(theirs.cards)
    for key in sorted(cards.keys() | others.keys()):
        a, b = cards.get(key), others.get(key)
        if a is None or b is None or abs(a - b) > WCS_TOLERANCE:
            return f"{key} {a} and {b}"
    return None


def crpix_difference(mine: tuple[float, float], theirs: tuple[float, float]) -> str | None:
    """The first reference pixel that differs, or ``None``."""
    for k in (0, 1):
        if abs(mine[k] - theirs[k]) > WCS_TOLERANCE:
            return f"CRPIX{k + 1} {mine[k]!r} and {theirs[k]!r}"
    return None


def whole_shift(mine: float, theirs: float, name: str) -> tuple[int, str | None]:
    """Pixels from one reference pixel to another, and what is wrong if they are no whole number."""
    shift = theirs - mine
    start = round(shift)
    if abs(shift - start) > SHIFT_TOLERANCE:
        return start, f"{name} {mine!r} and {theirs!r} are {shift - start:+.6g} pixels off a whole number"
    return start, None

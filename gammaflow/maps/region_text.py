"""Regions of the sky as text, and as the numbers that they are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from regions import CompoundSkyRegion, Region, Regions, SkyRegion

from gammaflow.errors import GeometryError
from gammaflow.maps.frames import frame_matrix, lonlat_to_vectors
from gammaflow.maps.region_mask import RegionLike, parse_regions

HINT = "Give a circle, annulus, ellipse, rectangle, polygon or point of the sky, or a DS9 string."
_NUMBER = re.compile(r"[-+]?\d+\.\d+")


def united_parts(region: RegionLike) -> list[SkyRegion]:
    """The sky regions of a union."""
    parts: list[SkyRegion] = []
    for part in parse_regions(region):
        if isinstance(part, CompoundSkyRegion):
            if part.operator.__name__ not in ("or_", "ior"):
                raise GeometryError(
                    f"a region combined by {part.operator.__name__}", where="RegionGeom",
                    hint="Regions can only be united.",
                )  # fmt: skip
            parts += united_parts([part.region1, part.region2])
        elif not isinstance(part, SkyRegion):
            raise GeometryError(
                f"a {type(part).__name__} has no place on the sky", where="RegionGeom", hint=HINT
            )
        elif not part.meta.get("include", True):
            raise GeometryError("the outside of a region", where="RegionGeom", hint=HINT)
        else:
            frame_matrix(anchors(part).frame.name)  # an unknown one is refused there
            parts.append(part)
    return parts


def ds9_text(parts: Sequence[SkyRegion]) -> str:
    """DS9's notation, with every digit that counts."""
    lines = []
    for part in parts:
        plain = part.copy()
        plain.meta.clear()
        plain.visual.clear()
        frame, shape = Regions([plain]).serialize(format="ds9", precision=20).splitlines()[-2:]
        lines.append(f"{frame};" + _NUMBER.sub(lambda found: repr(float(found.group())), shape))
    return "\n".join(lines)


def anchors(region: Region) -> SkyCoord:
    """The positions that a region is hung up on: its centre, or its corners."""
    return region.vertices if hasattr(region, "vertices") else region.center


def mean_vector(region: Region) -> NDArray[np.float64]:
    """ICRS unit vector (3,) of a region's centre; of a polygon, the mean of its corners."""
    icrs = anchors(region).icrs
    total = lonlat_to_vectors(np.atleast_1d(icrs.ra.deg), np.atleast_1d(icrs.dec.deg)).sum(axis=1)
    return np.asarray(total / np.linalg.norm(total))


def region_numbers(region: Region) -> list[tuple[str, float]]:
    """What a region is made of, in deg."""
    numbers: list[tuple[str, float]] = []
    for name in region._params:  # the package has no public list of them
        value = getattr(region, name)
        if isinstance(value, SkyCoord):
            icrs = value.icrs
            for which, angles in (("right ascension", icrs.ra.deg), ("declination", icrs.dec.deg)):
                numbers += [(f"{which} of the {name}", float(a)) for a in np.atleast_1d(angles)]
        else:
            numbers.append((name, float(u.Quantity(value).to_value(u.deg))))
    return numbers

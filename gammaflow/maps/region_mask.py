"""Regions on the sky as masks of a map."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.typing import NDArray
from regions import (
    CompoundPixelRegion,
    CompoundSkyRegion,
    PixCoord,
    PixelRegion,
    PointPixelRegion,
    Region,
    Regions,
    SkyRegion,
)

from gammaflow.errors import DataError
from gammaflow.maps.pixel_arrays import PixelWindow

RegionLike: TypeAlias = Region | str | Sequence[Region | str]


def parse_regions(regions: RegionLike, where: str = "") -> list[Region]:
    """A flat list of regions from regions, DS9 strings, or a mixture.

    Raises
    ------
    DataError
        For a string that is no DS9 region.
    """
    flat: list[Region] = []
    for item in [regions] if isinstance(regions, Region | str) else regions:
        if isinstance(item, str):
            try:
                with warnings.catch_warnings():
                    # the parser warns of lines it skips; what they were to exclude would then be kept
                    warnings.simplefilter("error", AstropyUserWarning)
                    found = list(Regions.parse(item, format="ds9"))
            except Exception as error:  # the parser raises whatever it trips over
                raise DataError(
                    f"cannot read the DS9 region {item!r} ({error})",
                    where=where,
                    hint="E.g. 'icrs;circle(83.6,22,0.5)'.",
                ) from error
            if not found:
                raise DataError(
                    f"no region in {item!r}",
                    where=where,
                    hint="Write DS9 regions, e.g. 'icrs;circle(83.6,22,0.5)'.",
                )
            flat.extend(found)
        elif isinstance(item, Region):
            flat.append(item)
        else:
            raise DataError(f"{item!r} is not a region", where=where, hint="Give regions or DS9 strings.")
    return flat


def region_mask(window: PixelWindow, regions: RegionLike) -> NDArray[np.bool_]:
    """Pixels of a map whose centre lies in any of the regions, (ny, nx).

    A sky region is turned into a region of the projection's plane at its centre, as Gammapy does. (Where
    pixels are not square, that plane is one with square pixels, so that a circle stays one.) A region with
    a minus sign in DS9 is its outside. A point covers the up to four pixels whose centres are less than one
    pixel away along both axes.

    Raises
    ------
    DataError
        For what is no region, and for one that lies partly off the projection.
    """
    plane = _SquarePlane(window)
    mask = np.zeros((window.npix[1], window.npix[0]), dtype=bool)
    for region in parse_regions(regions):
        mask |= _mask_of(region, plane)
    return mask


class _SquarePlane:
    """The plane of a map, in units of its smaller pixel side along both axes."""

    def __init__(self, window: PixelWindow) -> None:
        sky, (x, y) = window.sky, window.origin
        side = min(abs(step) for step in sky.cdelt)
        square = replace(sky, cdelt=(math.copysign(side, sky.cdelt[0]), math.copysign(side, sky.cdelt[1])))
        #: plane units a pixel
        self.scale = abs(sky.cdelt[0]) / side, abs(sky.cdelt[1]) / side
        self.wcs = square.wcs(1.0 - x * self.scale[0], 1.0 - y * self.scale[1])
        self.shape = window.npix[1], window.npix[0]


def _mask_of(region: Region, plane: _SquarePlane) -> NDArray[np.bool_]:
    if isinstance(region, CompoundSkyRegion | CompoundPixelRegion):
        parts = (_mask_of(part, plane) for part in (region.region1, region.region2))
        mask = np.asarray(region.operator(*parts), dtype=bool)
    else:
        mask = np.zeros(plane.shape, dtype=bool)
        of_sky = isinstance(region, SkyRegion)
        flat = _flatten(region, plane.wcs) if of_sky else region
        if flat is not None:
            scale = plane.scale if of_sky else (1.0, 1.0)
            rows, columns = _reach(flat, scale, plane.shape)
            y, x = np.mgrid[rows, columns].astype(np.float64)
            mask[rows, columns] = _contains(flat, x, y, scale)
    return mask if region.meta.get("include", True) else ~mask


def _flatten(region: SkyRegion, wcs: WCS) -> PixelRegion | None:
    """The region in the plane of a WCS; ``None`` if the projection does not show it."""
    anchors = region.vertices if hasattr(region, "vertices") else region.center
    shown = np.isfinite(wcs.world_to_pixel(anchors)).all(axis=0)
    if not shown.any():
        return None
    if not shown.all():
        raise DataError(
            f"the region {region} lies partly off the map's projection", hint="Use a smaller region."
        )
    return region.to_pixel(wcs)


def _reach(region: PixelRegion, scale: tuple[float, float], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of pixels that a region of the plane can reach."""
    if isinstance(region, PointPixelRegion):
        x, y = region.center.xy
        ends = np.array([[x, x], [y, y]]) / np.reshape(scale, (2, 1)) + [-1, 1]
    else:
        box = region.bounding_box
        ends = np.array([[box.ixmin, box.ixmax], [box.iymin, box.iymax]]) / np.reshape(scale, (2, 1))
    first, last = np.floor(ends[:, 0]) - 1, np.ceil(ends[:, 1]) + 2
    left, low = np.clip(first, 0, [shape[1], shape[0]]).astype(int)
    right, up = np.clip(last, 0, [shape[1], shape[0]]).astype(int)
    return slice(low, up), slice(left, right)


def _contains(
    region: PixelRegion, x: NDArray[np.float64], y: NDArray[np.float64], scale: tuple[float, float]
) -> NDArray[np.bool_]:
    if isinstance(region, PointPixelRegion):
        px, py = region.center.x / scale[0], region.center.y / scale[1]
        return (np.abs(x - px) < 1) & (np.abs(y - py) < 1)
    plain = region.copy()
    plain.meta["include"] = (
        True  # the minus sign is for the caller; versions of `regions` differ in heeding it
    )
    return np.asarray(plain.contains(PixCoord(x * scale[0], y * scale[1])), dtype=bool)

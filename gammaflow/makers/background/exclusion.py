"""What part of the sky must not be used to measure the background: a mask, or regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import ConfigError, GeometryError
from gammaflow.maps import RegionGeom, WcsGeom, parse_regions, read_mask, read_mask_image, read_regions
from gammaflow.maps.region_mask import RegionLike
from gammaflow.maps.sky_mask import SkyMask

_PIXEL_DECIMALS = 6


class Exclusion(Protocol):
    """What says of any place whether it may be used."""

    def require_some(self, where: str) -> None:
        """ConfigError if everything is excluded."""

    def on(self, geom: WcsGeom) -> NDArray[np.bool_]:
        """Whether the pixels (ny, nx) of a map may be used."""

    def at(self, vectors: NDArray[np.float64], outside: bool) -> NDArray[np.bool_]:
        """Whether ICRS unit vectors (3, ...) may be used; ``outside`` where nothing is known."""


@dataclass(frozen=True, eq=False)
class ExclusionMask:
    """Which part of the sky may be used to measure the background.

    Attributes
    ----------
    geom : WcsGeom
        An image.
    data : ndarray of bool, shape (ny, nx)
        False where the sky is excluded.
    """

    geom: WcsGeom
    data: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.data.shape != self.geom.shape_image or self.data.dtype != bool:
            raise GeometryError(
                f"data of shape {self.data.shape} and type {self.data.dtype} on {self.geom.shape_image} pixels",
                where="exclusion mask",
                hint="Give booleans of the shape of the image, False where the sky is excluded",
            )

    @classmethod
    def read(cls, path: str | Path, geom: WcsGeom) -> ExclusionMask:
        """From a FITS image or a DS9 region file, on the pixels of a map; see `gammaflow.maps.read_mask`."""
        image = geom.to_image()
        return cls(image, read_mask(path, image))

    def require_some(self, where: str) -> None:
        """ConfigError if everything is excluded."""
        if not self.data.any():
            raise ConfigError(
                "the exclusion mask covers the whole map, no part of it is left to measure the background",
                where=where,
                hint="A mask is True (1) where the sky may be used; perhaps this one is the other way round",
            )

    def on(self, geom: WcsGeom) -> NDArray[np.bool_]:
        """The mask on the pixels of another map, by the nearest pixel; what lies outside is excluded.

        Returns
        -------
        mask : ndarray of bool, shape (ny, nx)
            A view where the map is a cutout of this mask's geometry.
        """
        image = geom.to_image()
        try:
            return self.data[image.slices_in(self.geom)]
        except GeometryError:
            # Not the same pixels
            return self.at(image.pixel_vectors(), outside=False)

    def at(self, vectors: NDArray[np.float64], outside: bool) -> NDArray[np.bool_]:
        """The mask in the pixels nearest to ICRS unit vectors (3, ...); ``outside`` beyond its rim."""
        x, y = self.geom.vectors_to_pix(vectors)
        ny, nx = self.geom.shape_image
        with np.errstate(invalid="ignore"):  # positions off the sky
            column, row = (np.floor(np.round(p, _PIXEL_DECIMALS) + 0.5) for p in (x, y))
            inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        mask = np.full(column.shape, outside)
        mask[inside] = self.data[row[inside].astype(np.intp), column[inside].astype(np.intp)]
        return mask


@dataclass(frozen=True)
class ExclusionRegions:
    """Regions of the sky that are excluded; everything else may be used.

    Attributes
    ----------
    parts : tuple of RegionGeom
        Each in a plane of its own, as they may lie far apart.
    """

    parts: tuple[RegionGeom, ...]

    @classmethod
    def create(cls, regions: RegionLike) -> ExclusionRegions:
        """From sky regions or DS9 strings."""
        return cls(tuple(RegionGeom.create(region) for region in parse_regions(regions)))

    def require_some(self, where: str) -> None:
        """Regions leave some of the sky."""

    def on(self, geom: WcsGeom) -> NDArray[np.bool_]:
        """Whether the centres of a map's pixels (ny, nx) are outside of all regions."""
        return geom.to_image().region_mask([region for part in self.parts for region in part.regions], False)

    def at(self, vectors: NDArray[np.float64], outside: bool = True) -> NDArray[np.bool_]:
        """Whether ICRS unit vectors (3, ...) are outside of all regions; it is known everywhere."""
        free = np.ones(vectors.shape[1:], dtype=bool)
        for part in self.parts:
            free &= ~part.contains(vectors)
        return free


def exclusion_of(given: Exclusion | RegionLike | Path | None, where: str) -> Exclusion | None:
    """What a user gives to say what is excluded: a mask, regions, DS9 strings, or the path of a file.

    A mask that `WcsGeom.region_mask` made, or what ``~``, ``&`` and ``|`` make of it, knows its pixels.

    Raises
    ------
    ConfigError
        For a bare array, which does not say where its pixels are.
    DataError
        For what is none of those, or a file that cannot be used.
    """
    if isinstance(given, SkyMask) and given.geom is not None:
        return ExclusionMask(given.geom, np.asarray(given))
    if isinstance(given, np.ndarray):
        raise ConfigError(
            f"an array of shape {given.shape} does not say where on the sky its pixels are",
            where=f"{where}, exclusion_mask",
            hint="Give the regions to exclude, or ExclusionMask(geom.to_image(), mask)",
        )
    if given is None or hasattr(given, "at"):
        return cast("Exclusion | None", given)
    if isinstance(given, Path) or (isinstance(given, str) and given.endswith((".reg", ".fits", ".fits.gz"))):
        return read_exclusion(given)
    return ExclusionRegions.create(given)


def read_exclusion(path: str | Path) -> ExclusionMask | ExclusionRegions:
    """A FITS image on its own pixels (0 where the sky is excluded), or the regions of a DS9 file (``.reg``).

    Raises
    ------
    MissingFileError, MissingHduError, CorruptFileError, GeometryError, DataError
        As `gammaflow.maps.read_mask`.
    """
    if Path(path).suffix == ".reg":
        return ExclusionRegions.create(read_regions(path))
    data, geom = read_mask_image(path)
    return ExclusionMask(geom, data)

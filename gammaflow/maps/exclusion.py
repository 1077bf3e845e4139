"""Exclusion masks from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from regions import Region

from gammaflow.errors import CorruptFileError, GeometryError, MissingFileError, MissingHduError
from gammaflow.maps.geom import WcsGeom
from gammaflow.maps.region_mask import parse_regions

_PIXEL_NOISE = 1e-6


def read_mask(path: str | Path, geom: WcsGeom) -> NDArray[np.bool_]:
    """A mask from a file, on the pixels of a geometry: True is kept, False excluded.

    Parameters
    ----------
    path : path
        A FITS image, looked up at the nearest pixel; what lies outside of it is excluded. Or a DS9 region
        file (``.reg``): the regions are what is excluded.
    geom : `WcsGeom`
        The pixels.

    Returns
    -------
    mask : bool array (ny, nx)

    Raises
    ------
    MissingFileError, MissingHduError, CorruptFileError, GeometryError
        If the file is not there, holds no image or regions, or an image without a usable WCS.
    """
    if Path(path).suffix == ".reg":
        return geom.region_mask(read_regions(path), inside=False)
    image, source = read_mask_image(path)
    x, y = source.vectors_to_pix(geom.pixel_vectors())
    # coarse pixels often have their edges right on the centres of fine ones; noise must not decide to which
    # side
    column, row = (np.floor(np.round(p / _PIXEL_NOISE) * _PIXEL_NOISE + 0.5) for p in (x, y))
    inside = (column >= 0) & (column < source.npix[0]) & (row >= 0) & (row < source.npix[1])
    mask = np.zeros(geom.shape_image, dtype=bool)
    mask[inside] = image[row[inside].astype(np.intp), column[inside].astype(np.intp)]
    return mask


def read_regions(path: str | Path) -> list[Region]:
    """The regions of a DS9 region file.

    Raises
    ------
    MissingFileError, CorruptFileError, DataError
        If the file is not there, is no text, or holds something that is no region.
    """
    path, where = _existing(path)
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise CorruptFileError(
            "not a text file", where=where, hint="A .reg file holds DS9 regions."
        ) from error
    return parse_regions(text, where)


def read_mask_image(path: str | Path) -> tuple[NDArray[np.bool_], WcsGeom]:
    """The first image of a FITS file as a mask (ny, nx), True where it is not 0, and its geometry.

    Raises
    ------
    MissingFileError, MissingHduError, CorruptFileError, GeometryError
        As `read_mask`.
    """
    path, where = _existing(path)
    try:
        with fits.open(path) as hdus:
            for hdu in hdus:
                if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2:
                    values, header = np.asarray(hdu.data), hdu.header
                    break
            else:
                raise MissingHduError("there is no image in the file", where=where)
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise CorruptFileError(f"not a readable FITS file ({error})", where=where) from error
    planes = values.reshape(-1, *values.shape[-2:])
    if len(planes) != 1:
        raise GeometryError(
            f"an image of shape {values.shape}", where=where, hint="A mask has one plane, for all energies."
        )
    plane = planes[0]
    return np.isfinite(plane) & (plane != 0), WcsGeom.from_header(header, where=where)


def _existing(path: str | Path) -> tuple[Path, str]:
    """The path, and what errors call it."""
    path = Path(path)
    where = f"exclusion mask {path}"
    if not path.is_file():
        raise MissingFileError("there is no such file", where=where, hint="Check the path and $GAMMAPY_DATA.")
    return path, where

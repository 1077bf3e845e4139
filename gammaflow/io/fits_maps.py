"""Maps and spectra as HDUs of the GADF sky-map format: an image or a table, its bands, and its region."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.typing import NDArray
from regions import Regions

from gammaflow.data.fits_table import unit_factor
from gammaflow.errors import CorruptFileError, UnitError, UnsupportedError
from gammaflow.io.fits_axes import FileAxis, axes_hdu, axis_cards, read_axes
from gammaflow.io.fits_files import FitsDocument
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom

#: Units that are none.
PURE_NUMBERS = ("", "ct", "count", "counts")


@dataclass(frozen=True)
class FileMap:
    """A map as a file has it.

    Attributes
    ----------
    values : ndarray
        Dimensions are the axes, slowest first, then y and x; a region has one pixel.
    geom : WcsGeom or RegionGeom
        Image or region, without axes.
    axes : tuple of FileAxis
        In the order of the dimensions.
    where : str
        File and extension, for messages.
    """

    values: NDArray[Any]
    geom: WcsGeom | RegionGeom
    axes: tuple[FileAxis, ...]
    where: str

    def axis(self, name: str) -> FileAxis:
        """The axis of a name; CorruptFileError when there is none."""
        for found in self.axes:
            if found.axis.name == name:
                return found
        raise CorruptFileError(
            f"there is no axis {name!r}, but {', '.join(a.axis.name for a in self.axes) or 'none'}",
            where=self.where,
            hint="The map is of another kind than its name says",
        )

    def ordered(self, *names: str) -> NDArray[Any]:
        """The values with the axes in this order, before y and x."""
        places = [self.axes.index(self.axis(name)) for name in names]
        if len(places) != len(self.axes):
            raise CorruptFileError(
                f"the axes are {', '.join(a.axis.name for a in self.axes)}, should be {', '.join(names)}",
                where=self.where,
            )
        n = len(places)
        return self.values.transpose(*places, n, n + 1)


def read_map(document: FitsDocument, name: str, unit: str = "") -> FileMap:
    """Read a map, or the spectrum of a region, in a unit.

    Raises
    ------
    MissingHduError
        When the map, or the table of its axes, is not there.
    CorruptFileError
        When map and axes do not belong together.
    UnitError
        When it comes in a unit of another kind, or in none where it needs one.
    UnsupportedError
        When it is on HEALPix pixels.
    """
    header, where = document.header(name), document.where(name)
    geom: WcsGeom | RegionGeom
    if document.is_table(name):
        if "DATA" not in document.table(name):
            raise UnsupportedError(
                "this table is no spectrum of a region (it has no column DATA)",
                where=where,
                hint="HEALPix maps and event lists are not read here",
            )
        table = document.table(name)
        values, found, geom = table.column("DATA"), table.unit("DATA"), _read_region(document, name)
    else:
        values, found = document.image(name), str(header.get("BUNIT", "")).strip()
        geom = WcsGeom.from_header(header, where=where)
    if values.dtype.kind not in "biuf" or values.ndim < 3:
        raise CorruptFileError(
            f"values of type {values.dtype} with {values.ndim} dimensions are no map with an energy axis",
            where=where,
        )
    bands = str(header.get("BANDSHDU", f"{name}_BANDS")).strip()
    axes = read_axes(document.table(bands), values.shape[-3::-1])
    factor = _factor(found, unit, where)
    return FileMap(values if factor == 1.0 else values * factor, geom, axes[::-1], where)


def _factor(found: str | None, unit: str, where: str) -> float:
    if unit:
        return unit_factor(found or None, unit, where)
    if (found or "") not in PURE_NUMBERS:
        raise UnitError(
            f"the unit is {found!r}, a pure number is needed", where=where, hint="Correct BUNIT in the file"
        )
    return 1.0


def map_hdus(
    name: str,
    values: NDArray[Any],
    geom: WcsGeom,
    axes: Sequence[MapAxis],
    unit: str,
    meta: Mapping[str, Any],
) -> list[Any]:
    """The HDUs of a map: image and bands. ``axes`` are fastest first, ``values`` (..., y, x)."""
    header = fits.Header()
    header.update({k: v for k, v in geom.header.items() if not k.startswith("NAXIS")})
    header.update(axis_cards(axes))
    header["WCSSHAPE"] = "(" + ",".join(str(n) for n in values.shape[::-1]) + ")"
    header["BANDSHDU"] = f"{name}_BANDS"
    header["META"] = json.dumps(dict(meta))
    header["BUNIT"] = unit
    plain = values.astype(np.uint8) if values.dtype == bool else values
    image = fits.ImageHDU(np.ascontiguousarray(plain), header, name)
    return [image, axes_hdu(axes, f"{name}_BANDS")]


def spectrum_hdus(
    name: str, values: NDArray[Any], geom: RegionGeom, axes: Sequence[MapAxis], unit: str
) -> list[Any]:
    """The HDUs of the spectrum of a region: table, bands, and region. Order of ``axes`` as for `map_hdus`."""
    code = {"b": "L", "i": "J", "f": "E"}[values.dtype.kind]
    repeat = int(np.prod(values.shape[1:]))
    dim = "(" + ",".join(str(n) for n in values.shape[:0:-1]) + ")"
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(len(values), dtype=np.int16)),
        fits.Column("DATA", f"{repeat}{code}", unit=unit or None, dim=dim, array=values),
    ]
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.update(axis_cards(axes))
    return [table, axes_hdu(axes, f"{name}_BANDS"), *region_hdus(geom, f"{name}_REGION")]


def region_hdus(geom: RegionGeom, name: str) -> list[Any]:
    """A region as a table of shapes in pixels, with its projection; nothing when there is no region."""
    if not geom.regions:
        return []
    plane = WcsGeom.create(geom.center_lonlat, geom.binsz_wcs, npix=1, frame=geom.frame, proj="TAN")
    flat = Regions([region.to_pixel(plane.wcs) for region in geom.regions])
    hdu = fits.BinTableHDU(flat.serialize(format="fits"), name=name)
    hdu.header.update({k: v for k, v in plane.header.items() if not k.startswith("NAXIS")})
    hdu.header["WCSSHAPE"] = "(1,1)"
    return [hdu]


def read_region(document: FitsDocument, name: str) -> RegionGeom:
    """The region that a table of shapes describes; none when the file has no such table.

    Raises
    ------
    CorruptFileError
        When the shapes cannot be understood.
    """
    if name not in document:
        return RegionGeom.create(None)
    header = document.header(name)
    try:
        wcs = WCS(header).celestial
        table = QTable.read(document.table(name).to_hdu())
        shapes = Regions.parse(table, format="fits")
        return RegionGeom.create([shape.to_sky(wcs) for shape in shapes], None, abs(float(wcs.wcs.cdelt[1])))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CorruptFileError(
            f"the region cannot be understood ({error})",
            where=document.where(name),
            hint="Write the file again with the program that made it",
        ) from error


def _read_region(document: FitsDocument, name: str) -> RegionGeom:
    return read_region(document, f"{name}_REGION")

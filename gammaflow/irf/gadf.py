"""Instrument responses in the GADF FITS layout: columns, axes and units.

Format: https://gamma-astro-data-formats.readthedocs.io, section "IRFs". A response is one row of a binary
table: the columns ``X_LO`` and ``X_HI`` give the edges of axis X, the others the table itself, whose FITS
axis order is that of the axes (reversed in numpy).
"""

from __future__ import annotations

import re
from functools import lru_cache

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.errors import CorruptFileError, MissingHduError, UnitError
from gammaflow.irf.axis import IrfAxis, Scale

# axis name -> column prefixes, unit inside the package, interpolation scale
AXIS_COLUMNS: dict[str, tuple[tuple[str, ...], str, Scale]] = {
    "energy": (("ENERG",), "TeV", "log"),
    "energy_true": (("ENERG", "ETRUE"), "TeV", "log"),
    "offset": (("THETA",), "deg", "lin"),
    "rad": (("RAD",), "deg", "lin"),
    "migra": (("MIGRA",), "", "lin"),
    "fov_lon": (("DETX",), "deg", "lin"),
    "fov_lat": (("DETY",), "deg", "lin"),
}

_STRUCTURAL = re.compile(
    r"XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|CHECKSUM|DATASUM|COMMENT|HISTORY|"
    r"(TTYPE|TFORM|TUNIT|TDIM|TSCAL|TZERO|TNULL|TDISP)\d+|"
)
_SEVERAL_SLASHES = re.compile(r"[^/()\s]+(/[^/()\s]+){2,}")


@lru_cache(maxsize=256)
def parse_unit(text: str) -> u.UnitBase | None:
    """Unit written in a FITS file, or None if it cannot be understood.

    Besides FITS units this takes what is found in the wild: ``1/s/MeV/sr``, ``s^-1 MeV^-1 sr^-1``,
    ``sr^(-1)``, ``m**2``.
    """
    if _SEVERAL_SLASHES.fullmatch(text):
        head, *rest = text.split("/")
        text = f"{head}/({' '.join(rest)})"
    try:
        return u.Unit(text)
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _factor(found: str, needed: str) -> float | None:
    """What turns numbers in one unit into another, None if there is no such thing."""
    if found == needed:
        return 1.0
    unit = parse_unit(found)
    return float(unit.to(needed)) if unit is not None and unit.is_equivalent(needed) else None


def convert(values: NDArray[np.floating], found: str | None, needed: str, where: str) -> NDArray[np.floating]:
    """``values`` from the unit of a file to the one needed, in their own precision.

    Raises
    ------
    UnitError
        Naming the column, the unit found and the unit needed.
    """
    factor = _factor((found or "").strip(), needed)
    if factor is None:
        problem = f"unit {found!r}" if found else "no unit"
        raise UnitError(
            f"{problem}, where {needed or 'a dimensionless number'!r} is needed",
            where=where,
            hint="Correct the TUNIT card of this column",
        )
    return values if factor == 1.0 else (values.astype(np.float64) * factor).astype(values.dtype)


class GadfRow:
    """The one row of a GADF response table.

    Parameters
    ----------
    hdu : BinTableHDU
        The table; anything with ``header``, ``columns`` (with ``name`` and ``unit``) and records ``data`` will do.
    where : str
        File and HDU, for messages.

    Raises
    ------
    CorruptFileError
        If the HDU is not a table of at least one row, or is truncated.
    """

    def __init__(self, hdu: fits.BinTableHDU, where: str) -> None:
        self.where = where
        self.header: fits.Header = hdu.header
        try:
            table = hdu.data
            if table is None or not len(table):
                raise CorruptFileError("a table without rows", where=where, hint="Get this file again")
            self._columns = {column.name.upper(): column for column in hdu.columns}
            plain = all(c.bscale in ("", None) and c.bzero in ("", None) for c in hdu.columns)
            # The raw record avoids the cost of a FITS column object; scaled columns need those objects
            self._row = table.view(np.ndarray)[0] if plain else table[0]
        except (TypeError, ValueError, OSError, AttributeError) as error:
            raise CorruptFileError(
                f"a table that cannot be read ({error})", where=where, hint="Get this file again"
            ) from error

    @property
    def is_pointlike(self) -> bool:
        """Whether a directional cut is part of the response."""
        return bool(self.header.get("HDUCLAS3") == "POINT-LIKE")

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    def place(self, column: str) -> str:
        """Where a column is, for messages."""
        return f"{self.where}, column {column}"

    def unit(self, column: str) -> str:
        """Unit of a column as it is written, or an empty string."""
        return str(self._columns[column].unit or "").strip()

    def values(self, column: str) -> NDArray[np.floating]:
        """Values of a column in native byte order; axes as numpy sees them."""
        if column not in self._columns:
            raise MissingHduError(
                f"no column {column}", where=self.where, hint=f"It has {', '.join(self._columns)}"
            )
        values = np.atleast_1d(np.asarray(self._row[self._columns[column].name]))
        if values.dtype.kind not in "fiu":
            raise CorruptFileError(f"values of type {values.dtype}, not numbers", where=self.place(column))
        dtype = np.float64 if values.dtype.itemsize == 8 or values.dtype.kind != "f" else np.float32
        return values.astype(dtype)

    def axis(self, name: str) -> IrfAxis:
        """Axis ``name`` from its columns, in TeV or deg."""
        prefixes, needed, scale = AXIS_COLUMNS[name]
        prefix = next((p for p in prefixes if f"{p}_LO" in self), prefixes[0])
        edges = []
        for column in (f"{prefix}_LO", f"{prefix}_HI"):
            values = self.values(column).astype(np.float64)
            edges.append(convert(values, self.unit(column), needed, self.place(column)))
        try:
            return IrfAxis(name, edges[0], edges[1], scale)
        except CorruptFileError as error:
            raise error.at(self.where) from error

    def table(self, column: str, axes: tuple[IrfAxis, ...]) -> NDArray[np.floating]:
        """Table with one dimension for each of ``axes``, in their order."""
        values = self.values(column)
        shape = tuple(axis.nbin for axis in axes)
        if values.T.shape != shape and values.size == 1 and shape == (1,) * len(shape):
            values = values.reshape(shape)
        if values.T.shape != shape:
            expected = " x ".join(f"{axis.nbin} {axis.name}" for axis in axes)
            raise CorruptFileError(
                f"a table of shape {values.T.shape}, where the axes give {expected}",
                where=self.place(column),
                hint="The column's TDIM card and the axis columns must agree",
            )
        return np.ascontiguousarray(values.T)


def header_cards(header: fits.Header) -> dict[str, object]:
    """The cards of a header that say something about the response, not about the table."""
    return {card.keyword: card.value for card in header.cards if not _STRUCTURAL.fullmatch(card.keyword)}


def table_hdu(
    axes: tuple[IrfAxis, ...],
    columns: dict[str, tuple[NDArray[np.floating], str]],
    cards: dict[str, object],
    extname: str,
) -> fits.BinTableHDU:
    """One-row GADF table from axes and ``columns``: name -> (table in the order of ``axes``, unit)."""
    fields = []
    for axis in axes:
        prefix, unit = AXIS_COLUMNS[axis.name][0][0], AXIS_COLUMNS[axis.name][1]
        for suffix, edges in (("LO", axis.lo), ("HI", axis.hi)):
            array = edges.astype(np.float32)[np.newaxis]
            fields.append(
                fits.Column(f"{prefix}_{suffix}", format=f"{axis.nbin}E", unit=unit or None, array=array)
            )
    for name, (values, unit) in columns.items():
        code = "D" if values.dtype == np.float64 else "E"
        fields.append(
            fits.Column(
                name,
                format=f"{values.size}{code}",
                dim=str(values.shape).replace(" ", "").replace(",)", ")"),
                unit=unit or None,
                array=np.ascontiguousarray(values.T)[np.newaxis],
            )
        )
    hdu = fits.BinTableHDU.from_columns(fields, name=extname)
    for keyword, value in cards.items():
        if keyword != "EXTNAME":
            hdu.header[keyword] = value
    return hdu

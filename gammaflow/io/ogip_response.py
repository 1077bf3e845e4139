"""Effective area (ARF) and redistribution matrix (RMF) of a spectrum in the OGIP formats.

Source: CAL/GEN/92-002 and 92-002a (George et al.), the formats of response files. Energies are written in keV,
areas in cm2, channels counted from zero; any unit is understood.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data.fits_table import FitsTable
from gammaflow.errors import CorruptFileError, GeometryError
from gammaflow.io.fits_files import FitsDocument
from gammaflow.maps import MapAxis

KEV_PER_TEV = 1e9
CM2_PER_M2 = 1e4
_MATRICES = ("MATRIX", "SPECRESP MATRIX")


def ebounds_hdu(axis: MapAxis) -> fits.BinTableHDU:
    """Energies of the channels."""
    channels = np.arange(axis.nbin, dtype=np.int16)
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column("CHANNEL", "I", array=channels),
            fits.Column("E_MIN", "D", unit="keV", array=axis.edges[:-1] * KEV_PER_TEV),
            fits.Column("E_MAX", "D", unit="keV", array=axis.edges[1:] * KEV_PER_TEV),
        ],
        name="EBOUNDS",
    )
    hdu.header.update(
        HDUCLASS="OGIP", HDUCLAS1="RESPONSE", HDUCLAS2="EBOUNDS", HDUVERS="1.2.0", CHANTYPE="PHA",
        DETCHANS=axis.nbin, TELESCOP="unknown", INSTRUME="unknown", FILTER="None",
    )  # fmt: skip
    return hdu


def read_bounds(table: FitsTable, low: str, high: str, name: str) -> MapAxis:
    """The axis between two columns of a table.

    Raises
    ------
    CorruptFileError
        When the bins do not touch.
    UnitError
        When the unit is not that of an energy.
    """
    lows, highs = (np.asarray(table.column(c, "TeV"), dtype=np.float64) for c in (low, high))
    if len(lows) == 0 or not np.allclose(lows[1:], highs[:-1], rtol=1e-5):
        raise CorruptFileError(
            f"the bins between {low} and {high} do not touch", where=table.where, hint="Check the file"
        )
    return MapAxis(np.append(lows, highs[-1]), name)


def arf_hdu(
    axis: MapAxis, exposure: NDArray[np.float64], livetime: float, weight: NDArray[np.float64] | None
) -> fits.BinTableHDU:
    """The effective area: exposure in m2 s over livetime in s.

    ``weight``, in m2 s, goes into a column of our own, ``EDISP_EXPOSURE``.
    """
    columns = [
        *_energies(axis),
        fits.Column("SPECRESP", "D", unit="cm2", array=exposure * CM2_PER_M2 / livetime),
    ]
    if weight is not None:
        columns.append(fits.Column("EDISP_EXPOSURE", "E", unit="m2 s", array=weight))
    hdu = fits.BinTableHDU.from_columns(columns, name="SPECRESP")
    hdu.header.update(
        HDUCLASS="OGIP", HDUCLAS1="RESPONSE", HDUCLAS2="SPECRESP", HDUVERS="1.1.0",
        TELESCOP="unknown", INSTRUME="unknown", FILTER="None",
    )  # fmt: skip
    return hdu


def read_arf(document: FitsDocument) -> tuple[MapAxis, NDArray[np.float64], NDArray[np.float64] | None]:
    """True energies, effective area in m2, and the weight of the energy dispersion in m2 s if it is there."""
    table = document.table("SPECRESP")
    area = np.asarray(table.column("SPECRESP", "m2"), dtype=np.float64)
    weight = table.column("EDISP_EXPOSURE", "m2 s") if "EDISP_EXPOSURE" in table else None
    return read_bounds(table, "ENERG_LO", "ENERG_HI", "energy_true"), area, weight


def rmf_hdu(axis: MapAxis, kernel: NDArray[np.float32]) -> fits.BinTableHDU:
    """The matrix (energy_true, energy): of each row one group of channels, from its first to its last entry."""
    n_group, first, number, values = [], [], [], []
    for row in kernel:
        filled = np.flatnonzero(row)
        n_group.append(int(filled.size > 0))
        start, stop = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 0)
        first.append(np.array([start] if filled.size else [], dtype=np.int16))
        number.append(np.array([stop - start] if filled.size else [], dtype=np.int16))
        values.append(row[start:stop])
    columns = [
        *_energies(axis),
        fits.Column("N_GRP", "I", array=np.array(n_group, dtype=np.int16)),
        fits.Column("F_CHAN", "PI()", array=_ragged(first)),
        fits.Column("N_CHAN", "PI()", array=_ragged(number)),
        fits.Column("MATRIX", "PE()", array=_ragged(values)),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="MATRIX")
    hdu.header.update(
        HDUCLASS="OGIP", HDUCLAS1="RESPONSE", HDUCLAS2="RSP_MATRIX", HDUVERS="1.3.0", CHANTYPE="PHA",
        DETCHANS=kernel.shape[1], NUMGRP=sum(n_group), NUMELT=sum(len(v) for v in values), TLMIN4=0,
        TELESCOP="unknown", INSTRUME="unknown", FILTER="None",
    )  # fmt: skip
    return hdu


def read_rmf(document: FitsDocument, true: MapAxis, energy: MapAxis) -> NDArray[np.float64]:
    """The matrix (energy_true, energy) of a file.

    Raises
    ------
    GeometryError
        When its energies are not those of the effective area and of the spectrum.
    CorruptFileError
        When a group of channels lies outside the matrix.
    """
    name = next((n for n in _MATRICES if n in document), _MATRICES[0])
    table = document.table(name)
    bounds = document.table("EBOUNDS")
    for found, wanted, what in (
        (read_bounds(table, "ENERG_LO", "ENERG_HI", "energy_true"), true, "effective area"),
        (read_bounds(bounds, "E_MIN", "E_MAX", "energy"), energy, "spectrum"),
    ):
        difference = found.difference(wanted)
        if difference is not None:
            raise GeometryError(f"its energies are not those of the {what}: {difference}", where=table.where)
    place = table.names.index("F_CHAN") + 1 if "F_CHAN" in table else 0
    start = table.header.get(f"TLMIN{place}")
    origin = int(bounds.column("CHANNEL")[0] if start is None else start)
    groups, firsts, numbers, values = (table.column(c) for c in ("N_GRP", "F_CHAN", "N_CHAN", "MATRIX"))
    kernel = np.zeros((true.nbin, energy.nbin))
    for k, n_groups in enumerate(groups):
        first, number = (np.atleast_1d(a[k])[: int(n_groups)].astype(int) for a in (firsts, numbers))
        row, used = np.atleast_1d(values[k]), 0
        for low, n in zip(first - origin, number, strict=True):
            if low < 0 or low + n > energy.nbin or used + n > row.size:
                raise CorruptFileError(
                    f"row {k} has a group of {n} channels from {low + origin}, "
                    f"the matrix has {energy.nbin} and the row {row.size} values",
                    where=table.where,
                    hint="Get the file again, or ask whoever made it",
                )
            kernel[k, low : low + n] = row[used : used + n]
            used += n
    return kernel


def _energies(axis: MapAxis) -> list[fits.Column]:
    return [
        fits.Column("ENERG_LO", "D", unit="keV", array=axis.edges[:-1] * KEV_PER_TEV),
        fits.Column("ENERG_HI", "D", unit="keV", array=axis.edges[1:] * KEV_PER_TEV),
    ]


def _ragged(rows: list[Any]) -> NDArray[np.object_]:
    out = np.empty(len(rows), dtype=object)
    for k, row in enumerate(rows):
        out[k] = row
    return out

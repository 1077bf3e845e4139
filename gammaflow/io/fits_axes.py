"""Axes of sky maps in FITS: the tables ``*_BANDS`` of the GADF sky-map format.

A row stands for one image of the map, the first axis runs fastest. ``AXCOLSn`` names the columns of the edges
of axis n, or that of its nodes; ``INTERPn`` its scale. Source: gamma-astro-data-formats, "Sky maps", BANDS HDU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data.fits_table import FitsTable
from gammaflow.errors import CorruptFileError
from gammaflow.maps import MapAxis

_NAMES = {"E": "energy", "THETA": "rad"}
_UNITS = {"energy": "TeV", "energy_true": "TeV", "rad": "deg"}


@dataclass(frozen=True)
class FileAxis:
    """An axis as a file has it.

    Attributes
    ----------
    axis : MapAxis
        Its bins.
    nodes : ndarray (N,)
        Where the values of a map are given: the centres of the bins, unless the file says otherwise.
    """

    axis: MapAxis
    nodes: NDArray[np.float64]


def read_axes(table: FitsTable, shape: tuple[int, ...]) -> tuple[FileAxis, ...]:
    """Axes of a map, fastest first, from its table of bands.

    Parameters
    ----------
    table : FitsTable
        The extension ``*_BANDS``.
    shape : tuple of int
        Length of each axis, fastest first, as the map itself has them.

    Raises
    ------
    CorruptFileError
        When the table is not that of such a map, or its bins do not touch.
    UnitError
        When energies or angles come in a unit of another kind, or in none.
    """
    if len(table) != math.prod(shape):
        raise CorruptFileError(
            f"it has {len(table)} rows, the map has {math.prod(shape)} images",
            where=table.where,
            hint="Map and bands do not belong together: write the file again",
        )
    return tuple(_read_axis(table, shape, number) for number in range(len(shape)))


def _read_axis(table: FitsTable, shape: tuple[int, ...], number: int) -> FileAxis:
    columns = [c.strip().upper() for c in str(table.card(f"AXCOLS{number + 1}")).split(",")]
    interp = str(table.header.get(f"INTERP{number + 1}", "lin")).strip()
    stem = columns[0].removesuffix("_MIN")
    name = _NAMES.get(stem, stem.lower())

    def along(column: str) -> NDArray[np.float64]:
        values = np.asarray(table.column(column, _UNITS.get(name)), dtype=np.float64).reshape(shape[::-1])
        values = np.moveaxis(values, len(shape) - 1 - number, -1)
        return np.ascontiguousarray(values.reshape(-1, shape[number])[0])

    low_high = columns if len(columns) == 2 else [f"{stem}_MIN", f"{stem}_MAX"]
    nodes = along(stem) if len(columns) == 1 else None
    if all(column in table for column in low_high):
        low, high = (along(column) for column in low_high)
        if not np.allclose(low[1:], high[:-1], rtol=1e-5):
            bad = int(np.argmax(~np.isclose(low[1:], high[:-1], rtol=1e-5)))
            raise CorruptFileError(
                f"bin {bad} of {name} ends at {high[bad]:g}, bin {bad + 1} starts at {low[bad + 1]:g}",
                where=table.where,
                hint="Only axes without gaps can be used",
            )
        edges = np.append(low, high[-1])
    else:
        edges = _edges_between(along(columns[0]), interp, table.where)
    if name == "rad":
        edges = np.maximum(edges, 0.0)  # an axis of nodes that starts at zero has its first bin around it
    axis = MapAxis(edges, name, _UNITS.get(name, ""), interp)
    return FileAxis(axis, axis.center if nodes is None else nodes)


def _edges_between(nodes: NDArray[np.float64], interp: str, where: str) -> NDArray[np.float64]:
    if nodes.size < 2:
        raise CorruptFileError("an axis of a single node has no width", where=where)
    scaled = np.log(nodes) if interp == "log" else nodes
    middle = 0.5 * (scaled[1:] + scaled[:-1])
    edges = np.concatenate([[2 * scaled[0] - middle[0]], middle, [2 * scaled[-1] - middle[-1]]])
    return np.exp(edges) if interp == "log" else edges


def axis_cards(axes: Sequence[MapAxis]) -> dict[str, str]:
    """The cards that say which columns of the bands are the axes, for the map and for the bands."""
    cards = {}
    for number, axis in enumerate(axes, start=1):
        cards[f"AXCOLS{number}"] = ",".join(_edge_columns(axis))
        cards[f"INTERP{number}"] = axis.interp
    return cards


def axes_hdu(axes: Sequence[MapAxis], name: str) -> fits.BinTableHDU:
    """The table of bands of a map with these axes, fastest first."""
    shape = tuple(axis.nbin for axis in reversed(axes))
    columns: list[Any] = [fits.Column("CHANNEL", "K", array=np.arange(math.prod(shape)))]
    for number, axis in enumerate(axes):
        place = [1] * len(axes)
        place[len(axes) - 1 - number] = axis.nbin
        low, high = _edge_columns(axis)
        for column, values in (
            (axis.name.upper(), axis.center),
            (low, axis.edges[:-1]),
            (high, axis.edges[1:]),
        ):
            spread = np.broadcast_to(values.reshape(place), shape).ravel()
            columns.append(fits.Column(column, "D", unit=axis.unit or None, array=spread))
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    hdu.header.update(axis_cards(axes))
    return hdu


def _edge_columns(axis: MapAxis) -> tuple[str, str]:
    stem = "E" if axis.name == "energy" else axis.name.upper()
    return f"{stem}_MIN", f"{stem}_MAX"

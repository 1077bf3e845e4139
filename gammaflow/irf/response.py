"""What all instrument responses have in common: axes, a table, reading, writing, evaluation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import CorruptFileError, InvalidResponseError
from gammaflow.irf.axis import Floats, IrfAxis, interpolate, plain
from gammaflow.irf.gadf import AXIS_COLUMNS, GadfRow, convert, header_cards, table_hdu
from gammaflow.maps import MapAxis

T = TypeVar("T")

_HDUDOC = "https://gamma-astro-data-formats.readthedocs.io"
_PREPARED_KEPT = 16  # a few things for each of a few sets of map axes
_PREPARED_LOCK = threading.Lock()


class Irf:
    """An instrument response function: a table on named axes.

    Parameters
    ----------
    axes : sequence of IrfAxis or MapAxis
        In the order of ``required_axes``.
    data : array_like
        The table, one dimension an axis. float32 and float64 are kept as they are.
    unit : str, optional
        Unit of ``data``; converted to the class's own ``unit`` when it differs.
    meta : mapping or Header, optional
        FITS header cards.
    is_pointlike : bool
        Whether a directional cut is part of the response.

    Attributes
    ----------
    unit : str
        Unit of `data` and of what `evaluate` returns.

    Raises
    ------
    CorruptFileError
        If axes or shape are not those of the response.
    UnitError
        If ``unit`` cannot be converted.
    """

    tag: ClassVar[str]
    required_axes: ClassVar[tuple[str, ...]]
    unit: ClassVar[str] = ""
    column: ClassVar[str]
    extname: ClassVar[str]
    hduclas2: ClassVar[str]

    def __init__(
        self,
        axes: Sequence[IrfAxis | MapAxis],
        data: ArrayLike,
        unit: str | None = None,
        meta: Mapping[str, Any] | fits.Header | None = None,
        is_pointlike: bool = False,
    ) -> None:
        self.axes = named_axes(axes, self.required_axes, type(self).__name__)
        table = np.asarray(data)
        if table.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            table = table.astype(np.float64)
        if unit is not None and unit != self.unit:
            table = convert(table, unit, self.unit, type(self).__name__)
        if table.ndim == 0:
            table = np.full(self.shape, table)
        if table.shape != self.shape:
            raise CorruptFileError(
                f"a table of shape {table.shape}, where the axes give {self.shape}",
                where=type(self).__name__,
            )
        self.data: NDArray[np.floating] = table
        self._init_common(meta, is_pointlike)

    def _init_common(self, meta: Mapping[str, Any] | fits.Header | None, is_pointlike: bool) -> None:
        self.is_pointlike = is_pointlike
        self._header = meta if hasattr(meta, "cards") else None  # parsed when it is asked for
        self._meta: dict[str, Any] | None = None if self._header is not None else dict(meta or {})
        self._prepared: OrderedDict[Hashable, Any] = OrderedDict()

    # -- reading and writing ---------------------------------------------------------------------

    @classmethod
    def from_hdu(cls, hdu: fits.BinTableHDU, where: str = "") -> Self:
        """Read from a GADF table.

        Parameters
        ----------
        hdu : BinTableHDU
            The table.
        where : str
            File and HDU, for messages.

        Raises
        ------
        CorruptFileError
            If sizes do not fit, or edges mean nothing.
        MissingHduError
            If a column is missing.
        UnitError
            If a column's unit cannot be converted; names the column, the unit found and the one needed.
        """
        row = GadfRow(hdu, where)
        axes = tuple(row.axis(name) for name in cls.required_axes)
        irf = cls(axes, cls._read_table(row, axes), meta=row.header, is_pointlike=row.is_pointlike)
        irf._read_extra(row)
        return irf

    @classmethod
    def _read_table(cls, row: GadfRow, axes: tuple[IrfAxis, ...]) -> NDArray[np.floating]:
        table = row.table(cls.column, axes)
        return convert(table, row.unit(cls.column), cls.unit, row.place(cls.column))

    def _read_extra(self, row: GadfRow) -> None:
        """Cards that change the meaning of the table."""

    def to_hdu(self) -> fits.BinTableHDU:
        """GADF table of this response (a new HDU)."""
        return table_hdu(self.axes, self._columns(), self._cards(), self.extname)

    def _columns(self) -> dict[str, tuple[NDArray[np.floating], str]]:
        return {self.column: (self.data, self.unit)}

    def _cards(self) -> dict[str, object]:
        return {
            **self.meta,
            "HDUCLASS": "GADF",
            "HDUDOC": _HDUDOC,
            "HDUVERS": "0.3",
            "HDUCLAS1": "RESPONSE",
            "HDUCLAS2": self.hduclas2,
            "HDUCLAS3": "POINT-LIKE" if self.is_pointlike else "FULL-ENCLOSURE",
            "HDUCLAS4": self.tag.upper(),
        }

    # -- content ---------------------------------------------------------------------------------

    @property
    def meta(self) -> dict[str, Any]:
        """Header cards of the response (without those that describe the table's columns)."""
        if self._meta is None:
            self._meta = header_cards(self._header)
        return self._meta

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins along each axis."""
        return tuple(axis.nbin for axis in self.axes)

    def axis(self, name: str) -> IrfAxis:
        """The axis called ``name``."""
        return self.axes[self.required_axes.index(name)]

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name} {axis.nbin}" for axis in self.axes)
        return f"{type(self).__name__}({axes}; unit {self.unit or 'one'!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": OrderedDict()}

    def prepared(self, key: Hashable, build: Callable[[], T]) -> T:
        """What ``build`` makes, kept with this response under ``key``.

        Responses that many observations share are prepared once a process for each set of map axes;
        the few most recent sets are kept. Nothing of it is pickled.
        """
        with _PREPARED_LOCK:
            if key in self._prepared:
                self._prepared.move_to_end(key)
                return self._prepared[key]
        value = build()
        with _PREPARED_LOCK:
            self._prepared[key] = value
            while len(self._prepared) > _PREPARED_KEPT:
                self._prepared.popitem(last=False)
        return value

    # -- validity --------------------------------------------------------------------------------

    def _checked_tables(self) -> dict[str, NDArray[np.floating]]:
        return {self.column: self.data}

    @property
    def is_finite(self) -> bool:
        """Whether every value that is used is finite."""
        return self.prepared(
            "is_finite", lambda: all(np.isfinite(t).all() for t in self._checked_tables().values())
        )

    def check_finite(self, where: str = "") -> None:
        """Refuse tables with NaN or infinities.

        Raises
        ------
        InvalidResponseError
            Naming the table, how many values are not finite, and the first of them.
        """
        if self.is_finite:
            return
        for name, table in self._checked_tables().items():
            bad = ~np.isfinite(table)
            if bad.any():
                first = tuple(int(i) for i in np.argwhere(bad)[0])
                position = ", ".join(f"{axis.name} {i}" for axis, i in zip(self.axes, first, strict=True))
                raise InvalidResponseError(
                    f"{int(bad.sum())} of {bad.size} values of {type(self).__name__} {name} are not finite, "
                    f"the first at bin ({position})",
                    where=where,
                    hint="Exclude the observation, or take such values as zero with invalid_response: zero",
                )

    # -- evaluation ------------------------------------------------------------------------------

    def _points(self, coords: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Floats, ...]:
        if set(coords) != set(names):
            takes = f"{type(self).__name__}.evaluate takes {', '.join(names)}"
            raise TypeError(f"{takes}; got {', '.join(coords)}")
        return tuple(plain(coords[name], AXIS_COLUMNS[name][1]) for name in names)

    def evaluate(self, **coords: ArrayLike | u.Quantity) -> Floats:
        """Response at any coordinates.

        Linear between the nodes in the scaled coordinate, extrapolated to the outermost edges, zero
        outside them, where the table is not finite, and where it would be negative.

        Parameters
        ----------
        **coords : array_like or Quantity
            One for each axis; they broadcast. Plain numbers are TeV and deg.

        Returns
        -------
        values : ndarray, float64
            In `unit`.
        """
        points = self._points(coords, self.required_axes)
        values = interpolate(self.axes, self.data.astype(np.float64), points)
        return np.where(self._defined(points) & np.isfinite(values), np.maximum(values, 0.0), 0.0)

    def _defined(self, points: tuple[Floats, ...]) -> NDArray[np.bool_]:
        """Where the response is defined: here, inside the range of every axis."""
        result = np.ones((), dtype=bool)
        for axis, point in zip(self.axes, points, strict=True):
            result = result & axis.contains(point)
        return result


def named_axes(axes: Sequence[IrfAxis | MapAxis], names: tuple[str, ...], owner: str) -> tuple[IrfAxis, ...]:
    converted = tuple(a if isinstance(a, IrfAxis) else IrfAxis.from_map_axis(a) for a in axes)
    if tuple(axis.name for axis in converted) != names:
        raise CorruptFileError(
            f"axes {', '.join(axis.name for axis in converted)}, where {', '.join(names)} are needed",
            where=owner,
        )
    return converted

"""Residual hadronic background."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import MissingHduError, UnsupportedError
from gammaflow.irf.axis import Floats, IrfAxis, interpolate
from gammaflow.irf.gadf import GadfRow, convert
from gammaflow.irf.response import Irf
from gammaflow.maps import MapAxis

log = logging.getLogger(__name__)

FovAlignment = Literal["RADEC", "ALTAZ", "REVERSE_LON_RADEC"]
_ALIGNMENTS = ("RADEC", "ALTAZ", "REVERSE_LON_RADEC")


class BackgroundIrf(Irf):
    """Background rate; the logarithm of the rate is what is interpolated.

    Attributes
    ----------
    fov_alignment : {"RADEC", "ALTAZ", "REVERSE_LON_RADEC"}
        What the field-of-view longitude and latitude are aligned with. The reader of an observation sets
        it to ``REVERSE_LON_RADEC`` for files that have the longitude reversed.
    """

    unit = "s-1 MeV-1 sr-1"
    column = "BKG"
    extname = "BACKGROUND"
    hduclas2 = "BKG"
    fov_alignment: FovAlignment

    def __init__(
        self,
        axes: Sequence[IrfAxis | MapAxis],
        data: ArrayLike,
        unit: str | None = None,
        meta: Mapping[str, Any] | fits.Header | None = None,
        is_pointlike: bool = False,
        fov_alignment: FovAlignment = "RADEC",
    ) -> None:
        super().__init__(axes, data, unit, meta, is_pointlike)
        self.fov_alignment = fov_alignment

    @classmethod
    def _read_table(cls, row: GadfRow, axes: tuple[IrfAxis, ...]) -> NDArray[np.floating]:
        column = next((name for name in ("BKG", "BGD") if name in row), None)
        if column is None:
            raise MissingHduError("no column BKG or BGD", where=row.where)
        unit = row.unit(column)
        if not unit:
            unit = cls.unit
            log.warning("%s has no unit; the format's %s is taken", row.place(column), unit)
        values, shape = row.values(column), tuple(axis.nbin for axis in axes)
        # Files have their axes in either order; which one is told by the shape alone
        table = values if values.shape == shape != values.T.shape else row.table(column, axes)
        return convert(table, unit, cls.unit, row.place(column))

    def _read_extra(self, row: GadfRow) -> None:
        alignment = str(row.header.get("FOVALIGN", "RADEC")).strip().upper()
        if alignment not in _ALIGNMENTS:
            raise UnsupportedError(
                f"FOVALIGN {alignment!r}", where=row.where, hint=f"Known are {', '.join(_ALIGNMENTS)}"
            )
        self.fov_alignment = alignment  # type: ignore[assignment]  # checked one line above

    def _cards(self) -> dict[str, object]:
        return {**super()._cards(), "FOVALIGN": self.fov_alignment}

    def filled(self) -> NDArray[np.floating]:
        """The table with gaps in energy filled.

        Bins that are zero or not finite and have valid bins below and above in energy take the value
        that is linear in the bin index in the logarithm. Nothing is extrapolated. In the precision of
        the table, as `log_values` is.
        """
        return self.prepared("filled", lambda: _fill_gaps(self.data))

    def log_values(self, fill_gaps: bool = True) -> NDArray[np.floating]:
        """Logarithm of the (filled) rate, zeros and negatives as the smallest normal number.

        It is taken in the precision of the table: the interpolated background depends on that rounding
        at 1e-6, and this is the one of the field's reference.
        """

        def build() -> NDArray[np.floating]:
            data = self.filled() if fill_gaps else self.data
            return np.log(np.maximum(data, np.finfo(data.dtype).tiny))

        return self.prepared(("log_values", fill_gaps), build)

    def _checked_tables(self) -> dict[str, NDArray[np.floating]]:
        return {self.column: self.filled()}

    def evaluate(self, **coords: Any) -> Floats:
        """Background rate at any coordinates, gaps in energy filled (see `Irf.evaluate`)."""
        points = self._points(coords, self.required_axes)
        values = np.exp(interpolate(self.axes, self.log_values().astype(np.float64), points))
        values[values <= 2 * np.finfo(np.float64).tiny] = 0.0
        return np.where(self._defined(points) & np.isfinite(values), values, 0.0)


def _fill_gaps(data: NDArray[np.floating]) -> NDArray[np.floating]:
    """Fill gaps along the first axis, linear in the logarithm of the neighbours by bin index."""
    gap = ~np.isfinite(data) | (data == 0)
    if not gap.any():
        return data
    n = len(data)
    index = np.arange(n).reshape((n,) + (1,) * (data.ndim - 1))
    before = np.maximum.accumulate(np.where(gap, -1, index), axis=0)
    after = np.minimum.accumulate(np.where(gap, n, index)[::-1], axis=0)[::-1]
    fill = gap & (before >= 0) & (after < n)
    if not fill.any():
        return data
    rest = np.nonzero(fill)
    i, lo, hi = rest[0], before[fill], after[fill]
    tiny = np.finfo(data.dtype).tiny
    log_lo = np.log(np.maximum(data[(lo, *rest[1:])], tiny)).astype(np.float64)
    log_hi = np.log(np.maximum(data[(hi, *rest[1:])], tiny)).astype(np.float64)
    filled = data.copy()
    filled[fill] = np.exp((log_hi - log_lo) / (hi - lo) * (i - lo) + log_lo)
    return filled


class Background2D(BackgroundIrf):
    """Background rate over energy and offset (GADF ``bkg_2d``)."""

    tag = "bkg_2d"
    required_axes = ("energy", "offset")


class Background3D(BackgroundIrf):
    """Background rate over energy and field-of-view longitude and latitude (GADF ``bkg_3d``).

    Files come with their axes in either order. As in the field's reference, the order of the axes is
    recognised by the table's shape: where the FITS order is (ENERG, DETX, DETY) it is taken as such, and
    otherwise as (DETY, DETX, ENERG).
    """

    tag = "bkg_3d"
    required_axes = ("energy", "fov_lon", "fov_lat")

    def to_2d(self) -> Background2D:
        """Rate over offset: the values at latitude zero and longitudes from zero on."""
        energy, lon, lat = self.axes
        first_lon = int(np.searchsorted(lon.edges, 0.0, side="right")) - 1
        first_lat = int(np.searchsorted(lat.edges, 0.0, side="right")) - 1
        offset = IrfAxis.from_edges(lon.edges[first_lon:], "offset", "lin")
        return Background2D([energy, offset], self.data[:, first_lon:, first_lat], meta=self.meta)

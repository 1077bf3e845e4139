"""Predicted background: the rate of a response integrated over energy, on field-of-view positions."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gammaflow.irf import BackgroundIrf, IrfAxis
from gammaflow.maps import MapAxis

Floats = NDArray[np.float64]

_PER_TEV = 1e6  # rates are per MeV, energies in TeV
_FLAT = 1e-7  # logarithmic slope over a bin below which the integrand counts as constant
_FLOAT64_TINY = float(2 * np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class BackgroundProjector:
    r"""Background rate at the energy edges of a map, ready to be put on field-of-view positions.

    The logarithm of the rate is interpolated linearly; between two energy edges the rate is a power law. Its
    integral is the logarithmic mean of y = b E, with no power and no index:

    .. math:: \int_{E_i}^{E_{i+1}} b\,dE = \ln(E_{i+1} / E_i)
              \frac{y_{i+1} - y_i}{\ln y_{i+1} - \ln y_i}

    Attributes
    ----------
    log_rate : ndarray, shape (n_node, n_edge)
        ln(b E) at the nodes of the field of view and the energy edges.
    axes : tuple of IrfAxis
        Field-of-view axes: offset, or longitude and latitude.
    log_ratio : ndarray, shape (n_edge - 1,)
        ln(E_{i+1} / E_i).
    defined : ndarray of bool, shape (n_edge - 1,)
        Bins with both edges in the response's energy range; others are 0.
    oversampling : int
        Number of bins that are added up to one bin of the map.
    log_underflow : ndarray or None, shape (n_edge,)
        ln(b E) up to which the rate counts as 0; None where that cannot be reached.
    is_finite : bool
        Whether all values at the nodes are; where one is not, the cells that touch it are 0.
    """

    log_rate: Floats
    axes: tuple[IrfAxis, ...]
    log_ratio: Floats
    defined: NDArray[np.bool_]
    oversampling: int
    log_underflow: Floats | None
    is_finite: bool

    @classmethod
    def from_irf(
        cls,
        bkg: BackgroundIrf,
        energy_axis: MapAxis,
        *,
        oversampling: int = 1,
        fill_gaps: bool = True,
        pad_offset: bool = True,
    ) -> BackgroundProjector:
        """Prepare a background response for the edges of an energy axis.

        Parameters
        ----------
        bkg : BackgroundIrf
        energy_axis : MapAxis
            The map's axis.
        oversampling : int
            Divide each energy bin for the integration.
        fill_gaps : bool
            Fill gaps in energy first, see `BackgroundIrf.filled`.
        pad_offset : bool
            Let a response over offset go on with constant values for one more bin on each side.
        """

        def build() -> BackgroundProjector:
            energy, *field = bkg.axes
            values = bkg.log_values(fill_gaps)
            if pad_offset and field[0].name == "offset":
                field[0], values = _padded(field[0], values)
            edges = _divided(energy_axis.edges, oversampling)
            values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
            log_edges = np.log(edges)
            lower, weight = energy.cell(edges)
            # Cell by cell: a product with a dense matrix would spread a NaN over all energies
            upper = np.minimum(lower + 1, energy.nbin - 1)
            shape = (-1,) + (1,) * len(field)
            table = values[lower] * (1.0 - weight).reshape(shape) + values[upper] * weight.reshape(shape)
            table = table.reshape(edges.size, -1).T + log_edges
            inside = energy.contains(edges)
            underflow = None
            if values.size and np.nanmin(values) < -600.0:
                underflow = np.log(_FLOAT64_TINY) + log_edges
            return cls(
                np.ascontiguousarray(table),
                tuple(field),
                np.diff(log_edges),
                inside[1:] & inside[:-1],
                oversampling,
                underflow,
                bool(np.isfinite(table).all()),
            )

        return bkg.prepared(("background", energy_axis, oversampling, fill_gaps, pad_offset), build)

    @property
    def n_energy(self) -> int:
        """Number of energy bins of the map."""
        return self.log_ratio.size // self.oversampling

    def __call__(self, *position: Floats, factor: Floats) -> Floats:
        """Integrated rate at field-of-view positions, times a factor.

        Parameters
        ----------
        *position : ndarray, shape (m,)
            Offset, or longitude and latitude, in deg.
        factor : ndarray, shape (m,)
            Solid angle times time: s sr.

        Returns
        -------
        counts : ndarray, shape (n_energy, m)
        """
        inside = self.axes[0].contains(position[0])
        for axis, x in zip(self.axes[1:], position[1:], strict=True):
            inside &= axis.contains(x)
        if not inside.all():
            # Positions that are not finite must not reach the cells
            position = tuple(
                np.where(inside, x, a.nodes[0]) for a, x in zip(self.axes, position, strict=True)
            )
            factor = np.where(inside, factor, 0.0)
        product = self._weights(position) @ self.log_rate
        log_y = product.T.copy()
        y = np.exp(log_y, out=product.reshape(log_y.shape))
        if self.log_underflow is not None:
            y[log_y <= self.log_underflow[:, None]] = 0.0
        total = np.zeros((self.n_energy, factor.size))
        # One bin at a time: its few rows stay in the innermost cache
        slope = np.empty(factor.size)
        for k in np.flatnonzero(self.defined):
            bin_ = total[k] if self.oversampling == 1 else np.empty(factor.size)
            np.subtract(y[k + 1], y[k], out=bin_)
            np.subtract(log_y[k + 1], log_y[k], out=slope)
            flat = np.abs(slope, out=log_y[k]) < _FLAT
            if flat.any():
                slope[flat] = 1.0
                bin_[flat] = y[k, flat]
            bin_ /= slope
            bin_ *= _PER_TEV * self.log_ratio[k]
            bin_ *= factor
            if self.log_underflow is not None:
                bin_[(y[k] == 0) | (y[k + 1] == 0)] = 0.0
            if not self.is_finite:
                bin_[~np.isfinite(bin_)] = 0.0
            if self.oversampling > 1:
                total[k // self.oversampling] += bin_
        return total

    def _weights(self, position: tuple[Floats, ...]) -> csr_array:
        """Sparse interpolation matrix (m, n_node): two nodes a position on one axis, four on two."""
        m, n = position[0].size, 2 ** len(position)
        matrix = _matrix(m, n, len(self.log_rate))
        index, weight = matrix.indices.reshape(m, n), matrix.data.reshape(m, n)
        # On an axis of one node both neighbours are that node, and the upper one has no weight
        lower, right = self.axes[-1].cell(position[-1])
        step = int(self.axes[-1].nbin > 1)
        if n == 2:
            index[:, 0] = lower
            np.subtract(1.0, right, out=weight[:, 0])
            weight[:, 1] = right
        else:
            stride = self.axes[-1].nbin
            row, up = self.axes[0].cell(position[0])
            row *= stride
            row += lower
            index[:, 0] = row
            np.add(index[:, 0], stride if self.axes[0].nbin > 1 else 0, out=index[:, 2])
            np.add(index[:, 2], step, out=index[:, 3])
            both = up * right
            weight[:, 3] = both
            np.subtract(up, both, out=weight[:, 2])
            np.subtract(right, both, out=weight[:, 1])
            np.subtract(1.0 - up, weight[:, 1], out=weight[:, 0])
        np.add(index[:, 0], step, out=index[:, 1])
        return matrix


_LOCAL = threading.local()


def _matrix(rows: int, entries: int, columns: int) -> csr_array:
    """A sparse matrix with a fixed number of entries a row, to be filled by the caller; one a thread is kept.

    Making one costs a third of using it, and chunk after chunk needs one of the same shape.
    """
    key = (rows, entries, columns)
    if getattr(_LOCAL, "key", None) != key:
        pointer = np.arange(0, entries * rows + 1, entries, dtype=np.int32)
        index, weight = np.zeros(entries * rows, dtype=np.int32), np.zeros(entries * rows)
        _LOCAL.key, _LOCAL.matrix = key, csr_array((weight, index, pointer), shape=(rows, columns))
    return _LOCAL.matrix


def _divided(edges: Floats, parts: int) -> Floats:
    """Edges with each logarithmic bin divided into equal parts."""
    if parts == 1:
        return edges
    fine = np.exp(
        np.interp(np.arange((edges.size - 1) * parts + 1) / parts, np.arange(edges.size), np.log(edges))
    )
    fine[::parts] = edges
    return fine


def _padded(axis: IrfAxis, values: NDArray[np.floating]) -> tuple[IrfAxis, NDArray[np.floating]]:
    """Offset axis with one more bin as wide as its neighbour on each side, and the values repeated there."""
    if axis.is_node:
        x = axis.nodes if axis.nbin > 1 else np.array([axis.nodes[0], axis.nodes[0] + 1.0])
        nodes = np.concatenate(([2 * x[0] - x[1]], axis.nodes, [axis.nodes[-1] + x[-1] - x[-2]]))
        padded = IrfAxis.from_nodes(nodes, axis.name, axis.scale)
    else:
        e = axis.edges
        padded = IrfAxis.from_edges(
            np.concatenate(([2 * e[0] - e[1]], e, [2 * e[-1] - e[-2]])), axis.name, axis.scale
        )
    return padded, np.concatenate((values[:, :1], values, values[:, -1:]), axis=1)

"""The axis of an instrument response: nodes, validity, and linear interpolation along it."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import CorruptFileError
from gammaflow.maps import MapAxis

Scale = Literal["lin", "log"]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def plain(value: ArrayLike | u.Quantity, unit: str) -> Floats:
    """Numbers in ``unit`` from a Quantity; numbers without a unit are in it already."""
    return np.asarray(u.Quantity(value, unit).value if isinstance(value, u.Quantity) else value, np.float64)


class IrfAxis:
    """One axis of an instrument response, given by the lower and upper edges of its bins.

    Where the table gives ``lo == hi`` the values are nodes, and the bins reach half a step to either
    side; otherwise the node is the midpoint of its bin. Midpoints and steps are those of the scaled
    coordinate (logarithmic for energies). A response is interpolated linearly between nodes and
    extrapolated linearly to the outermost edges; it is defined on the closed range between them.

    Parameters
    ----------
    name : str
        ``energy``, ``energy_true``, ``offset``, ``rad``, ``migra``, ``fov_lon`` or ``fov_lat``.
    lo, hi : array_like, shape (n,)
        Bin edges, in TeV or deg. They are turned to float64 before anything is computed.
    scale : {"lin", "log"}
        The coordinate in which the response is linear.

    Raises
    ------
    CorruptFileError
        If the edges are empty, not finite, not increasing, or not positive on a logarithmic axis.
    """

    __slots__ = ("__dict__", "hi", "lo", "name", "scale")

    def __init__(self, name: str, lo: ArrayLike, hi: ArrayLike, scale: Scale) -> None:
        self.name = name
        self.lo: Floats = np.atleast_1d(np.asarray(lo, dtype=np.float64))
        self.hi: Floats = np.atleast_1d(np.asarray(hi, dtype=np.float64))
        self.scale: Scale = scale
        self._check()

    @classmethod
    def from_edges(cls, edges: ArrayLike, name: str, scale: Scale) -> Self:
        """Axis of adjoining bins from their n + 1 edges."""
        edges = np.asarray(edges, dtype=np.float64)
        return cls(name, edges[:-1], edges[1:], scale)

    @classmethod
    def from_nodes(cls, nodes: ArrayLike, name: str, scale: Scale) -> Self:
        """Axis whose values are given at points."""
        return cls(name, nodes, nodes, scale)

    @classmethod
    def from_map_axis(cls, axis: MapAxis) -> Self:
        """Axis with the bins of a map axis."""
        return cls.from_edges(axis.edges, axis.name, "log" if axis.interp == "log" else "lin")

    def _check(self) -> None:
        where = f"axis {self.name!r}"
        hint = "The response cannot be interpolated along this axis"
        if self.lo.ndim != 1 or self.lo.shape != self.hi.shape or not self.lo.size:
            found = f"lower edges of shape {self.lo.shape}, upper edges of shape {self.hi.shape}"
            raise CorruptFileError(found, where=where, hint=hint)
        if not (np.isfinite(self.lo).all() and np.isfinite(self.hi).all()):
            raise CorruptFileError("edges that are not finite", where=where, hint=hint)
        if (np.diff(self.lo) <= 0).any() or (np.diff(self.hi) <= 0).any() or (self.hi < self.lo).any():
            raise CorruptFileError("edges that do not increase", where=where, hint=hint)
        if self.scale == "log" and self.edges[0] <= 0:
            raise CorruptFileError("edges that are not positive", where=where, hint=hint)

    def __repr__(self) -> str:
        lo, hi = self.edges[[0, -1]]
        kind = "nodes" if self.is_node else "bins"
        return f"IrfAxis({self.name}, {self.nbin} {kind}, {lo:.4g}..{hi:.4g}, {self.scale})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IrfAxis):
            return NotImplemented
        same_kind = (self.name, self.scale, self.nbin) == (other.name, other.scale, other.nbin)
        return same_kind and np.allclose(self.lo, other.lo, 1e-6) and np.allclose(self.hi, other.hi, 1e-6)

    __hash__ = None  # type: ignore[assignment]  # equality is approximate

    @property
    def nbin(self) -> int:
        """Number of bins."""
        return self.lo.size

    @cached_property
    def is_node(self) -> bool:
        """Whether the values are given at points rather than in bins."""
        return bool(np.allclose(self.hi, self.lo))

    def to_scale(self, values: ArrayLike) -> Floats:
        """Scaled coordinate of ``values``: their logarithm, or themselves."""
        values = np.asarray(values, dtype=np.float64)
        if self.scale == "lin":
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(values)

    def from_scale(self, values: Floats) -> Floats:
        """Inverse of `to_scale`."""
        return np.exp(values) if self.scale == "log" else values

    @cached_property
    def edges(self) -> Floats:
        """Bin edges, shape (n + 1,)."""
        if not self.is_node:
            return np.append(self.lo, self.hi[-1])
        x = self.to_scale(self.hi)
        if x.size == 1:
            return self.from_scale(np.array([x[0] - 0.5, x[0] + 0.5]))
        inner = 0.5 * (x[1:] + x[:-1])
        return self.from_scale(
            np.concatenate(([1.5 * x[0] - 0.5 * x[1]], inner, [1.5 * x[-1] - 0.5 * x[-2]]))
        )

    @cached_property
    def nodes(self) -> Floats:
        """Points at which the values stand, shape (n,)."""
        if self.is_node:
            return self.hi
        x = self.to_scale(self.edges)
        return self.from_scale(0.5 * (x[1:] + x[:-1]))

    @cached_property
    def bin_width(self) -> Floats:
        """Bin widths, shape (n,)."""
        return np.diff(self.edges)

    @cached_property
    def _scaled_nodes(self) -> Floats:
        return self.to_scale(self.nodes)

    @cached_property
    def _per_step(self) -> Floats:
        """One over the distance of the scaled nodes, shape (n - 1,)."""
        return 1.0 / np.diff(self._scaled_nodes)

    @cached_property
    def _uniform_step(self) -> float:
        """Distance of the scaled nodes if they are equally spaced to 1e-5 of it, else 0."""
        steps = np.diff(self._scaled_nodes)
        uniform = steps.size > 0 and np.ptp(steps) < 1e-5 * abs(steps.mean())
        return float(steps.mean()) if uniform else 0.0

    def contains(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Whether ``values`` lie in the closed range between the outermost edges."""
        values = np.asarray(values, dtype=np.float64)
        return (values >= self.edges[0]) & (values <= self.edges[-1])

    def cell(self, values: ArrayLike) -> tuple[Indices, Floats]:
        """Interpolation cell of each value: index of the lower node, weight of the upper one.

        Outside the nodes the weight is below 0 or above 1 (linear extrapolation). An axis of one node
        has index 0 and weight 0 everywhere.
        """
        x = self.to_scale(values)
        shape, x = x.shape, x.reshape(-1)
        if self.nbin == 1:
            return np.zeros(shape, dtype=np.intp), np.zeros(shape)
        nodes, last = self._scaled_nodes, self.nbin - 2
        if not self._uniform_step:
            lower = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, last)
            return lower.reshape(shape), ((x - nodes[lower]) * self._per_step[lower]).reshape(shape)
        position = x - nodes[0]
        position *= 1.0 / self._uniform_step
        # fmax turns NaN into 0: its weight is NaN, and the caller masks it
        np.fmax(position, 0.0, out=position)
        np.minimum(position, last, out=position)
        lower = position.astype(np.intp)
        weight = np.subtract(x, nodes.take(lower), out=position)
        weight *= self._per_step.take(lower)
        # Nodes are equally spaced only to the precision of the file: look again where one may be missed
        missed = weight < 0.0
        missed |= weight >= 1.0
        if missed.any():
            x = x[missed]
            lower[missed] = cell = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, last)
            weight[missed] = (x - nodes[cell]) * self._per_step[cell]
        return lower.reshape(shape), weight.reshape(shape)

    def matrix(self, values: ArrayLike, *, zero_outside: bool = True) -> Floats:
        """Dense matrix W with W @ table = the table interpolated at ``values``.

        Parameters
        ----------
        values : array_like, shape (m,)
            Points, in the axis' unit.
        zero_outside : bool
            Rows of points outside the closed range are zero; otherwise they extrapolate.

        Returns
        -------
        weights : ndarray, shape (m, n), float64
        """
        values = np.asarray(values, dtype=np.float64)
        lower, weight = self.cell(values)
        rows = np.arange(values.size)
        weights = np.zeros((values.size, self.nbin))
        weights[rows, lower] = 1.0 - weight
        if self.nbin > 1:
            weights[rows, lower + 1] = weight
        if zero_outside:
            weights[~self.contains(values)] = 0.0
        return weights

    def hats(self, values: Floats) -> Floats:
        """Weights (n, m) of the nodes at values (m,), extrapolating; made without a search.

        The same as the transpose of `matrix` without zeros outside, and faster for many values and few nodes:
        with ``t_k = clip((x - x_k) / dx_k, 0, 1)``, the first without a lower and the last without an upper
        limit, the weights are the differences ``t_k-1 - t_k``. Nodes outside of a value's cell get exactly 0.
        """
        x = self.to_scale(values)
        weights = np.empty((self.nbin, x.size))
        weights[0] = 1.0
        for k in range(self.nbin - 1):
            step = np.subtract(x, self._scaled_nodes[k], out=weights[k + 1])
            step *= self._per_step[k]
            if k > 0:
                np.maximum(step, 0.0, out=step)
            if k < self.nbin - 2:
                np.minimum(step, 1.0, out=step)
            weights[k] -= step
        return weights

    def cell_matrix(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Which nodes the interpolation cell of each value touches, shape (m, n)."""
        values = np.asarray(values, dtype=np.float64)
        lower, _ = self.cell(values)
        rows = np.arange(values.size)
        touched = np.zeros((values.size, self.nbin), dtype=bool)
        touched[rows, lower] = True
        touched[rows, np.minimum(lower + 1, self.nbin - 1)] = True
        return touched


def interpolate(
    axes: tuple[IrfAxis, ...], values: NDArray[np.floating], points: tuple[ArrayLike, ...]
) -> Floats:
    """Multilinear interpolation, extrapolating, at points that broadcast against each other.

    Parameters
    ----------
    axes : tuple of IrfAxis
        One for each dimension of ``values``.
    values : ndarray, shape (n_1, ..., n_k)
        The table.
    points : tuple of array_like
        One array of coordinates an axis.

    Returns
    -------
    values : ndarray, float64
        In the common shape of the points.
    """
    cells = [axis.cell(point) for axis, point in zip(axes, points, strict=True)]
    shape = np.broadcast_shapes(*(lower.shape for lower, _ in cells))
    result = np.zeros(shape)
    for corner in np.ndindex(*(2 if axis.nbin > 1 else 1 for axis in axes)):
        weight: Floats = np.ones(())
        for side, (_, upper) in zip(corner, cells, strict=True):
            weight = weight * (upper if side else 1.0 - upper)
        index = tuple(lower + side for side, (lower, _) in zip(corner, cells, strict=True))
        result = result + weight * values[index]
    return result

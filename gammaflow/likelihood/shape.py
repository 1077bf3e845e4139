"""A source's shape on the frequencies of a window, with its derivatives: closed transforms, and sampled models.

Everything that depends on a source's spatial parameters is in the coefficients

    M(nu) = Mhat(J^T nu) exp(-2 pi i nu . p0)

    d/ds_j (position)   -2 pi i (nu . dp0/ds_j) M;   d2: product of two such factors, -2 pi i (nu . d2p0/ds_i ds_j) M
    d/ds_j (shape)      dMhat/ds_j exp(...);         d2: d2Mhat/ds_i ds_j exp(...)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.likelihood.frequencies import Frequencies
from gammaflow.likelihood.lattice import Lattice, Position
from gammaflow.likelihood.sampling import SampledTransform, sample
from gammaflow.modeling import Parameter, RadialSpatialModel, SpatialModel
from gammaflow.modeling.spatial.base import POSITION
from gammaflow.modeling.spatial.ellipse import COVARIANCE

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

#: Steps of differences in u, in units of the inverse size of the source.
_MOMENT_STEP = 2e-4


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Mhat and its derivatives by n shape parameters; k is 1, or K for a shape that depends on energy.

    Parameters
    ----------
    value : array (k, Q)
    first : array (n, k, Q)
    second : array (n, n, k, Q)
    """

    value: NDArray[Any]
    first: NDArray[Any]
    second: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Placed:
    """M, its first derivatives by the r free spatial parameters, and what is needed to sum up the second
    ones.

    Parameters
    ----------
    value : array (k, Q)
    first : array (r, k, Q)
    """

    value: Complexes
    first: Complexes
    _phase: Complexes
    _shape: Coefficients
    _turn: Complexes
    _turn2: Complexes
    _places: tuple[tuple[int, int], ...]
    _shapes: tuple[tuple[int, int], ...]

    def second_sum(self, weights: Complexes) -> Floats:
        """``Re sum_kq weights[k, q] d2M[k, q] / ds_i ds_j``, (r, r), for weights (K, Q)."""
        r = len(self._places) + len(self._shapes)
        out = np.zeros((r, r))
        if not r:
            return out
        if self.value.shape[0] == 1:
            weights = weights.sum(axis=0, keepdims=True)
        moved = weights * self._phase
        at_value = (moved * self._shape.value).sum(axis=0)
        for i, a in self._places:
            for j, b in self._places:
                if j <= i:
                    factor = self._turn[a] * self._turn[b] + self._turn2[a, b]
                    out[i, j] = out[j, i] = float((at_value @ factor).real)
        for j, b in self._shapes:
            slope = (moved * self._shape.first[b]).sum(axis=0)
            for i, a in self._places:
                out[i, j] = out[j, i] = float((slope @ self._turn[a]).real)
            for i, a in self._shapes:
                if i <= j:
                    out[i, j] = out[j, i] = float((moved * self._shape.second[a, b]).sum().real)
        return out


class Shape:
    """A spatial model on one lattice, as a function of its free parameters.

    Parameters
    ----------
    model : SpatialModel
        A copy is made.
    parameters : sequence of str
        The r spatial parameters that are coordinates, in their order.
    lattice : Lattice
    edges : array (K + 1,)
        Of the true-energy bins in TeV, for shapes that depend on energy.
    oversampling : int
        Samples per pixel and direction, for a model without a closed transform.
    moments : bool
        Also give the transforms of (offset to the east) x M and (offset to the north) x M, offsets in deg
        from the centre.
    sampled : bool, optional
        Sample the model even though it has a closed transform.
    """

    def __init__(
        self,
        model: SpatialModel,
        parameters: Sequence[str],
        lattice: Lattice,
        edges: Floats,
        oversampling: int = 4,
        moments: bool = False,
        sampled: bool | None = None,
    ) -> None:
        self.model = model.copy()
        self.parameters = tuple(parameters)
        self.lattice = lattice
        self.edges = edges
        self.oversampling = oversampling
        self.moments = moments
        self.sampled = not self.model.has_transform if sampled is None else sampled
        if not self.sampled:  # the fit keeps the limits; a sampled model needs them for its differences
            for parameter in self.model.parameters:
                parameter.prior = None
                parameter.min = parameter.max = math.nan
        self._covariance = any(name in COVARIANCE for name in self.parameters)
        if self._covariance and not isinstance(self.model, RadialSpatialModel):
            raise ModelError(
                f"coordinates {COVARIANCE} for a {type(model).__name__}",
                where="spatial block",
                hint="Only elliptical models have them.",
            )
        own = {p.name: p for p in self.model.parameters}
        self._own: dict[str, Parameter] = own
        self.has_position = "lon_0" in own and "lat_0" in own
        self._places = tuple((i, POSITION.index(n)) for i, n in enumerate(self.parameters) if n in POSITION)
        names = tuple(name for name in self.parameters if name not in POSITION)
        self.names = names
        self._shapes = tuple((self.parameters.index(name), i) for i, name in enumerate(names))
        self._cov = (
            self.model.covariance_entries if isinstance(self.model, RadialSpatialModel) else np.zeros(3)
        )
        self.start = np.array([self._value(name) for name in self.parameters], dtype=np.float64)
        # a sampled model is sampled where it starts, and moved by the phase
        self._reference = self.lonlat
        self._position_units = np.array([own[name].internal_factor for name in POSITION if name in own])
        self._reference_pixel = lattice.position(*self._reference).pixel
        self._samples: tuple[tuple[float, ...], tuple[SampledTransform, ...]] | None = None

    # --- parameters ----------------------------------------------------------------------------------

    def _value(self, name: str) -> float:
        return float(self._cov[COVARIANCE.index(name)]) if name in COVARIANCE else self._own[name].value

    def set(self, values: Floats) -> None:
        """Put the model's free spatial parameters (r,) in place."""
        for name, value in zip(self.parameters, values, strict=True):
            if name in COVARIANCE:
                self._cov[COVARIANCE.index(name)] = value
            else:
                self._own[name].value = float(value)
        if self._covariance:
            self._keep_ellipse()

    def _keep_ellipse(self) -> None:
        """For envelopes: size, e and phi that belong to the entries; a matrix that is no ellipse leaves
        them as they were.
        """
        assert isinstance(self.model, RadialSpatialModel)
        try:
            self.model.set_covariance(self._cov)
        except ModelError:
            return

    @property
    def lonlat(self) -> tuple[float, float]:
        """Position in deg as the model stands, the anchor for a model without one."""
        return self.model.position_lonlat if self.has_position else self.lattice.anchor

    # --- bounds --------------------------------------------------------------------------------------

    def envelope(self, q: Floats, shrink: float = 1.0) -> Floats:
        """Bound of |Mhat| at and beyond |u| = q for sizes down to ``shrink`` times the present one."""
        return np.ones_like(q) if self.sampled else self.model.envelope(q, shrink)

    @property
    def highest_nu(self) -> float:
        """Frequency in cycles/pixel from which on a sampled model has no more coefficients."""
        return 0.5 * self.oversampling if self.sampled else math.inf

    @property
    def depends_on_energy(self) -> bool:
        """Whether each energy has coefficients of its own."""
        return self.sampled and self.model.is_energy_dependent

    # --- coefficients --------------------------------------------------------------------------------

    def place(self, frequencies: Frequencies, order: int) -> tuple[Placed, ...]:
        """M for the values that were `set`: one, or three with the moments towards east and north.

        Parameters
        ----------
        frequencies : Frequencies
        order : {0, 1, 2}
            Up to which derivatives.
        """
        sets = self._sampled(frequencies, order) if self.sampled else self._closed(frequencies, order)
        position = self._position()
        if position is None:
            phase = np.ones(frequencies.count, dtype=np.complex128)
            turn, turn2 = (
                np.zeros((2, frequencies.count), complex),
                np.zeros((2, 2, frequencies.count), complex),
            )
        else:
            pixel = position.pixel - self._reference_pixel if self.sampled else position.pixel
            phase = frequencies.phase(pixel)
            units = self._position_units
            turn = -2j * np.pi * (position.first * units[:, None]) @ frequencies.nu
            turn2 = (
                -2j
                * np.pi
                * np.tensordot(
                    position.second * units[:, None, None] * units[None, :, None], frequencies.nu, axes=1
                )
                if order == 2
                else np.zeros((2, 2, 0), complex)
            )
        placed = []
        for shape in sets:
            value = shape.value * phase
            first = np.empty((len(self.parameters) if order else 0, *value.shape), dtype=np.complex128)
            if order:
                for i, a in self._places:
                    first[i] = value * turn[a]
                for i, a in self._shapes:
                    first[i] = shape.first[a] * phase
            placed.append(Placed(value, first, phase, shape, turn, turn2, self._places, self._shapes))
        return tuple(placed)

    def _position(self) -> Position | None:
        if not self.has_position or (self.sampled and not self._places):
            return None
        return self.lattice.position(*self.lonlat)

    def _closed(self, frequencies: Frequencies, order: int) -> list[Coefficients]:
        plain = self._transform(frequencies.u[0], frequencies.u[1], order)
        sets = [plain]
        if self.moments:
            step = _MOMENT_STEP / max(self.model.extent, self.lattice.pixel_size)
            for axis in (0, 1):
                moved = []
                for sign in (1, -1):
                    u = [frequencies.u[0], frequencies.u[1]]
                    u[axis] = u[axis] + sign * step
                    moved.append(self._transform(u[0], u[1], order))
                up, down = moved
                # the transform of (offset x M) is (i / 2 pi) dMhat/du
                factor = 1j / (2 * np.pi) / (2 * step)
                sets.append(
                    Coefficients(
                        (up.value - down.value) * factor,
                        (up.first - down.first) * factor,
                        (up.second - down.second) * factor,
                    )
                )
        return sets

    def _transform(self, u_east: Floats, u_north: Floats, order: int) -> Coefficients:
        model = self.model
        if self._covariance:
            assert isinstance(model, RadialSpatialModel)
            found = model.transform_covariance(u_east, u_north, self._cov, order)
            pick = [found.parameters.index(name) for name in self.names] if order else []
            first = found.gradient[pick] if order else found.gradient
            second = found.hessian[np.ix_(pick, pick)] if order == 2 else found.hessian
        else:
            found = model.transform(u_east, u_north, self.names, order)
            first, second = found.gradient, found.hessian
        return Coefficients(found.value[None, :], first[:, None, :], second[:, :, None, :])

    # --- sampled models ------------------------------------------------------------------------------

    def _sampled(self, frequencies: Frequencies, order: int) -> list[Coefficients]:
        """Coefficients of the model sampled with its present shape, in the place where it starts."""
        order = order if self.names else 0
        key = (order, *(self._own[name].value for name in self.names))
        if self._samples is None or self._samples[0] != key:
            before = {name: parameter.value for name, parameter in self._own.items()}
            if self._places:
                for name, degrees in zip(POSITION, self._reference, strict=True):
                    self._own[name].value = degrees / self._own[name].internal_factor
            found = sample(
                self.model, self.lattice, self.edges, self.oversampling, self.names, order, self.moments
            )
            for name, value in before.items():
                self._own[name].value = value
            self._samples = (key, found)
        return [
            Coefficients(
                entry.value.at(frequencies), entry.first.at(frequencies), entry.second.at(frequencies)
            )
            for entry in self._samples[1]
        ]

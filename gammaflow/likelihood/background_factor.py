"""The factor on a dataset's background, as a function of its free parameters: values and derivatives for
many points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.modeling import FoVBackgroundModel, Parameter, PowerLawNormSpectralModel, Prior

Floats = NDArray[np.float64]

#: Step of the differences of gradients, in units of the parameter's size.
_STEP = 1e-4


@dataclass(frozen=True, eq=False)
class BackgroundFactor:
    """``phi_e(psi)``: what the background of each reconstructed energy is multiplied with. Made by `of`.

    Parameters
    ----------
    energies : array (E,)
        Centres of the energy bins, TeV.
    model : FoVBackgroundModel or None
        A copy, for a factor that is neither fixed nor a power law.
    names : tuple of str
        The free parameters, in the model's order.
    start, low, high : array (p,)
        Their values to begin with and their limits, infinite where there is none.
    priors : tuple of Prior or None
    fixed : array (E,) or None
        The factor where nothing is free.
    power_law : (array (E,), float, float) or None
        ``ln(E / E0)``, norm and tilt of a power law of which at most these two are free.
    """

    energies: Floats
    model: FoVBackgroundModel | None
    names: tuple[str, ...] = ()
    start: Floats = field(default_factory=lambda: np.zeros(0))
    low: Floats = field(default_factory=lambda: np.zeros(0))
    high: Floats = field(default_factory=lambda: np.zeros(0))
    priors: tuple[Prior | None, ...] = ()
    fixed: Floats | None = None
    power_law: tuple[Floats, float, float] | None = None

    @classmethod
    def of(cls, energies: Floats, model: FoVBackgroundModel | None) -> BackgroundFactor:
        """For the free parameters of a model as it stands."""
        energies = np.asarray(energies, dtype=np.float64)
        if model is None:
            return cls(energies, None, fixed=np.ones(len(energies)))
        free = list(model.parameters.free_unique_parameters)
        bounds = np.array([parameter.bounds for parameter in free], dtype=np.float64).reshape(-1, 2)
        names = tuple(parameter.name for parameter in free)
        fixed = None if free else model.evaluate(energies)
        power_law = _power_law_of(model, names, energies)
        return cls(
            energies,
            model.copy() if fixed is None and power_law is None else None,
            names,
            np.array([parameter.value for parameter in free], dtype=np.float64),
            bounds[:, 0],
            bounds[:, 1],
            tuple(parameter.prior for parameter in free),
            fixed,
            power_law,
        )

    @cached_property
    def _free(self) -> list[Parameter]:
        return [] if self.model is None else list(self.model.parameters.free_unique_parameters)

    def evaluate(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """The factor and its first two derivatives.

        Parameters
        ----------
        values : array (P, p)
            Free parameters at P points.

        Returns
        -------
        phi : array (P, E)
        first : array (P, p, E)
        second : array (P, p, p, E)
        """
        points, p = values.shape
        shape = (points, len(self.energies))
        if not p:
            assert self.fixed is not None  # without free parameters
            phi = np.broadcast_to(self.fixed, shape)
            return phi, np.zeros((points, 0, shape[1])), np.zeros((points, 0, 0, shape[1]))
        if self.power_law is not None:
            return self._power_law(values, *self.power_law)
        phi, first = np.empty(shape), np.empty((points, p, shape[1]))
        second = np.empty((points, p, p, shape[1]))
        for i, row in enumerate(values):
            phi[i], first[i], second[i] = self._any_model(row)
        return phi, first, second

    def _power_law(
        self, values: Floats, log: Floats, norm_value: float, tilt_value: float
    ) -> tuple[Floats, Floats, Floats]:
        """``norm (E / E0)^-tilt``: d2/dtilt2 = L^2 phi, d2/dnorm dtilt = -L phi / norm, L = ln(E / E0)."""
        n = {name: i for i, name in enumerate(self.names)}
        norm = values[:, n["norm"], None] if "norm" in n else norm_value
        tilt = values[:, n["tilt"], None] if "tilt" in n else tilt_value
        shape = np.broadcast_to(np.exp(-tilt * log), (len(values), len(log)))
        phi = norm * shape
        first = np.zeros((len(values), len(n), len(log)))
        second = np.zeros((len(values), len(n), len(n), len(log)))
        if "norm" in n:
            first[:, n["norm"]] = shape
        if "tilt" in n:
            first[:, n["tilt"]] = -log * phi
            second[:, n["tilt"], n["tilt"]] = log * log * phi
            if "norm" in n:
                second[:, n["norm"], n["tilt"]] = second[:, n["tilt"], n["norm"]] = -log * shape
        return phi, first, second

    def at_point(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """The same at one point (p,), without the axis of points."""
        if self.power_law is None or not len(values):
            phi, first, second = self.evaluate(values[None])
            return phi[0], first[0], second[0]
        log, norm, tilt = self.power_law
        squared, first, second = self._point_arrays
        first, second = first.copy(), second.copy()
        n, t = self._norm_and_tilt
        norm = norm if n is None else float(values[n])
        shape = np.exp(-log * (tilt if t is None else float(values[t])))
        phi = norm * shape
        if n is not None:
            first[n] = shape
        if t is not None:
            np.multiply(-log, phi, out=first[t])
            np.multiply(squared, phi, out=second[t, t])
            if n is not None:
                second[n, t] = second[t, n] = -log * shape
        return phi, first, second

    @cached_property
    def _norm_and_tilt(self) -> tuple[int | None, int | None]:
        """Columns of norm and tilt, None for a frozen one."""
        place = {name: i for i, name in enumerate(self.names)}
        return place.get("norm"), place.get("tilt")

    @cached_property
    def _point_arrays(self) -> tuple[Floats, Floats, Floats]:
        """``ln(E / E0)^2``, and empty derivatives at one point."""
        assert self.power_law is not None
        log, p = self.power_law[0], len(self.names)
        return log * log, np.zeros((p, len(log))), np.zeros((p, p, len(log)))

    def _any_model(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        phi, first = self._at(values)
        second = np.empty((len(values), len(values), len(phi)))
        low, high = self.low, self.high
        for i, value in enumerate(values):
            step = _STEP * max(abs(value), 1e-2)
            up, down = min(value + step, high[i]), max(value - step, low[i])
            moved = []
            for place in (up, down):
                at = values.copy()
                at[i] = place
                moved.append(self._at(at)[1])
            second[i] = (moved[0] - moved[1]) / (up - down) if up > down else 0.0
        return phi, first, 0.5 * (second + second.swapaxes(0, 1))

    def _at(self, values: Floats) -> tuple[Floats, Floats]:
        assert self.model is not None
        for parameter, value in zip(self._free, values, strict=True):
            parameter.value = float(value)
        phi, gradient = self.model.evaluate_and_gradient(self.energies)
        rows = np.zeros((len(values), len(phi)))
        place = {id(parameter): i for i, parameter in enumerate(self._free)}
        for parameter, row in zip(self.model.parameters, gradient, strict=True):
            if id(parameter) in place:
                rows[place[id(parameter)]] += row
        return phi, rows


def _power_law_of(
    model: FoVBackgroundModel, names: tuple[str, ...], energies: Floats
) -> tuple[Floats, float, float] | None:
    """``ln(E / E0)`` (E,), norm and tilt of a power law of which at most these two are free; else None."""
    if type(model.spectral_model) is not PowerLawNormSpectralModel or not set(names) <= {"norm", "tilt"}:
        return None
    own = {parameter.name: parameter for parameter in model.parameters}
    return np.log(energies / own["reference"].internal), own["norm"].value, own["tilt"].value


def prior_terms(priors: tuple[Prior | None, ...], values: Floats) -> tuple[Floats, Floats, Floats]:
    """Sum of the priors' terms (P,), and each one's first and second derivative (P, p), at P points (P, p)."""
    total, first, second = np.zeros(len(values)), np.zeros(values.shape), np.zeros(values.shape)
    for i, prior in enumerate(priors):
        if prior is None:
            continue
        for row, value in enumerate(values[:, i]):
            term, slope, curvature = prior.derivatives(float(value))
            total[row] += term if math.isfinite(term) else np.inf
            first[row, i], second[row, i] = slope, curvature
    return total, first, second

"""The generalised Gaussian, whose transform is a table made by quadrature when its steepness changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.special import gamma, j0, j1, polygamma, psi

from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spatial.base import DEG2_PER_SR, center_parameters
from gammaflow.modeling.spatial.ellipse import Profile, RadialSpatialModel

Floats = NDArray[np.float64]
NEGLIGIBLE = np.array([1e-8, np.inf, np.inf, 1e-7, np.inf, 1e-6])
"""The table ends where a whole octave of frequencies is below this, in m and its derivatives by eta."""


class GeneralizedGaussianSpatialModel(RadialSpatialModel):
    """``exp(-(s / r)^(1 / eta))``: eta -> 0 a disk, 1/2 a Gaussian, 1 a Laplace profile.

    Normalised by ``2 pi r_minor r_0 eta Gamma(2 eta)``.

    Parameters
    ----------
    lon_0, lat_0 : Quantity
    r_0 : Quantity
        Along the major axis.
    eta : float
        0.01 to 1.
    e : float
        Eccentricity, frozen at 0 by default.
    phi : Quantity
        Direction of the major axis from north through east, frozen by default.
    frame : str
    """

    tag = ("GeneralizedGaussianSpatialModel", "gauss-general")
    lon_0, lat_0 = center_parameters()
    r_0 = Parameter("r_0", "1 deg", min=0)
    eta = Parameter("eta", 0.5, min=0.01, max=1)
    e = Parameter("e", 0.0, min=0, max=1, frozen=True)
    phi = Parameter("phi", "0 deg", min=-180, max=180, frozen=True)
    size = "r_0"
    further = "eta"

    def evaluate(self, lon: Any, lat: Any, **parameters: Any) -> Floats:
        """Values in sr-1 at positions in deg; parameters left out are the model's."""
        p = {**{name: par.internal for name, par in self._pars.items()}, **parameters}
        distance, radius = self._distances(lon, lat, p["lon_0"], p["lat_0"], p["r_0"], p["e"], p["phi"])
        minor = p["r_0"] * np.sqrt(1 - p["e"] ** 2)
        norm = DEG2_PER_SR / (2 * np.pi * minor * p["r_0"] * p["eta"] * gamma(2 * p["eta"]))
        return np.asarray(norm * np.exp(-((distance / radius) ** (1 / p["eta"]))))

    @property
    def evaluation_radius(self) -> u.Quantity:
        """``r_0 (1 + 8 eta)``."""
        return self.r_0.quantity * (1 + 8 * self.eta.value)

    def profile(self, t: Floats) -> Profile:
        """From a table of Hankel transforms, made when eta changes."""
        rho = np.sqrt(t)
        reach = 2.0 ** np.ceil(np.log2(max(float(rho.max(initial=0.0)), 1.0)))
        return Profile(*_hankel_table(self.eta.internal, reach)(rho).T)

    def envelope(self, q: Floats, shrink: float = 1.0) -> Floats:
        """Twice the transform's own largest value from there on, and 1 at most."""
        size, e, _ = self._ellipse()
        rho = q * shrink * size * np.sqrt(1 - e * e)
        grid = np.linspace(0, max(float(rho.max(initial=0.0)), 1.0), 2000)
        beyond = np.maximum.accumulate(np.abs(self.profile(grid**2).m)[::-1])[::-1]
        return np.minimum(2 * np.interp(rho, grid, beyond), 1.0)


def hankel_profile(rho: Floats, eta: float) -> Floats:
    """Transform of ``exp(-x^(1/eta))``, normalised to integral 1, and its derivatives, by quadrature.

    Parameters
    ----------
    rho : (T,)
        Frequency times r_0.
    eta : float

    Returns
    -------
    (T, 6)
        m, m', m'' by t = rho^2; dm/deta, dm'/deta, d2m/deta2.
    """
    x, weight = _radial_nodes(eta, float(rho.max(initial=1.0)))
    v = x ** (1 / eta)
    log = np.log(np.maximum(v, np.finfo(np.float64).tiny))
    density = weight * x * np.exp(-v) / (eta * gamma(2 * eta))
    # v = x^(1/eta) changes with eta by -v ln(v) / eta, the norm eta Gamma(2 eta) as its logarithm does
    first = v * log / eta - (1 / eta + 2 * psi(2 * eta))
    curve = -v * log * (2 + log) / eta**2 - (-1 / eta**2 + 4 * polygamma(1, 2 * eta))
    by_eta, by_eta_twice = density * first, density * (first**2 + curve)
    z = 2 * np.pi * rho[:, None] * x
    bessel = j0(z)
    ratio = _j1_over(z)
    by_t = -2 * np.pi**2 * x**2 * ratio
    by_tt = 4 * np.pi**4 * x**4 * _j2_over(z, bessel, ratio)
    columns = [
        bessel @ density,
        by_t @ density,
        by_tt @ density,
        bessel @ by_eta,
        by_t @ by_eta,
        bessel @ by_eta_twice,
    ]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=16)
def _hankel_table(eta: float, reach: float) -> Callable[[Floats], Floats]:
    """Quintic spline of `hankel_profile` up to ``reach``, or to where nothing is left; zero beyond."""
    rho = _table_points(eta, reach)
    rows: list[Floats] = []
    begin, end = 0, 1.0
    while begin < rho.size:
        octave = rho[begin:][rho[begin:] <= end]
        rows.extend(hankel_profile(part, eta) for part in np.array_split(octave, 1 + octave.size // 256))
        begin, end = begin + octave.size, 2 * end
        if octave.size and np.all(np.abs(np.concatenate(rows)[-octave.size :]) < NEGLIGIBLE):
            break
    table, rho = np.concatenate(rows), rho[:begin]
    # mirrored, so that it is even
    spline = make_interp_spline(
        np.concatenate([-rho[5:0:-1], rho]), np.concatenate([table[5:0:-1], table]), k=5
    )
    last = float(rho[-1])

    def profile(at: Floats) -> Floats:
        return np.where((at <= last)[:, None], spline(np.minimum(at, last)), 0.0)

    return profile


def _table_points(eta: float, reach: float) -> Floats:
    """Points dense enough for a spline: 3 % apart, but no more than the ripple of an edge allows."""
    first = 1 / (24 * (1 + 8 * eta))
    widest = 1 / 26 if eta < 0.4 else np.inf
    points = list(np.arange(8) * first)
    while points[-1] < reach:
        points.append(points[-1] + min(max(first, 0.03 * points[-1]), widest))
    return np.array(points)


def _radial_nodes(eta: float, rho_max: float) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights in x for ``exp(-x^(1/eta))`` times J0(2 pi rho x) up to rho_max."""
    ends = np.concatenate([[0.0], np.geomspace(1e-14, 1, 12)[:-1], np.linspace(1, 34, 18)]) ** eta
    nodes, weights = [], []
    for low, high in pairwise(ends):
        point, weight = _legendre(int(14 + 4 * rho_max * (high - low)))
        nodes.append(0.5 * ((high - low) * point + high + low))
        weights.append(0.5 * (high - low) * weight)
    return np.concatenate(nodes), np.concatenate(weights)


@lru_cache(maxsize=256)
def _legendre(count: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(count)


def _j1_over(z: Floats) -> Floats:
    """J1(z) / z."""
    small = z < 1e-4
    return np.where(small, 0.5 - z * z / 16, j1(z) / np.where(small, 1.0, z))


def _j2_over(z: Floats, bessel: Floats, ratio: Floats) -> Floats:
    """J2(z) / z^2 from J0 and J1/z; by its series where that cancels."""
    small = z < 1.0
    quarter = np.where(small, z * z / 4, 0.0)
    series, term = np.zeros_like(z), np.full_like(z, 0.125)
    for k in range(1, 11):
        series = series + term
        term = -term * quarter / (k * (k + 2))
    outer = np.where(small, 1.0, z)
    return np.where(small, series, (2 * ratio - bessel) / outer**2)

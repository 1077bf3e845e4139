"""The disk, round or elliptical, with a soft edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from scipy.special import erf, j0, j1

from gammaflow.errors import ModelError
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spatial.base import center_parameters
from gammaflow.modeling.spatial.ellipse import Profile, RadialSpatialModel

Floats = NDArray[np.float64]
EDGE = 2.326174307353347
"""erf(EDGE / 2) = 0.9: ``edge_width`` is where the edge falls from 95 % to 5 %."""


class DiskSpatialModel(RadialSpatialModel):
    """Disk of constant brightness, with the edge ``(1 - erf(2.326 (s - r) / (r edge_width))) / 2``.

    Normalised by the solid angle of the sharp disk (or ellipse). In Fourier space the sharp disk is
    ``2 J1(x) / x``, x = 2 pi sqrt(t), and the edge a factor ``exp(-2 pi^2 c^2 t)``,
    c = edge_width / (2.326 sqrt 2).

    Parameters
    ----------
    lon_0, lat_0 : Quantity
    r_0 : Quantity
        Radius, along the major axis.
    e : float
        Eccentricity, frozen at 0 by default.
    phi : Quantity
        Direction of the major axis from north through east, frozen by default.
    edge_width : float
        Width of the edge in units of the radius, frozen at 0.01 by default.
    frame : str
    """

    tag = ("DiskSpatialModel", "disk")
    lon_0, lat_0 = center_parameters()
    r_0 = Parameter("r_0", "1 deg", min=0)
    e = Parameter("e", 0.0, min=0, max=1, frozen=True)
    phi = Parameter("phi", "0 deg", min=-180, max=180, frozen=True)
    edge_width = Parameter("edge_width", 0.01, min=0, max=1, frozen=True)
    size = "r_0"
    further = "edge_width"

    def evaluate(self, lon: Any, lat: Any, **parameters: Any) -> Floats:
        """Values in sr-1 at positions in deg; parameters left out are the model's."""
        p = {**{name: par.internal for name, par in self._pars.items()}, **parameters}
        distance, radius = self._distances(lon, lat, p["lon_0"], p["lat_0"], p["r_0"], p["e"], p["phi"])
        with np.errstate(divide="ignore", invalid="ignore"):
            soft = 0.5 * (1 - erf(EDGE * (distance - radius) / (radius * p["edge_width"])))
        inside = soft if p["edge_width"] > 0 else (distance <= radius).astype(np.float64)
        return np.asarray(inside / ellipse_solid_angle(p["r_0"], p["e"]))

    @property
    def evaluation_radius(self) -> u.Quantity:
        """``1.1 r_0 (1 + edge_width)``."""
        return 1.1 * self.r_0.quantity * (1 + self.edge_width.value)

    def profile(self, t: Floats) -> Profile:
        """``2 J1(x) / x exp(-a t)`` and its derivatives."""
        ratio1, ratio2, ratio3 = bessel_ratios(2 * np.pi * np.sqrt(t))
        d, d_t, d_tt = 2 * ratio1, -4 * np.pi**2 * ratio2, 8 * np.pi**4 * ratio3
        unit = 2 * np.pi**2 / (2 * EDGE**2)
        width = self.edge_width.internal
        a, a_w = unit * width**2, 2 * unit * width
        edge = np.exp(-a * t)
        m, m_t, m_tt = d * edge, (d_t - a * d) * edge, (d_tt - 2 * a * d_t + a * a * d) * edge
        return Profile(
            m,
            m_t,
            m_tt,
            m_p=-a_w * t * m,
            m_tp=-a_w * (m + t * m_t),
            m_pp=(a_w**2 * t**2 - 2 * unit * t) * m,
        )

    def envelope(self, q: Floats, shrink: float = 1.0) -> Floats:
        """``1.6 x^(-3/2)`` of the minor axis, with the edge's factor."""
        size, e, _ = self._ellipse()
        rho = q * shrink * size * np.sqrt(1 - e * e)
        edge = np.exp(-((np.pi * self.edge_width.internal / EDGE) ** 2) * rho**2)
        return np.minimum(1.6 / np.maximum(2 * np.pi * rho, 1e-3) ** 1.5 * edge, 1.0)


def ellipse_solid_angle(major: float, e: float) -> float:
    """Solid angle in sr of the disk of radius ``major`` deg, or of the ellipse of eccentricity e.

    ``int_0^2pi (1 - cos r(psi)) dpsi`` with ``1 / sin^2 r = cos^2 psi / sin^2 a + sin^2 psi / sin^2 b``: a
    smooth periodic function, which equidistant points integrate exactly.
    """
    if e >= 1:
        raise ModelError(f"an ellipse of eccentricity {e:g} has no area", hint="Keep e below 1")
    a = np.radians(major)
    if e == 0:
        return float(4 * np.pi * np.sin(0.5 * a) ** 2)
    b = np.radians(major * np.sqrt(1 - e * e))
    sin_a, sin_b = np.sin(a) ** 2, np.sin(b) ** 2
    n = 64 + int(32 / np.sqrt(1 - e * e))
    psi = (np.arange(n) + 0.5) * (np.pi / (2 * n))
    sin2 = 1 / (np.cos(psi) ** 2 / sin_a + np.sin(psi) ** 2 / sin_b)
    return float(4 * np.mean(sin2 / (1 + np.sqrt(1 - sin2))) * np.pi / 2)


def bessel_ratios(x: Floats) -> tuple[Floats, Floats, Floats]:
    """``J1(x)/x, J2(x)/x^2, J3(x)/x^3``; by their series below 2, where the recurrence would cancel."""
    small = x < 2.0
    quarter = np.where(small, x * x / 4, 0.0)
    series = []
    for order, start in ((1, 0.5), (2, 0.125), (3, 1 / 48)):
        total, term = np.zeros_like(x), np.full_like(x, start)
        for k in range(1, 14):
            total = total + term
            term = -term * quarter / (k * (k + order))
        series.append(total)
    outer = np.where(small, 1.0, x)
    r0, r1 = j0(outer), j1(outer) / outer
    r2 = (2 * r1 - r0) / outer**2
    r3 = (4 * r2 - r1) / outer**2
    return (
        np.where(small, series[0], r1),
        np.where(small, series[1], r2),
        np.where(small, series[2], r3),
    )

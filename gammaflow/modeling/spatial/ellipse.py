"""`RadialSpatialModel`: shapes that are one function m(t) of ``t = u^T Sigma u`` in Fourier space.

``Sigma = a^2 v v^T + b^2 w w^T`` is the covariance-like matrix of an ellipse: a is the size,
b = a sqrt(1 - e^2), v = (sin phi, cos phi) the direction of the major axis (east, north), and
w = (cos phi, -sin phi). Derivatives follow from m, m', m''.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from regions import EllipseSkyRegion

from gammaflow.errors import ModelError
from gammaflow.modeling.spatial.base import SpatialModel, Transform
from gammaflow.modeling.spatial.sphere import position_angle, separation

Floats = NDArray[np.float64]
COVARIANCE = ("cov_ee", "cov_en", "cov_nn")
_DEG = np.pi / 180


@dataclass(frozen=True)
class Profile:
    """m(t) with its derivatives, and those by one further parameter p (a width, a steepness), each (Q,).

    Parameters
    ----------
    m, m_t, m_tt : (Q,)
        m, m', m''.
    m_p, m_tp, m_pp : (Q,) or None
        By p, by t and p, by p twice; None where the model has no such parameter.
    """

    m: Floats
    m_t: Floats
    m_tt: Floats
    m_p: Floats | None = None
    m_tp: Floats | None = None
    m_pp: Floats | None = None


class RadialSpatialModel(SpatialModel):
    """Base of elliptical shapes: a subclass gives `profile` and names its size, and one further parameter."""

    has_transform = True
    size: ClassVar[str]
    further: ClassVar[str | None] = None

    def profile(self, t: Floats) -> Profile:
        """Profile and its derivatives at t >= 0."""
        raise NotImplementedError

    # --- real space ----------------------------------------------------------------------------------

    @staticmethod
    def _distances(
        lon: Floats, lat: Floats, lon_0: float, lat_0: float, size: float, e: float, phi: float
    ) -> tuple[Floats, Floats | float]:
        """Distance from the centre, and the ellipse's radius in that direction, both in deg."""
        distance = separation(lon, lat, lon_0, lat_0)
        if e == 0:
            return distance, size
        angle = np.radians(phi - position_angle(lon, lat, lon_0, lat_0))
        minor = size * np.sqrt(1 - e**2)
        return distance, size * minor / np.hypot(size * np.sin(angle), minor * np.cos(angle))

    def to_region(self, size_factor: float = 1.0) -> EllipseSkyRegion:
        """The ellipse at ``size_factor`` times its size."""
        size, e, phi = self._ellipse()
        return EllipseSkyRegion(
            self.position,
            height=2 * size_factor * size * u.deg,
            width=2 * size_factor * size * np.sqrt(1 - e**2) * u.deg,
            angle=phi * u.deg,
        )

    # --- Fourier space -------------------------------------------------------------------------------

    def _ellipse(self) -> tuple[float, float, float]:
        return self._pars[self.size].internal, self._pars["e"].internal, self._pars["phi"].internal

    def transform(
        self, u_east: Floats, u_north: Floats, parameters: Sequence[str] | None = None, order: int = 2
    ) -> Transform:
        """m(u^T Sigma u) and its derivatives by size, e, phi and the further parameter."""
        names = self._asked(parameters)
        a, e, phi = self._ellipse()
        sin, cos = np.sin(phi * _DEG), np.cos(phi * _DEG)
        along, across = u_east * sin + u_north * cos, u_east * cos - u_north * sin
        shrunk = 1 - e * e
        unit = along**2 + shrunk * across**2
        profile = self.profile(a * a * unit)
        if order == 0 or not names:
            return self._in_own_units(names, profile.m, {n: np.zeros_like(unit) for n in names}, {}, order)
        first = {
            self.size: 2 * a * unit,
            "e": -2 * a * a * e * across**2,
            "phi": 2 * a * a * e * e * along * across * _DEG,
        }
        second = {
            (self.size, self.size): 2 * unit,
            (self.size, "e"): -4 * a * e * across**2,
            (self.size, "phi"): 4 * a * e * e * along * across * _DEG,
            ("e", "e"): -2 * a * a * across**2,
            ("e", "phi"): 4 * a * a * e * along * across * _DEG,
            ("phi", "phi"): 2 * a * a * e * e * (across**2 - along**2) * _DEG**2,
        }
        return self._chain(names, profile, first, second, order)

    def transform_covariance(
        self, u_east: Floats, u_north: Floats, covariance: Floats | None = None, order: int = 2
    ) -> Transform:
        """The same by (cov_ee, cov_en, cov_nn), the entries of Sigma, and by the further parameter if free.

        t is linear in them, and nothing is singular where the ellipse is a circle: a fit that frees ``e`` and
        ``phi`` moves these and converts at the end (`set_covariance`, `covariance_jacobian`).

        Parameters
        ----------
        u_east, u_north : (Q,)
            Frequencies, cycles/deg.
        covariance : (3,), optional
            Entries of Sigma in deg^2; by default those of the model.
        order : {0, 1, 2}
            Up to which derivatives.
        """
        sigma = self.covariance_entries if covariance is None else np.asarray(covariance, dtype=np.float64)
        powers = (u_east**2, 2 * u_east * u_north, u_north**2)
        t = np.maximum(sum(s * p for s, p in zip(sigma, powers, strict=True)), 0.0)
        names = COVARIANCE + tuple(n for n in self.free_shape_parameters if n == self.further)
        return self._chain(names, self.profile(t), dict(zip(COVARIANCE, powers, strict=True)), {}, order)

    @property
    def covariance_entries(self) -> Floats:
        """(cov_ee, cov_en, cov_nn) in deg^2 of the ellipse as it is."""
        a, e, phi = self._ellipse()
        sin, cos, shrunk = np.sin(phi * _DEG), np.cos(phi * _DEG), 1 - e * e
        return a * a * np.array([sin**2 + shrunk * cos**2, e * e * sin * cos, cos**2 + shrunk * sin**2])

    def set_covariance(self, covariance: Floats) -> None:
        """Set size, e and phi (in -90..90 deg) from (cov_ee, cov_en, cov_nn).

        Raises
        ------
        ModelError
            When they are of no ellipse (not positive definite).
        """
        ee, en, nn = (float(c) for c in covariance)
        mean, half = 0.5 * (ee + nn), float(np.hypot(0.5 * (nn - ee), en))
        if mean - half <= 0:
            raise ModelError(
                f"entries ({ee:g}, {en:g}, {nn:g}) deg2 are of no ellipse", where=type(self).__name__
            )
        size, phi = np.sqrt(mean + half), 0.5 * np.degrees(np.arctan2(2 * en, nn - ee))
        values = {self.size: size, "e": np.sqrt(2 * half / (mean + half)), "phi": phi if half > 0 else 0.0}
        for name, value in values.items():
            self._pars[name].value = float(value) / self._pars[name].internal_factor

    def covariance_jacobian(self) -> Floats:
        """d(size, e, phi) / d(cov_ee, cov_en, cov_nn), (3, 3), in the parameters' own units.

        The row of e is infinite and that of phi undefined (NaN) for a circle.
        """
        a, e, phi = self._ellipse()
        sin, cos = np.sin(phi * _DEG), np.cos(phi * _DEG)
        major = np.array([sin**2, 2 * sin * cos, cos**2])
        minor = np.array([cos**2, -2 * sin * cos, sin**2])
        by_size = major / (2 * a)
        # e^2 = 1 - (b/a)^2; turning by phi mixes the axes with weight a^2 - b^2 = (a e)^2
        with np.errstate(divide="ignore", invalid="ignore"):
            by_e = (major * (1 - e * e) - minor) / (2 * a * a * e)
            by_phi = np.array([sin * cos, cos**2 - sin**2, -sin * cos]) / (a * a * e * e) / _DEG
        factors = np.array([self._pars[name].internal_factor for name in (self.size, "e", "phi")])
        return np.stack([by_size, by_e, by_phi]) / factors[:, None]

    def _chain(
        self,
        names: tuple[str, ...],
        profile: Profile,
        first: dict[str, Floats],
        second: dict[tuple[str, str], Floats],
        order: int,
    ) -> Transform:
        """Derivatives of m from those of t."""
        gradient: dict[str, Floats] = {}
        hessian: dict[tuple[str, str], Floats] = {}
        for i, name in enumerate(names):
            if name == self.further:
                assert profile.m_p is not None
                gradient[name] = profile.m_p
            else:
                gradient[name] = profile.m_t * first[name]
            if order < 2:
                continue
            for other in names[: i + 1]:
                if name == self.further and other == self.further:
                    assert profile.m_pp is not None
                    entry = profile.m_pp
                elif self.further in (name, other):
                    assert profile.m_tp is not None
                    entry = profile.m_tp * first[other if name == self.further else name]
                else:
                    entry = profile.m_tt * first[name] * first[other]
                    curve = second.get((name, other), second.get((other, name)))
                    if curve is not None:
                        entry = entry + profile.m_t * curve
                hessian[name, other] = entry
        return self._in_own_units(names, profile.m, gradient, hessian, order)

"""Projected spherical shells, by inner radius and width or by outer radius and relative width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from regions import CircleAnnulusSkyRegion

from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spatial.base import DEG2_PER_SR, SpatialModel, Transform, center_parameters
from gammaflow.modeling.spatial.sphere import separation

Floats = NDArray[np.float64]
THINNEST = 1e-5
"""A shell is never taken as thinner than this part of its radius: its transform would cancel."""


class _Shell(SpatialModel):
    """What both have in common: the inner and the outer radius."""

    has_transform = True

    def _radii(self, values: dict[str, float]) -> tuple[float, float]:
        raise NotImplementedError

    def _own(self) -> dict[str, float]:
        return {name: par.internal for name, par in self._pars.items()}

    def evaluate(self, lon: Any, lat: Any, **parameters: Any) -> Floats:
        """Values in sr-1 at positions in deg; parameters left out are the model's."""
        p = {**self._own(), **parameters}
        inner, outer = self._radii(p)
        distance = separation(lon, lat, p["lon_0"], p["lat_0"])
        chord = np.sqrt(np.maximum(outer**2 - distance**2, 0)) - np.sqrt(
            np.maximum(inner**2 - distance**2, 0)
        )
        return np.asarray(DEG2_PER_SR * 3 / (2 * np.pi * (outer**3 - inner**3)) * chord)

    @property
    def evaluation_radius(self) -> u.Quantity:
        """The outer radius."""
        return self._radii(self._own())[1] * u.deg

    def to_region(self) -> CircleAnnulusSkyRegion:
        """The ring between inner and outer radius."""
        inner, outer = self._radii(self._own())
        return CircleAnnulusSkyRegion(self.position, inner_radius=inner * u.deg, outer_radius=outer * u.deg)

    def envelope(self, q: Floats, shrink: float = 1.0) -> Floats:
        """Mean of ``1 / (k r)`` over the shell, or the most that its two surfaces can be, k = 2 pi q."""
        inner, outer = self._radii(self._own())
        k = np.maximum(2 * np.pi * q * shrink, 1e-3 / outer)
        volume = outer**3 - inner**3
        mean = 1.5 * (outer**2 - inner**2) / (k * volume)
        surfaces = 3 * (2 + k * (outer + inner)) / (k**3 * volume)
        return np.minimum(np.minimum(mean, surfaces), 1.0)


class ShellSpatialModel(_Shell):
    """Shell between ``radius`` and ``radius + width``.

    ``3 / (2 pi (R^3 - r^3)) (sqrt(R^2 - s^2) - sqrt(r^2 - s^2))``, each root 0 where it is not real.

    Parameters
    ----------
    lon_0, lat_0 : Quantity
    radius, width : Quantity
    frame : str
    """

    tag = ("ShellSpatialModel", "shell")
    lon_0, lat_0 = center_parameters()
    radius = Parameter("radius", "1 deg", min=0)
    width = Parameter("width", "0.2 deg", min=0)

    def _radii(self, values: dict[str, float]) -> tuple[float, float]:
        return values["radius"], values["radius"] + max(values["width"], THINNEST * values["radius"])

    def transform(
        self, u_east: Floats, u_north: Floats, parameters: Sequence[str] | None = None, order: int = 2
    ) -> Transform:
        """The difference of two balls, and its derivatives by radius and width."""
        s = shell_transform(np.hypot(u_east, u_north), *self._radii(self._own()))
        by_radius, by_width = s.by_outer + s.by_inner, s.by_outer
        return self._in_own_units(
            self._asked(parameters),
            s.value,
            {"radius": by_radius, "width": by_width},
            {
                ("radius", "radius"): s.outer_outer + 2 * s.outer_inner + s.inner_inner,
                ("radius", "width"): s.outer_outer + s.outer_inner,
                ("width", "width"): s.outer_outer,
            },
            order,
        )


class Shell2SpatialModel(_Shell):
    """Shell between ``(1 - eta) r_0`` and ``r_0``; values as of `ShellSpatialModel`.

    Parameters
    ----------
    lon_0, lat_0 : Quantity
    r_0 : Quantity
        Outer radius.
    eta : float
        Relative width, 0.02 to 1.
    frame : str
    """

    tag = ("Shell2SpatialModel", "shell2")
    lon_0, lat_0 = center_parameters()
    r_0 = Parameter("r_0", "1 deg", min=0)
    eta = Parameter("eta", 0.2, min=0.02, max=1)

    def _radii(self, values: dict[str, float]) -> tuple[float, float]:
        return (1 - max(values["eta"], THINNEST)) * values["r_0"], values["r_0"]

    @property
    def r_in(self) -> u.Quantity:
        """Inner radius."""
        return (1 - self.eta.value) * self.r_0.quantity

    def transform(
        self, u_east: Floats, u_north: Floats, parameters: Sequence[str] | None = None, order: int = 2
    ) -> Transform:
        """The difference of two balls, and its derivatives by r_0 and eta."""
        size, eta = self.r_0.internal, self.eta.internal
        s = shell_transform(np.hypot(u_east, u_north), *self._radii(self._own()))
        keep = 1 - eta
        return self._in_own_units(
            self._asked(parameters),
            s.value,
            {"r_0": s.by_outer + keep * s.by_inner, "eta": -size * s.by_inner},
            {
                ("r_0", "r_0"): s.outer_outer + 2 * keep * s.outer_inner + keep**2 * s.inner_inner,
                ("r_0", "eta"): -size * (s.outer_inner + keep * s.inner_inner) - s.by_inner,
                ("eta", "eta"): size**2 * s.inner_inner,
            },
            order,
        )


@dataclass(frozen=True)
class ShellTransform:
    """Transform of a shell and its derivatives by outer and inner radius, each (Q,)."""

    value: Floats
    by_outer: Floats
    by_inner: Floats
    outer_outer: Floats
    outer_inner: Floats
    inner_inner: Floats


def shell_transform(q: Floats, inner: float, outer: float) -> ShellTransform:
    """``(R^3 b(2 pi q R) - r^3 b(2 pi q r)) / (R^3 - r^3)``, ``b(x) = 3 (sin x - x cos x) / x^3``.

    A projected ball is its 3-D transform on the plane.

    Parameters
    ----------
    q : (Q,)
        Frequency, cycles/deg.
    inner, outer : float
        Radii in deg.
    """
    k = 2 * np.pi * q
    volume = outer**3 - inner**3
    ball, slope, curve = zip(*(_ball(k, radius) for radius in (outer, inner)), strict=True)
    value = (ball[0] - ball[1]) / volume
    by_outer = (slope[0] - 3 * outer**2 * value) / volume
    by_inner = (3 * inner**2 * value - slope[1]) / volume
    return ShellTransform(
        value,
        by_outer,
        by_inner,
        outer_outer=(curve[0] - 6 * outer * value - 6 * outer**2 * by_outer) / volume,
        outer_inner=3 * (inner**2 * by_outer - outer**2 * by_inner) / volume,
        inner_inner=(6 * inner * value + 6 * inner**2 * by_inner - curve[1]) / volume,
    )


def _ball(k: Floats, radius: float) -> tuple[Floats, Floats, Floats]:
    """``R^3 b(k R)`` and its first and second derivative by R: 3 R^2 sinc, 3 R (sinc + cos)."""
    x = k * radius
    small = x < 0.5
    square = np.where(small, x * x, 0.0)
    series, term = np.zeros_like(x), np.ones_like(x)
    for n in range(1, 9):
        series = series + term
        term = -term * square / (2 * n * (2 * n + 3))
    outer = np.where(small, 1.0, x)
    b = np.where(small, series, 3 * (np.sin(outer) - outer * np.cos(outer)) / outer**3)
    sinc = np.sinc(x / np.pi)
    return radius**3 * b, 3 * radius**2 * sinc, 3 * radius * (sinc + np.cos(x))

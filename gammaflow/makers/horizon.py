"""A field of view that is aligned with the horizon, and so turns on the sky while it is observed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import AltAz, EarthLocation
from astropy.coordinates.erfa_astrom import erfa_astrom
from astropy.time import Time, TimeDelta
from numpy.typing import NDArray

from gammaflow.makers.field_of_view import SkyToField, field_of_view_matrix

Floats = NDArray[np.float64]

_EARTH_RATE = 2 * np.pi * 1.00273781191 / 86400.0  # rad of Earth rotation angle a second
_SOLAR_DEG_PER_S = 360.0 / 86400.0
_SCHWARZSCHILD_SUN = 1.97412574336e-8  # au
_MINIMUM_STEP = 1.0  # s


@dataclass(frozen=True)
class HorizonField(SkyToField):
    """A field of view aligned with altitude and azimuth, at instants between the start and end of a run.

    From ICRS to the horizon everything but light deflection and aberration is a rotation. These two are
    computed once, for the start; what the velocity of the observer changes after that (mostly the rotation of
    the Earth) is a small constant vector for each instant. The steps are those of the IAU 2006 transformation
    without refraction and polar tables beyond one evaluation (SOFA, "Astrometry tools", functions ld, ab, atioq).

    Attributes
    ----------
    velocity : ndarray, shape (3,)
        Velocity of the observer at the start, in units of the speed of light.
    lorentz : float
        sqrt(1 - v^2).
    sun : ndarray, shape (3,)
        Unit vector from the Sun to the observer.
    sun_distance : float
        au.
    """

    velocity: Floats
    lorentz: float
    sun: Floats
    sun_distance: float

    @classmethod
    def observed(
        cls,
        pointing: Floats,
        tstart: Time,
        ontime: float,
        location: EarthLocation,
        rotation_step: float = 1.0,
    ) -> HorizonField:
        """The field of view of one run.

        Instants follow each other while the field of view turns by ``rotation_step``, at the rate at the
        beginning of each step, ``dt = step cos(alt) / (360 deg / day cos(lat) |cos(az)|)``, but by at least one
        second; the last one is the end of the run. Weights are those of the trapezoidal rule.

        Parameters
        ----------
        pointing : ndarray, shape (3,)
            ICRS unit vector.
        tstart : Time
            Start of the run.
        ontime : float
            Its length in s.
        location : EarthLocation
        rotation_step : float
            deg.
        """
        times = tstart + TimeDelta([0.0, ontime], format="sec")
        astrom = erfa_astrom.get().apco(AltAz(obstime=times, location=location))
        first = astrom[0]
        drift = (astrom["v"][1] - astrom["v"][0]) / ontime
        field = cls(
            np.ones(1),
            np.zeros((1, 3, 3)),
            np.zeros((1, 3)),
            np.array(first["v"]),
            float(first["bm1"]),
            np.array(first["eh"]),
            float(first["em"]),
        )
        apparent = field.apparent(pointing[:, None])[:, 0]
        polar = _polar_motion(float(first["xpl"]), float(first["ypl"]))
        local = _local_horizon(float(first["sphi"]), float(first["cphi"]))
        diurnal = local @ np.array([0.0, float(first["diurab"]), 0.0])
        precession = np.array(first["bpn"]).reshape(3, 3)
        # The rate at which the Earth turned between the two evaluations, so that both ends are exact
        excess = astrom["eral"][1] - astrom["eral"][0] - _EARTH_RATE * ontime
        rate = _EARTH_RATE + (np.remainder(excess + np.pi, 2 * np.pi) - np.pi) / ontime

        instants, matrices, shifts = [0.0], [], []
        while True:
            t = instants[-1]
            to_horizon = local @ polar @ _rotation_z(float(first["eral"]) + rate * t) @ precession
            shift = to_horizon @ (drift * t) + diurnal
            horizon = to_horizon @ apparent + shift
            az = np.arctan2(horizon[1], horizon[0])
            alt = np.arctan2(horizon[2], np.hypot(horizon[0], horizon[1]))
            to_field = field_of_view_matrix(np.degrees(az), np.degrees(alt))
            matrices.append(to_field @ to_horizon)
            shifts.append(to_field @ shift)
            if t >= ontime:
                break
            speed = _SOLAR_DEG_PER_S * np.cos(location.lat.rad) * abs(np.cos(az))
            step = rotation_step * np.cos(alt) / speed if speed > 0 else np.inf
            instants.append(min(t + max(step, _MINIMUM_STEP), ontime))
        gaps = np.diff(instants)
        weights = np.zeros(len(instants))
        weights[:-1] += 0.5 * gaps
        weights[1:] += 0.5 * gaps
        return cls(
            weights / ontime,
            np.array(matrices),
            np.array(shifts),
            field.velocity,
            field.lorentz,
            field.sun,
            field.sun_distance,
        )

    def apparent(self, vectors: Floats) -> Floats:
        """ICRS unit vectors (3, m) after light deflection by the Sun and aberration."""
        n = _deflected(vectors, self.sun, self.sun_distance)
        v = self.velocity
        along = n[0] * v[0] + n[1] * v[1] + n[2] * v[2]
        boost = 1.0 + along / (1.0 + self.lorentz)
        potential = _SCHWARZSCHILD_SUN / self.sun_distance
        out = np.empty_like(n)
        for k in range(3):
            out[k] = (self.lorentz - potential * along) * n[k] + (boost + potential) * v[k]
        out /= np.sqrt(out[0] ** 2 + out[1] ** 2 + out[2] ** 2)
        return out


def _deflected(n: Floats, sun: Floats, distance: float) -> Floats:
    """Directions of stars as the Sun's gravity bends them.

    ``n + 2 GM / (c^2 r) (e - (n.e) n) / (1 + n.e)``, e the direction from the Sun to the observer, r its length.
    """
    cosine = n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2]
    strength = _SCHWARZSCHILD_SUN / distance / np.maximum(1.0 + cosine, 1e-6)
    out = np.empty_like(n)
    for k in range(3):
        out[k] = n[k] + strength * (sun[k] - cosine * n[k])
    return out


def _rotation_z(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def _polar_motion(xpl: float, ypl: float) -> Floats:
    sx, cx, sy, cy = np.sin(xpl), np.cos(xpl), np.sin(ypl), np.cos(ypl)
    return np.array([[cx, 0.0, sx], [sx * sy, cy, -cx * sy], [-sx * cy, sy, cx * cy]])


def _local_horizon(sin_lat: float, cos_lat: float) -> Floats:
    """From hour angle (reversed) and declination to (north, east, up)."""
    return np.array([[-sin_lat, 0.0, cos_lat], [0.0, 1.0, 0.0], [cos_lat, 0.0, sin_lat]])

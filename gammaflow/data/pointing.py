"""Where the telescopes pointed, and where they stand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.coordinates import EarthLocation, SkyCoord
from numpy.typing import NDArray

from gammaflow.data.fits_table import FitsTable
from gammaflow.errors import CorruptFileError, UnsupportedError

_MOVING = ("DRIFT", "SLEW")


@dataclass(frozen=True)
class FixedPointingInfo:
    """A pointing that stays at one place of the sky during the observation.

    Attributes
    ----------
    ra, dec : float
        ICRS position in deg.
    alt, az : float or None
        Mean altitude and azimuth in deg, if the file gives them.
    mode : str
        OBS_MODE as written, "POINTING" if the file does not say.
    """

    ra: float
    dec: float
    alt: float | None = None
    az: float | None = None
    mode: str = "POINTING"

    @classmethod
    def from_table(cls, events: FitsTable) -> FixedPointingInfo:
        """From the header of an EVENTS table (GADF, "Coordinates", RA_PNT and DEC_PNT).

        OBS_MODE is free text in GADF 0.2 (e.g. WOBBLE): whatever does not say that the telescopes
        moved over the sky counts as fixed.

        Raises
        ------
        UnsupportedError
            The telescopes drifted or slewed.
        MissingHduError
            RA_PNT or DEC_PNT is not there.
        CorruptFileError
            They are no position.
        """
        mode = str(events.header.get("OBS_MODE", "POINTING")).strip().upper() or "POINTING"
        if mode in _MOVING:
            raise UnsupportedError(
                f"OBS_MODE is {mode}: the pointing moves over the sky during the observation",
                where=events.where,
                hint="Only fixed pointings are reduced; exclude this observation.",
            )
        ra, dec = events.number("RA_PNT"), events.number("DEC_PNT")
        if not -90.0 <= dec <= 90.0 or not -360.0 <= ra <= 360.0:
            raise CorruptFileError(f"the pointing RA_PNT, DEC_PNT is {ra}, {dec} deg", where=events.where)
        return cls(ra, dec, _optional(events, "ALT_PNT"), _optional(events, "AZ_PNT"), mode)

    @cached_property
    def vector(self) -> NDArray[np.float64]:
        """ICRS unit vector, shape ``(3,)``."""
        ra, dec = math.radians(self.ra), math.radians(self.dec)
        vector = np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])
        vector.setflags(write=False)
        return vector

    @cached_property
    def icrs(self) -> SkyCoord:
        """The position as `SkyCoord`."""
        return SkyCoord(self.ra, self.dec, unit="deg", frame="icrs")

    @property
    def zenith(self) -> float | None:
        """Mean zenith distance in deg, if the file gives the altitude."""
        return None if self.alt is None else 90.0 - self.alt


@dataclass(frozen=True)
class Site:
    """Where the telescopes stand: geodetic longitude and latitude in deg, height in m."""

    lon: float
    lat: float
    height: float

    @classmethod
    def from_table(cls, events: FitsTable) -> Site | None:
        """From GEOLON, GEOLAT and ALTITUDE (or GEOALT) of an EVENTS header; None without them."""
        lon, lat = _optional(events, "GEOLON"), _optional(events, "GEOLAT")
        height = _optional(events, "GEOALT")
        if height is None:
            height = _optional(events, "ALTITUDE")
        if lon is None or lat is None or height is None:
            return None
        return cls(lon, lat, height)

    @cached_property
    def location(self) -> EarthLocation:
        """The place as astropy `EarthLocation`."""
        return EarthLocation(lon=self.lon * u.deg, lat=self.lat * u.deg, height=self.height * u.m)


def _optional(events: FitsTable, name: str) -> float | None:
    return events.number(name) if events.header.get(name) not in (None, "") else None

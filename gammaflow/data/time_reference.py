"""The zero point of mission time: what the seconds in event lists and good-time tables count from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from gammaflow.errors import CorruptFileError, MissingHduError, UnsupportedError

DAY = 86400.0
# names of the FITS standard (4.0, table 30) and of old files, to astropy's
_SCALES = {"ET": "tt", "TDT": "tt", "IAT": "tai", "GMT": "utc"}
# UT1 is left out: its distance from TT is measured, it would need a table from the network
_KNOWN = ("tai", "tcb", "tcg", "tdb", "tt", "utc")


@dataclass(frozen=True)
class TimeReference:
    """An instant in TT as whole days and a fraction, exact to well below a microsecond.

    Times are float64 seconds after it; astropy's `Time` is only built when asked for.

    Attributes
    ----------
    mjd_day : float
        Whole days of the MJD (TT).
    mjd_fraction : float
        The rest of it, 0 <= fraction < 1 day.
    """

    mjd_day: float
    mjd_fraction: float

    @classmethod
    def from_cards(cls, cards: Mapping[str, Any], where: str = "") -> TimeReference:
        """From the header cards MJDREFI and MJDREFF (or MJDREF) and TIMESYS (absent: TT).

        Seconds are elapsed SI seconds whatever TIMESYS says, so that only the zero point has to be
        brought to TT (GADF, "Time"; FITS 4.0, section 9).

        Raises
        ------
        MissingHduError
            The cards are not there.
        CorruptFileError
            They are no finite numbers.
        UnsupportedError
            TIMESYS names a scale that has no place in TT (e.g. LOCAL).
        """
        if "MJDREFI" in cards:
            values = (cards["MJDREFI"], cards.get("MJDREFF", 0.0))
        elif "MJDREF" in cards:
            values = (cards["MJDREF"], 0.0)
        else:
            raise MissingHduError(
                "the header has no card MJDREFI or MJDREF",
                where=where,
                hint="Without it the times mean nothing; ask whoever made the file.",
            )
        try:
            day, fraction = (float(value) for value in values)
        except (TypeError, ValueError):
            day = fraction = math.nan
        if not math.isfinite(day + fraction):
            raise CorruptFileError(
                f"the reference time MJDREFI, MJDREFF is {values[0]!r}, {values[1]!r}", where=where
            )
        scale = str(cards.get("TIMESYS", "TT")).strip().upper() or "TT"
        return cls.from_mjd(day, fraction, _SCALES.get(scale, scale.lower()), where)

    @classmethod
    def from_mjd(cls, day: float, fraction: float = 0.0, scale: str = "tt", where: str = "") -> TimeReference:
        """From an MJD in a time scale that astropy knows."""
        if scale != "tt":
            if scale not in _KNOWN:
                raise UnsupportedError(
                    f"the time system is {scale.upper()!r}",
                    where=where,
                    hint=f"Known are {', '.join(name.upper() for name in _KNOWN)}.",
                )
            day, fraction = _to_tt(day, fraction, scale)
        whole = math.floor(day)
        rest = (day - whole) + fraction
        return cls(float(whole + math.floor(rest)), rest - math.floor(rest))

    @classmethod
    def from_time(cls, time: Time) -> TimeReference:
        """From a scalar astropy `Time` (any scale)."""
        tt = time.tt
        day = float(np.round(tt.jd1 - 2400000.5))
        return cls.from_mjd(day, float((tt.jd1 - 2400000.5 - day) + tt.jd2))

    @cached_property
    def time(self) -> Time:
        """The instant as astropy `Time`, scale TT, format MJD."""
        return Time(self.mjd_day, self.mjd_fraction, format="mjd", scale="tt")

    def seconds_after(self, other: TimeReference) -> float:
        """Seconds from ``other`` to this one."""
        return (self.mjd_day - other.mjd_day) * DAY + (self.mjd_fraction - other.mjd_fraction) * DAY

    def seconds(self, time: Time) -> NDArray[np.float64]:
        """Seconds from this instant to ``time``, float64, of the shape of ``time``."""
        tt = time.tt
        days = (tt.jd1 - 2400000.5 - self.mjd_day) + (tt.jd2 - self.mjd_fraction)
        return np.asarray(days, dtype=np.float64) * DAY

    def at(self, seconds: float | NDArray[np.float64]) -> Time:
        """The instant(s) ``seconds`` after this one, as astropy `Time` (TT)."""
        days = np.floor(np.asarray(seconds, dtype=np.float64) / DAY)
        rest = (np.asarray(seconds, dtype=np.float64) - days * DAY) / DAY
        return Time(self.mjd_day + days, self.mjd_fraction + rest, format="mjd", scale="tt")

    def to_cards(self) -> dict[str, str | int | float]:
        """The header cards that say it, for tables whose times are in seconds."""
        return {
            "MJDREFI": int(self.mjd_day),
            "MJDREFF": self.mjd_fraction,
            "TIMEUNIT": "s",
            "TIMESYS": "TT",
            "TIMEREF": "LOCAL",
        }


@lru_cache(maxsize=64)
def _to_tt(day: float, fraction: float, scale: str) -> tuple[float, float]:
    tt = Time(day, fraction, format="mjd", scale=scale).tt
    return float(tt.jd1 - 2400000.5), float(tt.jd2)

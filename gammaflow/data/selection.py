"""Which observations of a data store an analysis takes: ids, id file, sky cone, times."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time
from numpy.typing import NDArray

from gammaflow.config import expand_path
from gammaflow.data.index import ObservationIndex
from gammaflow.data.observation_files import Interval
from gammaflow.data.time_reference import TimeReference
from gammaflow.errors import ConfigError, UnitError

if TYPE_CHECKING:
    from gammaflow.config import ObservationsConfig


@dataclass(frozen=True)
class SkyCone:
    """Pointings closer than ``radius`` to a position, all in deg (ICRS)."""

    ra: float
    dec: float
    radius: float

    def contains(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which positions (deg) lie inside: separation < radius."""
        return separation(ra, dec, self.ra, self.dec) < self.radius


@dataclass(frozen=True)
class ObservationSelection:
    """What an analysis asks for; every condition must hold.

    Attributes
    ----------
    obs_ids : tuple of int
        Only these, all when empty.
    cone : SkyCone or None
        Pointing inside this cone.
    intervals : tuple of (TimeReference, TimeReference)
        Overlap with any of these times; the observation is then cut to them.
    """

    obs_ids: tuple[int, ...] = ()
    cone: SkyCone | None = None
    intervals: tuple[Interval, ...] = ()

    @classmethod
    def from_config(cls, observations: ObservationsConfig) -> ObservationSelection:
        """From the ``observations`` section of an analysis configuration.

        Raises
        ------
        ConfigError
            Ids and an id file at once, an unreadable id file, half a cone, or half an interval.
        """
        ids = tuple(int(obs_id) for obs_id in observations.obs_ids)
        if observations.obs_file is not None:
            if ids:
                raise ConfigError(
                    "both obs_ids and obs_file are given", where="observations", hint="Keep one of the two."
                )
            ids = read_ids(expand_path(str(observations.obs_file)))
        return cls(ids, _cone(observations), _intervals(observations))

    def apply(self, index: ObservationIndex) -> list[int]:
        """Sorted numbers of the observations that are asked for.

        An observation is in time when ``start <= last`` and ``stop > first`` of an interval
        (Gammapy's rule), by the times that the index gives.

        Raises
        ------
        ConfigError
            An id is not in the index; the message names the nearest that is.
        MissingHduError
            The index lacks a column that the cone or the times need.
        """
        keep = np.ones(len(index.obs_id), dtype=bool)
        if self.obs_ids:
            unknown = sorted(set(self.obs_ids) - set(index.obs_id.tolist()))
            if unknown:
                raise ConfigError(
                    f"the index has no observation {', '.join(map(str, unknown))}",
                    where="observations.obs_ids",
                    hint=_nearest(unknown[0], index.obs_id),
                )
            keep &= np.isin(index.obs_id, self.obs_ids)
        if self.cone is not None:
            keep &= self.cone.contains(*index.need("ra", "dec"))
        if self.intervals:
            start, stop = index.need("start", "stop")
            reference = index.time_reference
            if reference is None:
                raise UnitError(
                    "there is no MJDREFI, so TSTART and TSTOP mean nothing",
                    where=index.where,
                    hint="Select by observation ids, or add the card.",
                )
            in_time = np.zeros_like(keep)
            for first, last in self.intervals:
                in_time |= (start <= last.seconds_after(reference)) & (stop > first.seconds_after(reference))
            keep &= in_time
        return [int(obs_id) for obs_id in index.obs_id[keep]]


def read_ids(path: Path) -> tuple[int, ...]:
    """Observation numbers of a text file: the first word of each line; ``#`` starts a comment.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line does not start with a whole number.
    """
    where = f"observations.obs_file = {path}"
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file cannot be read ({error})", where=where) from error
    ids = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            ids.append(int(words[0]))
        except ValueError:
            raise ConfigError(
                f"line {number} starts with {words[0]!r}, an observation number is needed", where=where
            ) from None
    if not ids:
        raise ConfigError("the file has no observation numbers", where=where)
    return tuple(ids)


def separation(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ra0: float, dec0: float
) -> NDArray[np.float64]:
    """Angle in deg between positions and one position, all in deg (haversine: exact near zero)."""
    lon, lat, lon0, lat0 = (np.radians(angle) for angle in (ra, dec, ra0, dec0))
    chord = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(np.clip(chord, 0, 1))))


def _nearest(unknown: int, known: Iterable[int]) -> str:
    names = [str(obs_id) for obs_id in known]
    close = difflib.get_close_matches(str(unknown), names, n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else f"The index has {len(names)} observations."


def _cone(observations: ObservationsConfig) -> SkyCone | None:
    cone = observations.obs_cone
    values = {"frame": cone.frame, "lon": cone.lon, "lat": cone.lat, "radius": cone.radius}
    if all(value is None for value in values.values()):
        return None
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise ConfigError(
            f"the cone lacks {', '.join(missing)}",
            where="observations.obs_cone",
            hint="Give all four, or none.",
        )
    frame = getattr(cone.frame, "value", cone.frame)
    center = SkyCoord(u.Quantity(cone.lon), u.Quantity(cone.lat), frame=str(frame)).icrs
    return SkyCone(
        float(center.ra.deg), float(center.dec.deg), float(u.Quantity(cone.radius).to_value("deg"))
    )


def _intervals(observations: ObservationsConfig) -> tuple[Interval, ...]:
    start, stop = observations.obs_time.start, observations.obs_time.stop
    if start is None and stop is None:
        return ()
    if start is None or stop is None:
        raise ConfigError(
            f"there is no {'start' if start is None else 'stop'}",
            where="observations.obs_time",
            hint="Give both start and stop, or neither.",
        )
    first, last = (Time(value).reshape(-1) for value in (start, stop))
    if len(first) != len(last):
        raise ConfigError(
            f"there are {len(first)} starts and {len(last)} stops",
            where="observations.obs_time",
            hint="Give pairs.",
        )
    pairs = tuple(
        (TimeReference.from_time(a), TimeReference.from_time(b)) for a, b in zip(first, last, strict=True)
    )
    for number, (a, b) in enumerate(pairs):
        if b.seconds_after(a) <= 0:
            raise ConfigError(f"interval {number} stops before it starts", where="observations.obs_time")
    return pairs

"""Where the tables of an observation are, and reading them: each file once, responses shared."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from gammaflow.data.events import EventList
from gammaflow.data.fits_file import FitsFile
from gammaflow.data.fits_table import FitsTable
from gammaflow.data.gti import GTI
from gammaflow.data.observation import IRFS, Observation, Part
from gammaflow.data.pointing import FixedPointingInfo, Site
from gammaflow.data.response_cache import RESPONSES, ResponseKey
from gammaflow.data.time_reference import TimeReference
from gammaflow.errors import CorruptFileError, MissingFileError, MissingHduError, NoGtiError
from gammaflow.irf import EffectiveAreaTable2D, Irf, RadMax2D, read_irf

Interval = tuple[TimeReference, TimeReference]

# header cards of EVENTS that say something about the observation
_META_CARDS = (
    *("TELESCOP", "INSTRUME", "OBS_ID", "OBS_MODE", "OBJECT", "RA_OBJ", "DEC_OBJ", "RA_PNT", "DEC_PNT"),
    *("ALT_PNT", "AZ_PNT", "DEADC", "N_TELS", "TELLIST", "MUONEFF", "EV_CLASS", "TSTART", "TSTOP"),
    *("DATE-OBS", "TIME-OBS", "GEOLON", "GEOLAT", "ALTITUDE", "CALDB", "IRF", "CREATOR", "HDUVERS"),
)


@dataclass(frozen=True)
class HduLocation:
    """Where one table of an observation is.

    Attributes
    ----------
    hdu_type, hdu_class : str
        GADF names, in lower case (e.g. ``psf`` and ``psf_3gauss``).
    path : str
        The file.
    hdu_name : str
        EXTNAME in it.
    name : str
        The file as the index names it, relative to the index: the same after the data have moved.
    size : int or None
        Bytes of the HDU, if the index knows.
    """

    hdu_type: str
    hdu_class: str
    path: str
    hdu_name: str
    name: str
    size: int | None = None


@dataclass(frozen=True)
class ObservationFiles:
    """Everything that is needed to open an observation somewhere else; small and picklable.

    Attributes
    ----------
    obs_id : int
        Its number.
    hdus : tuple of HduLocation
        Its tables, one a type.
    ra_pnt, dec_pnt : float or None
        Pointing as the index has it, in deg.
    intervals : tuple
        Only what lies in these times is used; everything when empty.
    """

    obs_id: int
    hdus: tuple[HduLocation, ...]
    ra_pnt: float | None = None
    dec_pnt: float | None = None
    intervals: tuple[Interval, ...] = ()

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"observation {self.obs_id}"

    def find(self, hdu_type: str) -> HduLocation | None:
        """The table of a type, None if the index names none."""
        return next((hdu for hdu in self.hdus if hdu.hdu_type == hdu_type), None)

    def identity(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size in bytes and modification time in ns of each file, sorted by name.

        Raises
        ------
        MissingFileError
            A file is not there; the message names all that are not.
        """
        found, missing = {}, []
        for name, path in sorted({(hdu.name, hdu.path) for hdu in self.hdus}):
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                missing.append(path)
                continue
            found[name] = (name, status.st_size, status.st_mtime_ns)
        if missing:
            raise MissingFileError(
                "there is no such file: " + ", ".join(missing),
                where=self.where,
                hint="Get the files, or leave out this observation.",
            )
        return tuple(found.values())

    def missing_files(self) -> tuple[str, ...]:
        """Paths that the index names and that are not there."""
        return tuple(sorted({hdu.path for hdu in self.hdus if not os.path.exists(hdu.path)}))

    def select_time(self, intervals: tuple[Interval, ...]) -> ObservationFiles:
        """The same observation, cut to some time intervals."""
        return replace(self, intervals=intervals)

    def open(self) -> Observation:
        """Read header cards and good times; responses and event columns are read when they are used.

        Raises
        ------
        MissingFileError, MissingHduError, CorruptFileError, UnitError
            The files are not as they should be.
        NoGtiError
            The observation has no good time.
        UnsupportedError
            The pointing is not fixed, or the time system is not known.
        """
        observation = self.lazy()
        # in the order in which a user wants to hear what is wrong
        _ = observation.pointing, observation.gti, observation.events, observation.deadtime_fraction
        return observation

    def lazy(self) -> Observation:
        """The observation with nothing read yet; what `open` raises is raised at first use."""
        reader = _Reader(self)
        loaders: dict[Part, Callable[[], Any]] = {
            "events": reader.events,
            "gti": reader.gti,
            "pointing": reader.pointing,
            "site": reader.site,
            "deadtime_fraction": reader.deadtime_fraction,
            "meta": reader.meta,
            "rad_max": reader.rad_max,
        }
        for name in IRFS:
            if self.find(name) is not None:
                loaders[name] = lambda name=name: reader.irf(name)  # type: ignore[misc]  # mypy: default of a lambda
        return Observation(self.obs_id, {}, loaders)


class _Reader:
    """Reads the parts of one observation; each file once."""

    def __init__(self, files: ObservationFiles) -> None:
        self._files = files
        self._opened: dict[str, FitsFile] = {}

    def _table(self, location: HduLocation) -> FitsTable:
        if location.path not in self._opened:
            self._opened[location.path] = FitsFile.read(location.path)
        return self._opened[location.path].table(location.hdu_name)

    def _find(self, hdu_type: str) -> HduLocation:
        location = self._files.find(hdu_type)
        if location is None:
            raise MissingHduError(
                f"the index names no {hdu_type} HDU for it",
                hint="Check the hdu-index, or leave out this observation.",
            )
        return location

    def _events_table(self) -> FitsTable:
        return self._table(self._find("events"))

    def events(self) -> EventList:
        events = EventList.from_table(self._events_table())
        if not self._files.intervals:
            return events
        return events.select_time(_gti(self._files.intervals))

    def gti(self) -> GTI:
        location = self._files.find("gti")
        if location is None:
            raise NoGtiError(
                "the index names no table of good time intervals", hint="Exclude this observation."
            )
        try:
            table = self._table(location)
        except MissingHduError as error:
            raise NoGtiError(error.found, where=error.where, hint="Exclude this observation.") from error
        gti = GTI.from_table(table)
        if self._files.intervals:
            gti = gti.intersection(_gti(self._files.intervals))
            if len(gti) == 0:
                raise NoGtiError(
                    "no good time lies in the selected time intervals",
                    where=table.where,
                    hint="Check observations.obs_time.",
                )
        return gti

    def pointing(self) -> FixedPointingInfo:
        return FixedPointingInfo.from_table(self._events_table())

    def site(self) -> Site | None:
        return Site.from_table(self._events_table())

    def deadtime_fraction(self) -> float:
        table = self._events_table()
        if "DEADC" in table.header or "LIVETIME" not in table.header:
            live = table.number("DEADC")
        else:
            live = table.number("LIVETIME") / (table.number("ONTIME") or float("nan"))
        if not 0.0 < live <= 1.0 + 1e-6:
            raise CorruptFileError(
                f"the live fraction of the time (DEADC) is {live}",
                where=table.where,
                hint="It must be above 0 and at most 1; correct the header.",
            )
        return 1.0 - min(live, 1.0)

    def meta(self) -> dict[str, Any]:
        header = self._events_table().header
        return {name: header[name] for name in _META_CARDS if name in header}

    def irf(self, hdu_type: str) -> Irf:
        location = self._find(hdu_type)
        try:
            status = os.stat(location.path)
        except (FileNotFoundError, NotADirectoryError):
            FitsFile.read(location.path)  # raises the error that says it
            raise
        reversed_longitude = hdu_type == "bkg" and self._has_reversed_longitude()
        key = ResponseKey(
            location.path,
            status.st_size,
            status.st_mtime_ns,
            location.hdu_name,
            location.hdu_class,
            reversed_longitude,
        )

        def read() -> Irf:
            table = self._table(location)
            response = read_irf(table.to_response(), location.hdu_class, table.where)
            if reversed_longitude:
                response.fov_alignment = "REVERSE_LON_RADEC"  # type: ignore[attr-defined]  # bkg classes have it
            return response

        return RESPONSES.get(key, read)

    def _has_reversed_longitude(self) -> bool:
        """Whether the background's FoV longitude grows with right ascension.

        Files of the H.E.S.S. writer of format 0.2 say RADEC and mean this.
        """
        header = self._events_table().header
        return (
            str(header.get("CREATOR", "")).strip() == "SASH FITS::EventListWriter"
            and str(header.get("HDUVERS", "")).strip() == "0.2"
        )

    def rad_max(self) -> RadMax2D | None:
        if self._files.find("rad_max") is not None:
            return cast(RadMax2D, self.irf("rad_max"))
        if self._files.find("aeff") is None:
            return None
        aeff = self.irf("aeff")
        if not aeff.is_pointlike or "RAD_MAX" not in aeff.meta:
            return None
        return RadMax2D.from_effective_area(cast(EffectiveAreaTable2D, aeff))


def _gti(intervals: tuple[Interval, ...]) -> GTI:
    reference = intervals[0][0]
    return GTI(
        [first.seconds_after(reference) for first, _ in intervals],
        [last.seconds_after(reference) for _, last in intervals],
        reference,
    )

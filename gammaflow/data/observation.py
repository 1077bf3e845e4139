"""One observation: its events, good times, pointing and instrument responses, read when needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from astropy.coordinates import EarthLocation
from astropy.io import fits
from astropy.time import Time

from gammaflow.data.events import EventList
from gammaflow.data.gti import GTI
from gammaflow.data.pointing import FixedPointingInfo, Site
from gammaflow.errors import CorruptFileError, GammaflowError, MissingHduError
from gammaflow.irf import Irf, RadMax2D

Part = Literal[
    "events", "gti", "pointing", "site", "deadtime_fraction", "meta", "aeff", "edisp", "psf", "bkg", "rad_max"
]
IRFS: tuple[Part, ...] = ("aeff", "edisp", "psf", "bkg")


class Observation:
    """One observation.

    Made by a `DataStore` or by `ObservationFiles.open`; from parts in memory by `create`. A part is
    read at its first use, and an error then says which observation, file and HDU it was.

    Attributes
    ----------
    obs_id : int
        Its number.
    """

    def __init__(
        self, obs_id: int, parts: Mapping[Part, Any], loaders: Mapping[Part, Callable[[], Any]] | None = None
    ) -> None:
        self.obs_id = obs_id
        self._parts: dict[Part, Any] = dict(parts)
        self._loaders: dict[Part, Callable[[], Any]] = dict(loaders or {})

    @classmethod
    def create(
        cls,
        obs_id: int,
        *,
        pointing: FixedPointingInfo,
        gti: GTI,
        events: EventList | None = None,
        deadtime_fraction: float = 0.0,
        site: Site | None = None,
        irfs: Mapping[str, Irf] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Observation:
        """An observation from parts in memory; ``irfs`` by the names aeff, edisp, psf, bkg, rad_max."""
        parts: dict[str, Any] = {
            "pointing": pointing,
            "gti": gti,
            "deadtime_fraction": deadtime_fraction,
            "site": site,
            "meta": dict(meta or {}),
            "rad_max": None,
            **(irfs or {}),
        }
        if events is not None:
            parts["events"] = events
        return cls(obs_id, cast(Mapping[Part, Any], parts))

    def _part(self, name: Part) -> Any:
        try:
            if name not in self._parts:
                if name not in self._loaders:
                    raise MissingHduError(
                        f"the index names no {name} HDU for it",
                        hint="Check the hdu-index, or leave out this observation.",
                    )
                self._parts[name] = self._loaders[name]()
        except GammaflowError as error:
            raise error.at(f"observation {self.obs_id}")  # noqa: B904  # it is the same error
        except fits.VerifyError as error:
            raise CorruptFileError(
                f"a header card of its files cannot be parsed ({error})",
                where=f"observation {self.obs_id}",
                hint="Correct the header, or leave out this observation.",
            ) from error
        return self._parts[name]

    @property
    def events(self) -> EventList:
        """The event list."""
        return cast(EventList, self._part("events"))

    @property
    def gti(self) -> GTI:
        """Good time intervals, at least one of them longer than nothing."""
        return cast(GTI, self._part("gti"))

    @property
    def pointing(self) -> FixedPointingInfo:
        """Where the telescopes pointed."""
        return cast(FixedPointingInfo, self._part("pointing"))

    @property
    def aeff(self) -> Irf:
        """Effective area."""
        return cast(Irf, self._part("aeff"))

    @property
    def edisp(self) -> Irf:
        """Energy dispersion."""
        return cast(Irf, self._part("edisp"))

    @property
    def psf(self) -> Irf:
        """Point spread function."""
        return cast(Irf, self._part("psf"))

    @property
    def bkg(self) -> Irf:
        """Background rate."""
        return cast(Irf, self._part("bkg"))

    @property
    def rad_max(self) -> RadMax2D | None:
        """Directional cut of point-like responses, None if there is none."""
        return cast("RadMax2D | None", self._part("rad_max"))

    @property
    def missing_irfs(self) -> tuple[str, ...]:
        """Which of aeff, edisp, psf and bkg the observation does not have."""
        return tuple(name for name in IRFS if name not in self._parts and name not in self._loaders)

    @property
    def meta(self) -> dict[str, Any]:
        """Header cards of the event list that say something about the observation."""
        return cast(dict[str, Any], self._part("meta"))

    @property
    def site(self) -> Site | None:
        """Where the telescopes stand as plain numbers, None if the file does not say."""
        return cast("Site | None", self._part("site"))

    @property
    def location(self) -> EarthLocation | None:
        """Where the telescopes stand, None if the file does not say."""
        return None if self.site is None else self.site.location

    @property
    def ontime(self) -> float:
        """Sum of the good time intervals in s."""
        return self.gti.ontime

    @property
    def deadtime_fraction(self) -> float:
        """Fraction of the time in which the detector could not trigger, ``1 - DEADC``."""
        return float(self._part("deadtime_fraction"))

    @property
    def livetime(self) -> float:
        """``ontime * (1 - deadtime_fraction)`` in s."""
        return self.ontime * (1.0 - self.deadtime_fraction)

    @property
    def tstart(self) -> Time:
        """Start of the first good time interval (TT)."""
        return self.gti.time_reference.at(float(self.gti.start[0]))

    @property
    def tstop(self) -> Time:
        """Stop of the **first** good time interval (TT): Gammapy's convention."""
        return self.gti.time_reference.at(float(self.gti.stop[0]))

    @property
    def tmid(self) -> Time:
        """Middle of `tstart` and `tstop` (TT)."""
        return self.gti.time_reference.at(0.5 * float(self.gti.start[0] + self.gti.stop[0]))

    def __repr__(self) -> str:
        return f"Observation({self.obs_id})"

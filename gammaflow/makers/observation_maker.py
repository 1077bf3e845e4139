"""What makers of maps and of spectra have in common: choices, errors that name the observation, responses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast, get_args

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from gammaflow.data import Observation
from gammaflow.datasets import CountsDataset, DatasetGeometry, ObservationRow
from gammaflow.errors import ConfigError, GammaflowError, MissingHduError, NoGtiError, UnsupportedError
from gammaflow.irf import BackgroundIrf, EffectiveAreaTable2D, EnergyDispersion2D, Irf
from gammaflow.makers.background_rate import BackgroundProjector
from gammaflow.makers.energy_dispersion_map import make_edisp_kernel, make_edisp_migra
from gammaflow.makers.field_of_view import SkyToField
from gammaflow.makers.horizon import HorizonField
from gammaflow.maps import MapAxis

InvalidResponse = Literal["refuse", "zero"]
Made = TypeVar("Made", bound=CountsDataset)
Place = TypeVar("Place", bound=DatasetGeometry)

_META_CARDS = {"TELESCOP": "telescope", "INSTRUME": "instrument", "OBJECT": "object"}


class ObservationMaker(ABC, Generic[Made, Place]):
    """The first step of a reduction: from events and responses to arrays on a geometry.

    Parameters
    ----------
    selection : iterable of str, optional
        What to make; everything that is ``available`` by default.
    background_oversampling : int, optional
        Divide each energy bin for the integration of the background.
    background_interp_missing_data : bool
        Fill gaps in energy of the background response.
    background_pad_offset : bool
        Let a background over offset go on with constant values for one more bin on each side.
    fov_rotation_step : Quantity or float
        Rotation (deg) between the instants at which a background aligned with the horizon is evaluated.
    invalid_response : {"refuse", "zero"}
        What to do with NaN and infinities in a response: refuse the observation, or take what they touch as 0.

    Raises
    ------
    ConfigError
        If an argument is not one of those.
    """

    tag: ClassVar[str]
    available: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        selection: Iterable[str] | None = None,
        background_oversampling: int | None = None,
        background_interp_missing_data: bool = True,
        background_pad_offset: bool = True,
        fov_rotation_step: float | u.Quantity = 1.0,
        invalid_response: InvalidResponse = "refuse",
    ) -> None:
        self.selection: frozenset[str] = frozenset(self.available if selection is None else selection)
        if unknown := self.selection.difference(self.available):
            raise ConfigError(
                f"selection {sorted(unknown)}",
                where=self.tag,
                hint=f"Known are {', '.join(self.available)}",
            )
        if invalid_response not in get_args(InvalidResponse):
            raise ConfigError(
                f"invalid_response {invalid_response!r}", where=self.tag, hint="Known are refuse, zero"
            )
        self.background_oversampling = int(background_oversampling or 1)
        self.background_interp_missing_data = background_interp_missing_data
        self.background_pad_offset = background_pad_offset
        self.fov_rotation_step = float(u.Quantity(fov_rotation_step, u.deg).value)
        self.invalid_response: InvalidResponse = invalid_response

    def run(self, dataset: Made, observation: Observation) -> Made:
        """Reduce an observation on the geometry, and under the name, of a dataset.

        Parameters
        ----------
        dataset : MapDataset or SpectrumDataset
            The reference, usually empty; it is not changed.
        observation : Observation

        Returns
        -------
        dataset : MapDataset or SpectrumDataset
            Without ``mask_fit`` and models; every bin safe.

        Raises
        ------
        DataError
            If the observation cannot be reduced; the message names it.
        """
        return self.make(cast(Place, dataset.geometry), observation, dataset.name)

    def make(self, geometry: Place, observation: Observation, name: str) -> Made:
        """As `run`, from a geometry and a name."""
        try:
            if not observation.ontime > 0:
                raise NoGtiError("no good time", hint="Exclude this observation")
            return self._make(geometry, observation, name)
        except GammaflowError as error:
            place = f"observation {observation.obs_id}"
            raise error if place in error.where else error.at(place) from None

    @abstractmethod
    def _make(self, geometry: Place, observation: Observation, name: str) -> Made:
        """As `make`, of an observation that has good time."""

    def _about(self, observation: Observation) -> dict[str, Any]:
        """What a dataset knows of its observation besides arrays: arguments of `CountsDataset.from_arrays`."""
        gti, pointing = observation.gti, observation.pointing
        row = ObservationRow(
            obs_id=observation.obs_id,
            tstart=float(gti.start.min()),
            tstop=float(gti.stop.max()),
            ontime=observation.ontime,
            livetime=observation.livetime,
            ra_pnt=pointing.ra,
            dec_pnt=pointing.dec,
            zenith=np.nan if pointing.alt is None else 90.0 - pointing.alt,
            azimuth=np.nan if pointing.az is None else pointing.az,
        )
        cards = observation.meta
        return {
            "gti": gti,
            "observations": row,
            "livetime": observation.livetime,
            "meta": {new: str(cards[old]) for old, new in _META_CARDS.items() if old in cards},
        }

    def _checked(self, irf: Irf, name: str) -> Irf:
        if self.invalid_response == "refuse":
            irf.check_finite(name)
        return irf

    def _effective_area(self, observation: Observation) -> EffectiveAreaTable2D:
        return cast(EffectiveAreaTable2D, self._checked(observation.aeff, "effective area"))

    def _background(
        self, observation: Observation, energy_axis: MapAxis
    ) -> tuple[BackgroundProjector, SkyToField | None]:
        """The background rate, and how it lies on the sky; None where only the offset matters."""
        bkg = cast(BackgroundIrf, self._checked(observation.bkg, "background"))
        projector = BackgroundProjector.from_irf(
            bkg,
            energy_axis,
            oversampling=self.background_oversampling,
            fill_gaps=self.background_interp_missing_data,
            pad_offset=self.background_pad_offset,
        )
        return projector, self._field_of_view(bkg, observation)

    def _field_of_view(self, bkg: BackgroundIrf, observation: Observation) -> SkyToField | None:
        if bkg.required_axes[-1] == "offset":
            return None
        pointing = observation.pointing
        if bkg.fov_alignment != "ALTAZ":
            return SkyToField.fixed(pointing.ra, pointing.dec, bkg.fov_alignment == "REVERSE_LON_RADEC")
        location = observation.location
        if location is None:
            raise MissingHduError(
                "no position of the telescopes (GEOLON, GEOLAT, ALTITUDE)",
                hint="A background aligned with the horizon needs it",
            )
        return HorizonField.observed(
            pointing.vector, observation.tstart, observation.ontime, location, self.fov_rotation_step
        )

    def _energy_dispersion(
        self, geometry: DatasetGeometry, observation: Observation, offset: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Kernel, or density over migration, at offsets (n,) in deg; (n_true, n_reco or n_migra, n)."""
        irf = self._checked(observation.edisp, "energy dispersion")
        if not isinstance(irf, EnergyDispersion2D):
            raise UnsupportedError(f"energy dispersion of class {type(irf).__name__}")
        if geometry.migra_axis is None:
            return make_edisp_kernel(irf, geometry.energy_axis_true, geometry.energy_axis, offset)
        return make_edisp_migra(irf, geometry.energy_axis_true, geometry.migra_axis, offset)

    def __repr__(self) -> str:
        return f"{self.tag}(selection={sorted(self.selection)})"

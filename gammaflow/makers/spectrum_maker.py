"""`SpectrumDatasetMaker`: from the events and responses of an observation to the spectrum of a region."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, ClassVar, cast

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from gammaflow.data import Observation
from gammaflow.datasets import SpectrumDataset, SpectrumDatasetGeometry
from gammaflow.errors import NoOverlapError, UnsupportedError
from gammaflow.irf import EffectiveAreaTable2D, PsfIrf
from gammaflow.makers.exposure import ExposureProjector
from gammaflow.makers.observation_maker import InvalidResponse, ObservationMaker
from gammaflow.makers.region_counts import count_region, is_circle
from gammaflow.makers.sky_pass import mean_counts
from gammaflow.maps import RegionGeom, separation

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


class SpectrumDatasetMaker(ObservationMaker[SpectrumDataset, SpectrumDatasetGeometry]):
    """Make the spectrum of a region from one observation.

    Counts are those of the region; around a point, those within the directional cut (RAD_MAX) of point-like
    responses at each event's energy. Exposure (effective area times livetime) and background (rate integrated
    over energy, times solid angle and ontime) are taken at the centre of the region, or over all of it: with w
    the fraction of each pixel that is inside, the mean ``sum w x / sum w`` of the exposure, and the sum
    ``sum w x`` of the background. The energy dispersion, and its exposure, are those at the centre.

    Parameters
    ----------
    selection : iterable of str, optional
        What to make, of ``counts``, ``exposure``, ``background``, ``edisp``; everything by default.
    containment_correction : bool
        Multiply the exposure with the fraction of a point source's events that the circle around it holds.
    background_oversampling : int, optional
        Divide each energy bin for the integration of the background.
    use_region_center : bool
        Take exposure and background at the centre of the region, not over all of it.
    background_interp_missing_data, background_pad_offset, fov_rotation_step, invalid_response
        See `ObservationMaker`.

    Raises
    ------
    ConfigError
        If an argument is not one of those.
    """

    tag = "SpectrumDatasetMaker"
    available: ClassVar[tuple[str, ...]] = ("counts", "exposure", "background", "edisp")

    def __init__(
        self,
        selection: Iterable[str] | None = None,
        containment_correction: bool = False,
        background_oversampling: int | None = None,
        use_region_center: bool = True,
        background_interp_missing_data: bool = True,
        background_pad_offset: bool = True,
        fov_rotation_step: float | u.Quantity = 1.0,
        invalid_response: InvalidResponse = "refuse",
    ) -> None:
        super().__init__(
            selection,
            background_oversampling,
            background_interp_missing_data,
            background_pad_offset,
            fov_rotation_step,
            invalid_response,
        )
        self.containment_correction = containment_correction
        self.use_region_center = use_region_center

    def _make(
        self, geometry: SpectrumDatasetGeometry, observation: Observation, name: str
    ) -> SpectrumDataset:
        region = geometry.geom
        offset = np.atleast_1d(region.separation(observation.pointing.vector))
        arrays: dict[str, Any] = {}
        if "counts" in self.selection:
            events = observation.events
            if not len(events):
                log.warning(
                    "observation %s has no events; its exposure counts all the same", observation.obs_id
                )
            arrays["counts"] = count_region(events, region, observation)
        if self.selection & {"exposure", "edisp"}:
            aeff = self._effective_area(observation)
            _require_in_field(aeff, region, float(offset[0]))
            projector = ExposureProjector.from_irf(aeff, geometry.energy_axis_true, observation.livetime)
            if "exposure" in self.selection:
                arrays["exposure"] = self._exposure(geometry, observation, projector, offset)
            if "edisp" in self.selection:
                arrays["edisp"] = self._energy_dispersion(geometry, observation, offset)[..., 0]
                arrays["edisp_exposure"] = projector(offset)[:, 0]
        if "background" in self.selection:
            arrays["background"] = self._counts_of_background(geometry, observation)
        return SpectrumDataset.from_arrays(geometry, name, **arrays, **self._about(observation))

    def _exposure(
        self,
        geometry: SpectrumDatasetGeometry,
        observation: Observation,
        projector: ExposureProjector,
        offset: Floats,
    ) -> Floats:
        """Exposure (n_energy_true,) of the region, m2 s."""
        region = geometry.geom
        if self.use_region_center:
            exposure = projector(offset)[:, 0]
        else:
            if observation.aeff.is_pointlike:
                log.warning(
                    "observation %s: an average over the region means little with point-like responses",
                    observation.obs_id,
                )
            vectors, weights = region.pixels_and_weights()
            exposure = projector(separation(vectors, observation.pointing.vector)) @ (weights / weights.sum())
        if self.containment_correction:
            exposure *= self._containment(geometry, observation, offset)
        return exposure

    def _containment(
        self, geometry: SpectrumDatasetGeometry, observation: Observation, offset: Floats
    ) -> Floats:
        """Fraction (n_energy_true,) of a point source's events inside the circle around it."""
        if observation.aeff.is_pointlike:
            raise UnsupportedError(
                "a containment correction for point-like responses, whose effective area contains it already",
                hint="Set containment_correction to false",
            )
        region = geometry.geom
        if not is_circle(region):
            raise UnsupportedError(
                f"a containment correction for the region {region.ds9!r}",
                hint="Only that of a circle is known: set containment_correction to false",
            )
        psf = self._checked(observation.psf, "point spread function")
        if not isinstance(psf, PsfIrf):
            raise UnsupportedError(f"a point spread function of class {type(psf).__name__}")
        return psf.containment(region.radius, geometry.energy_axis_true.center, offset[0])

    def _counts_of_background(self, geometry: SpectrumDatasetGeometry, observation: Observation) -> Floats:
        """Background counts (n_energy,) of the region."""
        region, pointing = geometry.geom, observation.pointing.vector
        projector, field = self._background(observation, geometry.energy_axis)
        if self.use_region_center:
            vectors, solid_angle = region.center_vector[:, None], np.array([region.solid_angle()])
        else:
            vectors, weights = region.pixels_and_weights()
            solid_angle = weights * np.radians(region.binsz_wcs) ** 2
        offset = separation(vectors, pointing)
        counts = mean_counts(projector, field, vectors, offset, solid_angle * observation.ontime)
        return cast(Floats, counts.sum(axis=1))


def _require_in_field(aeff: EffectiveAreaTable2D, region: RegionGeom, offset: float) -> None:
    """Refuse a region whose centre the effective area does not reach."""
    edges = aeff.axis("offset").edges
    if not edges[0] <= offset <= edges[-1]:
        lon, lat = region.center_lonlat
        raise NoOverlapError(
            f"the region at {region.frame} {lon:.3f}, {lat:.3f} deg is {offset:.2f} deg from the pointing, outside "
            f"of the field of view: the effective area is known from {edges[0]:g} to {edges[-1]:g} deg",
            hint="Exclude the observation, or choose another region",
        )

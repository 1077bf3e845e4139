"""`MapDatasetMaker`: from the events and responses of an observation to maps."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np

from gammaflow.data import Observation
from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.makers.counts import make_counts
from gammaflow.makers.exposure import ExposureProjector
from gammaflow.makers.observation_maker import ObservationMaker
from gammaflow.makers.psf_map import make_psf
from gammaflow.makers.sky_pass import SkyMaps, sky_pass
from gammaflow.maps import separation

log = logging.getLogger(__name__)


class MapDatasetMaker(ObservationMaker[MapDataset, MapDatasetGeometry]):
    """Make the maps of one observation.

    Counts are filled from the event list; exposure is effective area times livetime at true energy centres;
    background is the rate, integrated over energy as power laws between edges, times solid angle and ontime;
    point spread function and energy dispersion are evaluated on the response grid, normalised at each pixel.

    Parameters and errors are those of `ObservationMaker`, what can be selected is ``counts``, ``exposure``,
    ``background``, ``psf`` and ``edisp``.
    """

    tag = "MapDatasetMaker"
    available: ClassVar[tuple[str, ...]] = ("counts", "exposure", "background", "psf", "edisp")

    def _make(self, geometry: MapDatasetGeometry, observation: Observation, name: str) -> MapDataset:
        counts = None
        if "counts" in self.selection:
            events = observation.events
            if not len(events):
                log.warning(
                    "observation %s has no events; its exposure counts all the same", observation.obs_id
                )
            counts = make_counts(events, geometry.geom)
        maps = self._sky_maps(geometry, observation)
        responses = self._responses(geometry, observation)
        dataset = MapDataset.from_arrays(
            geometry,
            name,
            counts=counts,
            background=maps.background,
            exposure=maps.exposure,
            **responses,
            **self._about(observation),
        )
        dataset._workspace = maps
        return dataset

    def _sky_maps(self, geometry: MapDatasetGeometry, observation: Observation) -> SkyMaps:
        exposure = background = field = None
        if "exposure" in self.selection:
            exposure = ExposureProjector.from_irf(
                self._effective_area(observation), geometry.energy_axis_true, observation.livetime
            )
        if "background" in self.selection:
            background, field = self._background(observation, geometry.energy_axis)
        return sky_pass(
            geometry.image, observation.pointing.vector, exposure, background, field, observation.ontime
        )

    def _responses(self, geometry: MapDatasetGeometry, observation: Observation) -> dict[str, Any]:
        """Point spread function and energy dispersion, each with its exposure."""
        wanted = self.selection & {"psf", "edisp"}
        if not wanted:
            return {}
        image = geometry.geom_irf.shape_image
        offset = separation(geometry.geom_irf.pixel_vectors(), observation.pointing.vector).ravel()
        true = geometry.energy_axis_true
        projector = ExposureProjector.from_irf(self._effective_area(observation), true, observation.livetime)
        exposure = projector(offset).astype(np.float32).reshape(true.nbin, *image)
        arrays: dict[str, Any] = {f"{name}_exposure": exposure for name in wanted}
        if "psf" in wanted:
            psf = make_psf(
                self._checked(observation.psf, "point spread function"), true, geometry.rad_axis, offset
            )
            arrays["psf"] = psf.reshape(*psf.shape[:2], *image)
        if "edisp" in wanted:
            edisp = self._energy_dispersion(geometry, observation, offset)
            arrays["edisp"] = edisp.reshape(*edisp.shape[:2], *image)
        return arrays

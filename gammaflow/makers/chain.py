"""The makers that a configuration asks for, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gammaflow.config import DatasetsConfig
from gammaflow.data import Observation
from gammaflow.datasets import DatasetGeometry, MapDatasetGeometry
from gammaflow.errors import ConfigError, NoOverlapError
from gammaflow.makers.background import (
    ExclusionMask,
    FoVBackgroundMaker,
    ReflectedRegionsBackgroundMaker,
    RingBackgroundMaker,
    read_exclusion,
)
from gammaflow.makers.map_maker import MapDatasetMaker
from gammaflow.makers.observation_maker import InvalidResponse
from gammaflow.makers.safe_mask import SafeMaskMaker
from gammaflow.makers.spectrum_maker import SpectrumDatasetMaker
from gammaflow.maps import RegionGeom, WcsGeom

log = logging.getLogger(__name__)


class Maker(Protocol):
    """What turns a dataset and an observation into a dataset; which types it takes is for it to say."""

    def run(self, dataset: Any, observation: Observation) -> Any:
        """One step of a reduction."""


@dataclass(frozen=True)
class MakerChain:
    """Everything that is done to one observation. Small and picklable; it keeps nothing of an observation.

    Attributes
    ----------
    first : MapDatasetMaker or SpectrumDatasetMaker
        The first step.
    makers : tuple of Maker
        The steps that follow, in order.
    cutout_width : float or None
        Width in deg of the part of the map that is used; the whole map if None. A region is never cut.
    """

    first: MapDatasetMaker | SpectrumDatasetMaker
    makers: tuple[Maker, ...] = ()
    cutout_width: float | None = None

    def run(self, observation: Observation, reference: DatasetGeometry, name: str | None = None) -> Any:
        """Reduce an observation.

        Parameters
        ----------
        observation : Observation
        reference : MapDatasetGeometry or SpectrumDatasetGeometry
            The whole map, of which the dataset is on a cutout around the pointing; or the region.
        name : str, optional
            Name of the dataset, ``obs-<obs_id>`` by default.

        Raises
        ------
        NoOverlapError
            If the observation does not touch the map or the region.
        NoOffRegionError
            If its background cannot be measured.
        DataError
            If it cannot be reduced for another reason; the message names the observation.
        """
        geometry: Any = reference
        if self.cutout_width is not None and isinstance(reference, MapDatasetGeometry):
            pointing = observation.pointing
            try:
                geometry = reference.cutout(pointing.vector, self.cutout_width)
            except NoOverlapError as error:
                raise NoOverlapError(
                    f"it points to RA {pointing.ra:.3f} deg, Dec {pointing.dec:.3f} deg, and a cutout of "
                    f"{self.cutout_width:g} deg around that does not touch the map",
                    where=f"observation {observation.obs_id}",
                    hint="Exclude the observation, or make the map larger",
                ) from error
        dataset: Any = self.first.make(geometry, observation, name or f"obs-{observation.obs_id}")
        for maker in self.makers:
            dataset = maker.run(dataset, observation)
        # What one maker hands to the next is of no use any more, and large
        dataset._workspace = None
        return dataset


def make_chain(
    config: DatasetsConfig,
    invalid_response: InvalidResponse = "refuse",
    geom: WcsGeom | RegionGeom | None = None,
) -> MakerChain:
    """The chain for the ``datasets`` section of a configuration.

    For maps: the maps, the safe mask, then the background (``fov_background`` or ``ring``). For spectra: counts,
    exposure and energy dispersion, the background (``reflected``), then the safe mask. Observations whose background
    cannot be measured in OFF regions are refused.

    Parameters
    ----------
    config : DatasetsConfig
    invalid_response : {"refuse", "zero"}
        See `MapDatasetMaker`.
    geom : WcsGeom or RegionGeom, optional
        The whole map, if it has been made already; an exclusion mask is put on its pixels.

    Raises
    ------
    ConfigError
        If the configuration asks for something that its type of datasets does not have.
    """
    safe_mask = SafeMaskMaker(config.safe_mask.methods, **config.safe_mask.parameters)
    if config.type == "1d":
        return _spectrum_chain(config, invalid_response, safe_mask)
    makers: list[Maker] = [safe_mask]
    background = config.background
    parameters: dict[str, Any] = dict(background.parameters)
    if background.method == "reflected":
        raise _not_for(config, "For maps there are fov_background and ring")
    if background.method is not None:
        mask = None
        if background.exclusion is not None:
            whole = geom if isinstance(geom, WcsGeom) else config.geom.to_geom()
            mask = ExclusionMask.read(background.exclusion, whole)
        if background.method == "ring":
            makers.append(RingBackgroundMaker(exclusion_mask=mask, without_off="refuse", **parameters))
        else:
            makers.append(FoVBackgroundMaker(exclusion_mask=mask, **parameters))
    return MakerChain(
        MapDatasetMaker(selection=config.map_selection, invalid_response=invalid_response),
        tuple(makers),
        2 * float(config.geom.selection.offset_max.to_value("deg")),
    )


def _spectrum_chain(
    config: DatasetsConfig, invalid_response: InvalidResponse, safe_mask: SafeMaskMaker
) -> MakerChain:
    background = config.background
    if background.method not in (None, "reflected"):
        raise _not_for(config, "For spectra there is reflected")
    first = SpectrumDatasetMaker(
        selection=["counts", "exposure", "edisp"],
        containment_correction=config.containment_correction,
        invalid_response=invalid_response,
    )
    if background.method is None:
        return MakerChain(first, (safe_mask,))
    mask = None if background.exclusion is None else read_exclusion(background.exclusion)
    maker = ReflectedRegionsBackgroundMaker(
        exclusion_mask=mask, without_off="refuse", **background.parameters
    )
    return MakerChain(first, (maker, safe_mask))


def _not_for(config: DatasetsConfig, hint: str) -> ConfigError:
    return ConfigError(
        f"background method {config.background.method} for type {config.type}",
        where="datasets.background.method",
        hint=hint,
    )


def run_makers(makers: Sequence[Maker], dataset: Any, observation: Observation) -> Any:
    """Run makers one after the other on a dataset."""
    for maker in makers:
        log.debug("observation %s: %s", observation.obs_id, maker)
        dataset = maker.run(dataset, observation)
    return dataset

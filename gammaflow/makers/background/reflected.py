"""`ReflectedRegionsBackgroundMaker`: the background of a region, counted in regions beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.data import Observation
from gammaflow.datasets import OnOffDataset, SpectrumDataset, SpectrumDatasetOnOff
from gammaflow.datasets.on_off import OFF_REGIONS
from gammaflow.errors import ConfigError, GammaflowError, UnsupportedError
from gammaflow.irf import RadMax2D
from gammaflow.makers.background.exclusion import Exclusion, exclusion_of
from gammaflow.makers.background.failure import WithoutOff, check_without_off, without_off
from gammaflow.makers.background.off_regions import OffRegions, closest
from gammaflow.makers.background.region_finders import ReflectedRegionsFinder, RegionsFinder
from gammaflow.makers.region_counts import BinnedEvents, cut_radius, directional_cut
from gammaflow.maps import MapAxis, RegionGeom, separation
from gammaflow.maps.region_mask import RegionLike


class ReflectedRegionsBackgroundMaker:
    """Count the background of a spectrum in regions at the same distance from the pointing.

    The acceptance of the ON region is 1, that of the n OFF regions together n. With point-like responses whose
    directional cut depends on the energy, the regions are points, and an event belongs to one that is not farther
    than the cut at its energy.

    Where no OFF region is found, or those around points overlap, the observation is refused, or its dataset has no
    OFF counts and no safe bin, and the reason in ``dataset.meta["background_failure"]``.

    Parameters
    ----------
    region_finder : RegionsFinder, optional
        A `ReflectedRegionsFinder` by default.
    exclusion_mask : ExclusionMask, ExclusionRegions, region, DS9 string, list of them, or path, optional
        Where OFF regions must not be.
    without_off : {"mask", "refuse"}
        What becomes of an observation without OFF regions.
    **finder
        Arguments of the `ReflectedRegionsFinder`.

    Raises
    ------
    ConfigError
        If arguments are wrong, or given beside a finder.
    """

    tag = "ReflectedRegionsBackgroundMaker"

    def __init__(
        self,
        region_finder: RegionsFinder | None = None,
        exclusion_mask: Exclusion | RegionLike | Path | None = None,
        without_off: WithoutOff = "mask",
        **finder: Any,
    ) -> None:
        if region_finder is not None and finder:
            raise ConfigError(
                f"{', '.join(finder)} beside a region_finder",
                where=self.tag,
                hint="Give them to the finder itself",
            )
        self.region_finder = region_finder or ReflectedRegionsFinder(**finder)
        self.exclusion_mask = exclusion_of(exclusion_mask, self.tag)
        self.without_off = check_without_off(without_off, self.tag)

    def run(self, dataset: SpectrumDataset, observation: Observation) -> SpectrumDatasetOnOff:
        """The dataset with OFF counts in the place of a modelled background.

        Parameters
        ----------
        dataset : SpectrumDataset
            Of this observation.
        observation : Observation

        Raises
        ------
        NoOffRegionError
            There is no OFF region, and ``without_off`` is "refuse".
        DataError
            The region does not go with the responses.
        """
        try:
            return self._run(dataset, observation)
        except GammaflowError as error:
            place = f"observation {observation.obs_id}"
            raise error if place in error.where else error.at(place) from None

    def _run(self, dataset: SpectrumDataset, observation: Observation) -> SpectrumDatasetOnOff:
        if not isinstance(dataset, SpectrumDataset) or isinstance(dataset, OnOffDataset):
            raise UnsupportedError(
                f"reflected regions for a {dataset.tag}", hint="They are for a SpectrumDataset"
            )
        region, axis = dataset.geometry.geom, dataset.geometry.energy_axis
        cut = directional_cut(region, observation)
        found = self.region_finder.find(region, observation.pointing.vector, self.exclusion_mask)
        if cut is not None:
            found = _apart(found, region, cut, axis, observation)
        if not found.angles:
            masked = SpectrumDatasetOnOff.from_spectrum_dataset(dataset, 1.0, None)
            return without_off(masked, observation.obs_id, found.reason, self.without_off)
        made = SpectrumDatasetOnOff.from_spectrum_dataset(
            dataset, 1.0, float(len(found)), _counts(found, axis, cut, observation)
        )
        made.data.attrs["meta"] = {**made.meta, OFF_REGIONS: found.ds9}
        return made

    def __repr__(self) -> str:
        return f"ReflectedRegionsBackgroundMaker({self.region_finder!r})"


def _counts(
    found: OffRegions, axis: MapAxis, cut: RadMax2D | None, observation: Observation
) -> NDArray[np.int32]:
    """Counts (n_energy,) in all regions together. Regions do not overlap, but those of a cut may share events."""
    binned = BinnedEvents(observation.events, axis, found.on.plane.frame)
    if cut is None:
        return binned.histogram(found.contains(binned.vectors))
    total = np.zeros(axis.nbin, dtype=np.int32)
    for center in found.center_vectors.T:
        total += binned.histogram(binned.within_cut(cut, center, observation.pointing.vector))
    return total


def _apart(
    found: OffRegions, region: RegionGeom, cut: RadMax2D, axis: MapAxis, observation: Observation
) -> OffRegions:
    """The regions around points, none of them where two overlap at an energy of the dataset."""
    if not found.angles:
        return found
    center = region.center_vector
    offset = float(separation(center, observation.pointing.vector))
    energies = cut.axes[0]
    used = (energies.edges[1:] >= axis.edges[0]) & (energies.edges[:-1] <= axis.edges[-1])
    radius = float(cut_radius(cut, energies.nodes[used], offset).max(initial=0.0))
    distance = closest(np.concatenate((center[:, None], found.center_vectors), axis=1))
    if distance >= 2 * radius:
        return found
    reason = f"regions {distance:.3f} deg apart overlap, with a directional cut of up to {radius:.3f} deg"
    return OffRegions(found.on, (), reason)

"""`DatasetsMaker`: several observations through the same makers, in one process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import astropy.units as u

from gammaflow.data import Observation
from gammaflow.datasets import (
    CountsDataset,
    Datasets,
    MapDataset,
    MapDatasetOnOff,
    OnOffDataset,
    SpectrumDatasetOnOff,
    stack,
)
from gammaflow.errors import ConfigError, NoOverlapError
from gammaflow.makers.chain import Maker, run_makers
from gammaflow.makers.safe_mask import SafeMaskMaker

log = logging.getLogger(__name__)


class DatasetsMaker:
    """Run makers on observations, one after the other; for many at a time see `gammaflow.Analysis`.

    Parameters
    ----------
    makers : sequence of Maker
        In the order in which they run.
    stack_datasets : bool
        Give one stacked dataset instead of one an observation.
    n_jobs : int, optional
        Only 1.
    cutout_mode : {"trim"}
        What sticks out of the map is cut off.
    cutout_width : str, Quantity or float, optional
        Width (deg) of the part of the map around each pointing; by default twice the ``offset_max`` of the
        `SafeMaskMaker` among the makers, or the whole map if there is none.

    Raises
    ------
    ConfigError
        If an argument is not one of those.
    """

    tag = "DatasetsMaker"

    def __init__(
        self,
        makers: Sequence[Maker],
        stack_datasets: bool = True,
        n_jobs: int | None = None,
        cutout_mode: str = "trim",
        cutout_width: str | float | u.Quantity | None = None,
    ) -> None:
        if n_jobs not in (None, 1):
            raise ConfigError(f"n_jobs {n_jobs}", where=self.tag, hint="Run an Analysis with a Dask client")
        if cutout_mode != "trim":
            raise ConfigError(f"cutout_mode {cutout_mode!r}", where=self.tag, hint="Known is trim")
        self.makers = tuple(makers)
        self.stack_datasets = stack_datasets
        if cutout_width is not None:
            self.cutout_width: float | None = float(u.Quantity(cutout_width, u.deg).value)
        else:
            limits = [maker.offset_max for maker in self.makers if isinstance(maker, SafeMaskMaker)]
            self.cutout_width = 2 * limits[0] if limits else None

    def make_dataset(self, dataset: CountsDataset, observation: Observation) -> Any:
        """Reduce one observation on a part of the map of ``dataset``, or for its region.

        Returns
        -------
        reduced : CountsDataset or None
            Of the type that the last maker makes. None if the observation does not touch the map, or its field of
            view not the region; a warning is logged.
        """
        name = f"obs-{observation.obs_id}"
        kind: Any = type(dataset)
        geometry: Any = dataset.geometry
        try:
            if self.cutout_width is not None and isinstance(dataset, MapDataset):
                geometry = geometry.cutout(observation.pointing.vector, self.cutout_width)
            reduced = run_makers(self.makers, kind.create(geometry, name=name), observation)
        except NoOverlapError as error:
            log.warning("observation %s is left out: %s", observation.obs_id, error.found)
            return None
        reduced._workspace = None
        return reduced

    def run(
        self,
        dataset: CountsDataset,
        observations: Iterable[Observation],
        datasets: Sequence[CountsDataset] | None = None,
    ) -> Datasets:
        """Reduce observations.

        Parameters
        ----------
        dataset : MapDataset or SpectrumDataset
            The whole map, or the region. It gives the geometry, and with ``stack_datasets`` the name of the result;
            if it is no ON/OFF dataset, those that are get a background of alpha times their OFF counts.
        observations : iterable of Observation
        datasets : sequence of MapDataset or SpectrumDataset, optional
            A dataset to start from for each observation, instead of cutouts of ``dataset``.

        Returns
        -------
        datasets : Datasets
            In the order of the observations; one stacked dataset with ``stack_datasets``.
        """
        if datasets is None:
            made = [self.make_dataset(dataset, observation) for observation in observations]
        else:
            pairs = zip(datasets, observations, strict=True)
            made = [run_makers(self.makers, start, observation) for start, observation in pairs]
        reduced = [one for one in made if one is not None]
        if not self.stack_datasets:
            return Datasets(reduced)
        if not isinstance(dataset, OnOffDataset):
            reduced = [_modelled(one) for one in reduced]
        return Datasets([stack(reduced, dataset.name, dataset.geometry)])


def _modelled(dataset: Any) -> Any:
    """The dataset, with a background in the place of OFF counts."""
    if isinstance(dataset, MapDatasetOnOff):
        return dataset.to_map_dataset()
    return dataset.to_spectrum_dataset() if isinstance(dataset, SpectrumDatasetOnOff) else dataset

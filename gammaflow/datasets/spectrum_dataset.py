"""The spectrum dataset: counts, background and responses of one region of the sky."""

from __future__ import annotations

from typing import ClassVar, Self

from gammaflow.datasets.counts_dataset import CountsDataset
from gammaflow.datasets.spectrum_geometry import SpectrumDatasetGeometry
from gammaflow.maps import MapAxis, RegionGeom


class SpectrumDataset(CountsDataset):
    """Counts of a region as a function of energy, with background and responses.

    The arrays live in ``data``, an `xarray.Dataset` on the schema of `gammaflow.datasets.schema`: ``counts``,
    ``background``, ``mask_safe``, ``mask_fit`` (energy,), ``exposure`` (energy_true,), ``edisp`` (energy_true,
    energy or migra) and ``edisp_exposure`` (energy_true,). Parameters and errors as for `CountsDataset`.
    """

    tag = "SpectrumDataset"
    arrays: ClassVar[tuple[str, ...]] = (
        "counts",
        "background",
        "mask_safe",
        "mask_fit",
        "exposure",
        "edisp",
        "edisp_exposure",
    )
    geometry: SpectrumDatasetGeometry

    @classmethod
    def create(
        cls,
        geom: RegionGeom | SpectrumDatasetGeometry,
        energy_axis_true: MapAxis | None = None,
        migra_axis: MapAxis | None = None,
        name: str | None = None,
        reference_time: str = "2000-01-01",
    ) -> Self:
        """An empty dataset: everything zero, no bin safe, no time.

        Parameters
        ----------
        geom : RegionGeom or SpectrumDatasetGeometry
            The region with its axis ``energy``.
        energy_axis_true, migra_axis
            See `SpectrumDatasetGeometry.create`.
        name : str, optional
            Name of the dataset, "empty" when not given.
        reference_time : str
            Times will be counted from here (TT).
        """
        if not isinstance(geom, SpectrumDatasetGeometry):
            geom = SpectrumDatasetGeometry.create(geom, energy_axis_true, migra_axis)
        return cls._empty(geom, name, reference_time)

    @property
    def geom(self) -> RegionGeom:
        """The region with its energy axis."""
        return self.geometry.geom

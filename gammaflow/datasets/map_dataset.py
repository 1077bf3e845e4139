"""The map dataset: counts, background and responses of one or many observations on one sky map."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gammaflow.datasets import extraction, rebinning
from gammaflow.datasets.counts_dataset import CountsDataset
from gammaflow.datasets.geometry import DEFAULT_BINSZ_IRF, MapDatasetGeometry
from gammaflow.datasets.spectrum_dataset import SpectrumDataset
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.maps.region_mask import RegionLike

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord


class MapDataset(CountsDataset):
    """Counts of an observation, or of many, with the background and the responses needed to model them.

    The arrays live in ``data``, an `xarray.Dataset` on the schema of `gammaflow.datasets.schema`: ``counts``,
    ``background``, ``mask_safe``, ``mask_fit`` (energy, y, x), ``exposure`` (energy_true, y, x), ``psf``
    (energy_true, rad, y_irf, x_irf), ``edisp`` (energy_true, energy or migra, y_irf, x_irf), and the exposures
    that weigh the latter two. Parameters and errors as for `CountsDataset`.
    """

    tag = "MapDataset"
    arrays: ClassVar[tuple[str, ...]] = (
        "counts",
        "background",
        "mask_safe",
        "mask_fit",
        "exposure",
        "psf",
        "psf_exposure",
        "edisp",
        "edisp_exposure",
    )
    _takes_given_counts: ClassVar[bool] = True
    geometry: MapDatasetGeometry

    @classmethod
    def create(
        cls,
        geom: WcsGeom | MapDatasetGeometry,
        energy_axis_true: MapAxis | None = None,
        rad_axis: MapAxis | None = None,
        migra_axis: MapAxis | None = None,
        binsz_irf: object = DEFAULT_BINSZ_IRF,
        name: str | None = None,
        reference_time: str = "2000-01-01",
    ) -> Self:
        """An empty dataset: everything zero, no bin safe, no time.

        Its arrays are single zeros seen through broadcasting, so it costs nothing, and nothing can be
        written into them.

        Parameters
        ----------
        geom : WcsGeom or MapDatasetGeometry
            The map with its axis ``energy``.
        energy_axis_true, rad_axis, migra_axis, binsz_irf
            See `MapDatasetGeometry.create`.
        name : str, optional
            Name of the dataset, "empty" when not given.
        reference_time : str
            Times will be counted from here (TT).
        """
        if not isinstance(geom, MapDatasetGeometry):
            geom = MapDatasetGeometry.create(geom, energy_axis_true, rad_axis, migra_axis, binsz_irf)
        return cls._empty(geom, name, reference_time)

    @classmethod
    def from_geoms(
        cls,
        geom: WcsGeom,
        geom_exposure: WcsGeom,
        geom_psf: WcsGeom,
        geom_edisp: WcsGeom,
        reference_time: str = "2000-01-01",
        name: str | None = None,
    ) -> Self:
        """An empty dataset on the geometries of the single maps, see `MapDatasetGeometry.from_geoms`."""
        geometry = MapDatasetGeometry.from_geoms(geom, geom_exposure, geom_psf, geom_edisp)
        return cls._empty(geometry, name, reference_time)

    @property
    def geom(self) -> WcsGeom:
        """The map with its energy axis."""
        return self.geometry.geom

    @property
    def psf(self) -> xr.DataArray | None:
        """Point spread function (energy_true, rad, y_irf, x_irf), sr-1."""
        return self._labelled("psf")

    @property
    def psf_exposure(self) -> xr.DataArray | None:
        """Weight of the point spread function (energy_true, y_irf, x_irf), m2 s."""
        return self._labelled("psf_exposure")

    def cutout(
        self,
        position: SkyCoord | NDArray[np.float64],
        width: object,
        mode: str = "trim",
        name: str | None = None,
    ) -> Self:
        """The part around a position; its arrays are views of this dataset's.

        Parameters
        ----------
        position : SkyCoord or ndarray
            Centre; a unit vector (3,) is ICRS.
        width : float [deg], str or Quantity; or a pair of them
            Width, or widths along longitude and latitude.
        mode : {"trim", "strict"}
            What sticks out of the map is trimmed, or an error.
        name : str, optional
            Name of the cutout, the same when not given.

        Raises
        ------
        NoOverlapError
            When nothing of the map is left.
        GeometryError
            When something sticks out that must not.
        """
        geometry = self.geometry.cutout(position, width, mode)
        box = geometry.box_in(self.geometry)
        (y, x), (y_irf, x_irf) = box.image, box.irf
        return self.part(geometry, name, y=y, x=x, y_irf=y_irf, x_irf=x_irf)

    def pad(self, pad_width: int | tuple[int, int], name: str | None = None) -> Self:
        """More pixels at the rim, see `gammaflow.datasets.rebinning.pad`."""
        return rebinning.pad(self, pad_width, name)

    def to_spectrum_dataset(
        self, on_region: RegionLike, containment_correction: bool = False, name: str | None = None
    ) -> SpectrumDataset:
        """What a region holds as a spectrum, see `gammaflow.datasets.extraction`."""
        return extraction.to_spectrum_dataset(self, on_region, containment_correction, name)

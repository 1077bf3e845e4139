"""A source in a spectrum: counts in a region as a linear function of its fluxes.

    npred_e = sum_k T_ke S_k,     T_ke = exposure_k R_ke <temporal model>

A spectrum has no point spread function: how much of a source its region holds is in the exposure (see
``containment_correction`` of the makers), for a point. So the spatial model of a source says whether it reaches the
region, and no more: all of it counts, or nothing. That is Gammapy's rule. A spectrum says nothing about the place
and the shape of a source, and its likelihood does not depend on them.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import SpectrumDataset
from gammaflow.errors import DataError
from gammaflow.likelihood.good_time import mean_in_time
from gammaflow.likelihood.response import kernel_from_migration, overlap_fractions
from gammaflow.maps import RegionGeom
from gammaflow.maps.frames import frame_matrix, lonlat_to_vectors, rotate, separation
from gammaflow.modeling import SkyModel

Floats = NDArray[np.float64]


def spectrum_response(dataset: SpectrumDataset, source: SkyModel) -> Floats | None:
    """Counts (K, E) per unit of flux in each true-energy bin, of all reconstructed energies, whatever the mask.

    Parameters
    ----------
    dataset : SpectrumDataset
        With exposure.
    source : SkyModel
        As it starts: whether it reaches the region is decided there.

    Returns
    -------
    array or None
        None when the source does not reach the region, or the region has no exposure.

    Raises
    ------
    DataError
        When the dataset has no exposure.
    """
    where = f"dataset {dataset.name}, source {source.name}"
    if not reaches(dataset.geometry.geom, source):
        return None
    kernel = energy_dispersion(dataset, source.apply_irf["edisp"])
    if source.apply_irf["exposure"]:
        exposure = dataset.array("exposure")
        if exposure is None:
            raise DataError("the dataset has no exposure", where=where, hint="A source needs one.")
        if not exposure.any():
            return None
        kernel = exposure.astype(np.float64)[:, None] * kernel
    return kernel if source.temporal_model is None else kernel * mean_in_time(dataset, source, where)


def energy_dispersion(dataset: SpectrumDataset, apply: bool = True) -> Floats:
    """Energy dispersion R (K, E); without one each true bin is shared among the others by their overlap."""
    edisp = dataset.array("edisp")
    geometry = dataset.geometry
    if edisp is None or not apply:
        return overlap_fractions(geometry.energy_axis_true.edges, geometry.energy_axis.edges)
    values = edisp.astype(np.float64)
    if geometry.migra_axis is None:
        return values
    true, reco = geometry.energy_axis_true.center, geometry.energy_axis.edges
    return kernel_from_migration(values, geometry.migra_axis.edges, true, reco)


def reaches(geom: RegionGeom, source: SkyModel) -> bool:
    """Whether a source, taken as a disk of its model's evaluation radius, touches a region.

    So does one without a place of its own; and every source a region that is a point.
    """
    model = source.spatial_model
    if model is None or "lon_0" not in model.parameters.names or not math.isfinite(model.extent):
        return True
    return _touches(geom.ds9, geom.binsz_wcs, model.frame, *model.position_lonlat, model.extent)


@lru_cache(maxsize=1024)
def _touches(ds9: str, binsz: float, frame: str, lon: float, lat: float, radius: float) -> bool:
    geom = RegionGeom(ds9, (), binsz)
    if not geom.regions or geom.is_point:
        return True
    vector = rotate(frame_matrix(frame).T, lonlat_to_vectors(lon, lat))
    if bool(geom.contains(vector[:, None])[0]):
        return True
    vectors, _ = geom.pixels_and_weights()
    return bool(separation(vectors, vector).min() <= radius)

"""The responses of a dataset at one place: point spread function, energy dispersion.

Both are those of the place where a source starts, and stay so during a fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import MapDataset
from gammaflow.errors import DataError
from gammaflow.maps import WcsGeom

Floats = NDArray[np.float64]


def psf_table(dataset: MapDataset, vector: Floats) -> Floats | None:
    """PSF values (K, rad) in sr-1 at an ICRS unit vector, None for a dataset without a PSF.

    Linear in the pixels of the response grid; a place without exposure takes the nearest pixel that has
    some. Pixels without exposure do not enter the interpolation. Energies without a PSF there are zero.
    """
    psf = dataset.array("psf")
    if psf is None:
        return None
    geom = dataset.geometry.geom_irf
    usable = _usable(dataset, "psf_exposure", psf)
    row, column = nearest_pixel(geom, vector, usable, where=f"dataset {dataset.name}: psf")
    x, y = geom.vectors_to_pix(vector)
    if usable[_nearest_index(geom, float(x), float(y))]:
        places, weights = bilinear(geom, float(x), float(y))
    else:
        places, weights = [(row, column)], np.ones(1)
    weights = np.array([w if usable[place] else 0.0 for place, w in zip(places, weights, strict=True)])
    table = np.zeros(psf.shape[:2])
    norm = np.zeros(psf.shape[0])
    for (j, i), weight in zip(places, weights, strict=True):
        if weight > 0:
            here = psf[:, :, j, i].astype(np.float64)
            there = here.any(axis=1)
            table += weight * here
            norm += weight * there
    found = np.divide(table, norm[:, None], out=np.zeros_like(table), where=norm[:, None] > 0)
    return _finite(found, dataset, "psf")


def edisp_kernel(dataset: MapDataset, vector: Floats, apply: bool = True) -> Floats:
    """Energy dispersion R (K, E) at an ICRS unit vector: the share of true-energy bin k that is found in
    bin e.

    That of the nearest pixel of the response grid that has exposure. Without an energy dispersion, or when
    it is not to be applied, each true bin is shared among the reconstructed ones by their overlap.
    """
    edisp = dataset.array("edisp")
    true, reco = dataset.geometry.energy_axis_true.edges, dataset.geometry.energy_axis.edges
    if edisp is None or not apply:
        return overlap_fractions(true, reco)
    usable = _usable(dataset, "edisp_exposure", edisp)
    row, column = nearest_pixel(
        dataset.geometry.geom_irf, vector, usable, where=f"dataset {dataset.name}: edisp"
    )
    values = _finite(edisp[:, :, row, column].astype(np.float64), dataset, "edisp")
    migra = dataset.geometry.migra_axis
    if migra is None:
        return values
    return kernel_from_migration(values, migra.edges, dataset.geometry.energy_axis_true.center, reco)


def overlap_fractions(true: Floats, reco: Floats) -> Floats:
    """Share of each true-energy bin (K) that lies in each reconstructed one (E), (K, E)."""
    low = np.maximum(true[:-1, None], reco[None, :-1])
    high = np.minimum(true[1:, None], reco[None, 1:])
    return np.clip(high - low, 0.0, None) / np.diff(true)[:, None]


def kernel_from_migration(values: Floats, migra: Floats, energy_true: Floats, reco: Floats) -> Floats:
    """Kernel (K, E) from a density in migration ``mu = E / E_true``, (K, M) in bins with edges ``migra``
    (M + 1,).

    ``R_ke = C_k(E_hi / E_k) - C_k(E_lo / E_k)`` with C the normalised cumulative, linear between the edges.
    """
    cumulative = np.concatenate(
        [np.zeros((len(values), 1)), np.cumsum(values * np.diff(migra), axis=1)], axis=1
    )
    total = cumulative[:, -1:]
    cumulative = np.divide(cumulative, total, out=np.zeros_like(cumulative), where=total > 0)
    at_edges = np.array(
        [np.interp(reco / energy, migra, row) for energy, row in zip(energy_true, cumulative, strict=True)]
    )
    return np.clip(np.diff(at_edges, axis=1), 0.0, None)


def nearest_pixel(geom: WcsGeom, vector: Floats, usable: NDArray[np.bool_], where: str) -> tuple[int, int]:
    """Row and column of the usable pixel nearest to an ICRS unit vector.

    Raises
    ------
    DataError
        When no pixel is usable.
    """
    if not usable.any():
        raise DataError("no pixel has any exposure", where=where, hint="Exclude the dataset.")
    x, y = geom.vectors_to_pix(vector)
    index = _nearest_index(geom, float(x), float(y))
    inside = (
        0 <= round(float(x)) < geom.npix[0] and 0 <= round(float(y)) < geom.npix[1]
        if np.isfinite(x + y)
        else False
    )
    if inside and usable[index]:
        return index
    closeness = np.where(usable, np.tensordot(vector, np.nan_to_num(geom.pixel_vectors()), axes=1), -np.inf)
    row, column = np.unravel_index(int(np.argmax(closeness)), usable.shape)
    return int(row), int(column)


def _finite(values: Floats, dataset: MapDataset, what: str) -> Floats:
    if not np.isfinite(values).all():
        raise DataError(
            "the values at the source are not finite",
            where=f"dataset {dataset.name}: {what}",
            hint="Exclude the dataset, or repair its responses.",
        )
    return values


def _usable(dataset: MapDataset, name: str, response: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels of the response grid with exposure; with a response, where the dataset does not say."""
    exposure = dataset.array(name)
    return np.asarray(response.any(axis=(0, 1)) if exposure is None else (exposure > 0).any(axis=0))


def _nearest_index(geom: WcsGeom, x: float, y: float) -> tuple[int, int]:
    if not np.isfinite(x + y):
        return 0, 0
    column = min(max(int(np.floor(x + 0.5)), 0), geom.npix[0] - 1)
    row = min(max(int(np.floor(y + 0.5)), 0), geom.npix[1] - 1)
    return row, column


def bilinear(geom: WcsGeom, x: float, y: float) -> tuple[list[tuple[int, int]], Floats]:
    """The four pixels around a place and their weights; beyond the outermost centres the values stay as
    they are there.
    """
    nx, ny = geom.npix
    x, y = min(max(x, 0.0), nx - 1.0), min(max(y, 0.0), ny - 1.0)
    i, j = min(int(x), max(nx - 2, 0)), min(int(y), max(ny - 2, 0))
    fx, fy = x - i, y - j
    places = [(j + b, i + a) for b in (0, 1) for a in (0, 1) if j + b < ny and i + a < nx]
    weights = np.array(
        [
            (fx if a else 1 - fx) * (fy if b else 1 - fy)
            for b in (0, 1)
            for a in (0, 1)
            if j + b < ny and i + a < nx
        ]
    )
    return places, weights

"""Energies at which an effective area is large enough, or an energy bias small enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from gammaflow.datasets import DatasetGeometry, MapDatasetGeometry
from gammaflow.irf import EnergyDispersion2D
from gammaflow.makers.energy_dispersion_map import NEGLIGIBLE
from gammaflow.maps import WcsGeom

Floats = NDArray[np.float64]

_PIXEL_DECIMALS = 6
_STEPS = 100


def nearest_pixel(geom: WcsGeom, vector: Floats) -> tuple[int, int]:
    """Row and column of the pixel nearest to an ICRS unit vector, inside the map; of two, the lower one."""
    x, y = geom.vectors_to_pix(vector)
    ny, nx = geom.shape_image
    row, column = (int(np.ceil(np.round(float(p), _PIXEL_DECIMALS) - 0.5)) for p in (y, x))
    return min(max(row, 0), ny - 1), min(max(column, 0), nx - 1)


def nearest_spectrum(values: NDArray[Any], geom: WcsGeom, vector: Floats) -> Floats:
    """Values (n_energy,) of a map (n_energy, ny, nx) in the pixel nearest to a position."""
    row, column = nearest_pixel(geom, vector)
    return values[:, row, column].astype(np.float64)


def kernel_at(edisp: NDArray[Any], geometry: DatasetGeometry, vector: Floats) -> Floats:
    """Energy dispersion kernel (n_true, n_reco) in the pixel with data that is nearest to a position.

    Parameters
    ----------
    edisp : ndarray, shape (n_true, n_reco or n_migra, y_irf, x_irf)
        Of a region without pixels, and then the position does not matter.
    geometry : DatasetGeometry
    vector : ndarray, shape (3,)
        ICRS unit vector.
    """
    values = edisp.astype(np.float64) if edisp.ndim == 2 else _nearest_kernel(edisp, geometry, vector)
    if geometry.migra_axis is None:
        return values
    migra, true = geometry.migra_axis, geometry.energy_axis_true.center
    position = geometry.energy_axis.edges[None, :, None] / true[:, None, None]
    filled = np.clip((position - migra.edges[:-1]) / migra.bin_width, 0.0, 1.0) * migra.bin_width
    return np.einsum("ejm,em->ej", np.diff(filled, axis=1), values)


def _nearest_kernel(edisp: NDArray[Any], geometry: DatasetGeometry, vector: Floats) -> Floats:
    assert isinstance(geometry, MapDatasetGeometry)  # the only one with pixels
    row, column = nearest_pixel(geometry.geom_irf, vector)
    valid: NDArray[np.bool_] = np.any(edisp > 0, axis=(0, 1))
    if not valid[row, column] and valid.any():
        vectors = geometry.geom_irf.pixel_vectors()
        distance = ((vectors - vector[:, None, None]) ** 2).sum(axis=0)
        nearest = np.unravel_index(np.argmin(np.where(valid, distance, np.inf)), valid.shape)
        row, column = int(nearest[0]), int(nearest[1])
    return edisp[:, :, row, column].astype(np.float64)


def kernel_of(edisp: EnergyDispersion2D, offset: float) -> Floats:
    """Energy dispersion kernel at one offset (deg), both energies on the response's own true energy axis."""
    true, migra, _ = edisp.axes
    density = edisp.evaluate(energy_true=true.nodes[:, None], migra=migra.nodes, offset=offset)
    steps = np.cumsum(density * migra.bin_width, axis=1)
    kernel = np.zeros((true.nbin, true.nbin))
    for k, (energy, row) in enumerate(zip(true.nodes, steps, strict=True)):
        if row[-1] > 0:
            cumulative = np.interp(true.edges / energy, migra.edges, np.concatenate(([0.0], row)) / row[-1])
            kernel[k] = np.diff(cumulative)
    return np.where(kernel >= NEGLIGIBLE, kernel, 0.0)


def fraction_of_maximum(energy: Floats, values: Floats, fraction: float) -> float:
    """Lowest energy from the first positive value on where a spectrum crosses a fraction of its maximum.

    The spectrum is a power law between its points. Where it crosses nowhere: the first positive point.
    """
    first = int(np.argmax(values > 0))
    crossing = _first_crossing(energy[first:], values[first:], fraction * values.max())
    return float(energy[first]) if crossing is None else crossing


def bias_threshold(kernel: Floats, energy_true: Floats, energy: Floats, bias: float) -> float:
    """Reconstructed energy above which the energy bias is small.

    With b(E) = (<E_reco> - E) / E, the mean taken over the centres of the reconstructed bins: from the energy
    of the largest b on, the first E with b(E) = bias, times (1 + bias).

    Parameters
    ----------
    kernel : ndarray, shape (n_true, n_reco)
    energy_true, energy : ndarray
        Centres of the bins, TeV.
    bias : float
    """
    total = kernel.sum(axis=1)
    mean = np.divide(kernel @ energy, total, out=np.zeros_like(total), where=total > 0)
    biases = (mean - energy_true) / energy_true
    first = int(np.argmax(biases))
    crossing = _first_crossing(energy_true[first:], biases[first:], bias)
    return (float(energy_true[first]) if crossing is None else crossing) * (1 + bias)


def _first_crossing(x: Floats, y: Floats, level: float) -> float | None:
    """First x at which a curve that is linear in the logarithms crosses a level; values <= 0 count as tiny.

    The sign is looked at at the ends of 100 equal steps in the logarithm of x, as the field's reference does:
    where a noisy curve crosses twice within one of them, that is no crossing.
    """
    log_x, log_y = np.log(x), np.log(np.maximum(y, np.finfo(np.float64).tiny))

    def height(at: float) -> float:
        return float(np.interp(at, log_x, log_y) - np.log(level))

    steps = np.linspace(log_x[0], log_x[-1], _STEPS + 1)
    signs = np.sign([height(at) for at in steps])
    changes = np.flatnonzero(signs[:-1] != signs[1:])
    if not changes.size:
        return None
    return float(np.exp(brentq(height, steps[changes[0]], steps[changes[0] + 1], xtol=1e-14)))

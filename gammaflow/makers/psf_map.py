"""Point spread function on the response grid of a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import UnsupportedError
from gammaflow.irf import PSF3D, EnergyDependentMultiGaussPSF, Irf, ParametricPSF, PSFKing
from gammaflow.maps import MapAxis

Floats = NDArray[np.float64]

_DEG2_PER_SR = (180.0 / np.pi) ** 2
_DEEPEST_FLOAT32 = 60.0  # exponents beyond this vanish in float32 before they do in float64


def make_psf(psf: Irf, energy_axis_true: MapAxis, rad_axis: MapAxis, offset: Floats) -> NDArray[np.float32]:
    """Point spread function at the centres of axes and pixels, normalised on the radius axis.

    ``sum_r 2 pi r dr psf(r) = 1`` over the bins of the radius axis (in rad), or the profile is 0.

    Parameters
    ----------
    psf : PSF3D, EnergyDependentMultiGaussPSF or PSFKing
    energy_axis_true, rad_axis : MapAxis
        TeV, deg.
    offset : ndarray, shape (n_pixel,)
        Distance of the pixels from the pointing, deg.

    Returns
    -------
    psf : ndarray of float32, shape (n_energy, n_rad, n_pixel)
        sr-1.
    """
    ring = 2 * np.pi * rad_axis.center * rad_axis.bin_width / _DEG2_PER_SR
    if isinstance(psf, PSF3D):
        result = _from_table(psf, energy_axis_true, rad_axis, offset, ring)
    elif isinstance(psf, ParametricPSF):
        result = _from_parameters(psf, energy_axis_true, rad_axis.center, offset, ring)
    else:
        raise UnsupportedError(f"a point spread function of class {type(psf).__name__}")
    if not psf.is_finite:
        result[~np.isfinite(result)] = 0.0
    return result


def _scale(ring: Floats, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """What normalises profiles (..., n_rad, n_pixel), shape (..., n_pixel); 0 where nothing can."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1.0 / (ring.astype(values.dtype) @ values)
    scale[~np.isfinite(scale)] = 0.0
    return scale


def _from_table(
    psf: PSF3D, energy_axis_true: MapAxis, rad_axis: MapAxis, offset: Floats, ring: Floats
) -> NDArray[np.float32]:
    energy, theta, rad = psf.axes

    def build() -> Floats:
        table = np.tensordot(energy.matrix(energy_axis_true.center), psf.data.astype(np.float64), 1)
        table = table @ rad.matrix(rad_axis.center).T
        return np.ascontiguousarray(table.transpose(0, 2, 1))  # (n_energy, n_rad, n_offset)

    result = np.empty((energy_axis_true.nbin, rad_axis.nbin, offset.size), dtype=np.float32)
    if not psf.is_finite:
        center = energy_axis_true.center[:, None, None]
        values = psf.evaluate(energy_true=center, offset=offset, rad=rad_axis.center[:, None])
        return np.multiply(values, _scale(ring, values)[:, None, :], out=result, casting="same_kind")
    table = psf.prepared(("psf", energy_axis_true, rad_axis), build)
    weights = theta.matrix(offset).T
    # Normalising comes after the interpolation over the offset: the two do not commute.
    # One energy at a time, so that what is worked on fits the cache
    for k in range(len(table)):
        values = table[k] @ weights
        np.maximum(values, 0.0, out=values)
        np.multiply(values, _scale(ring, values), out=result[k], casting="same_kind")
    return result


def _from_parameters(
    psf: ParametricPSF, energy_axis_true: MapAxis, rad: Floats, offset: Floats, ring: Floats
) -> NDArray[np.float32]:
    parameters = _parameters(psf, energy_axis_true, offset)
    result = np.empty((energy_axis_true.nbin, rad.size, offset.size), dtype=np.float32)
    for k in range(energy_axis_true.nbin):
        here = {name: table[k] for name, table in parameters.items()}
        if isinstance(psf, EnergyDependentMultiGaussPSF):
            values = _three_gaussians(rad, here)
        elif isinstance(psf, PSFKing):
            values = _king(rad, here)
        else:
            values = psf.profile(rad[:, None], here)
        np.multiply(values, _scale(ring, values), out=result[k], casting="same_kind")
    return result


def _parameters(psf: ParametricPSF, energy_axis_true: MapAxis, offset: Floats) -> dict[str, Floats]:
    """Parameters on the grid of energies and offsets, (n_energy, n_pixel); extrapolated and clipped at 0."""
    if not psf.is_finite:
        found = psf.evaluate_parameters(energy_axis_true.center[:, None], offset)
        usable = np.isfinite(np.stack(list(found.values()))).all(axis=0)
        # A profile without scale, sigma or gamma is none
        return {name: np.where(usable, values, 0.0) for name, values in found.items()}
    energy, theta = psf.axes

    def build() -> dict[str, Floats]:
        weights = energy.matrix(energy_axis_true.center, zero_outside=False)
        return {name: weights @ table.astype(np.float64) for name, table in psf.tables.items()}

    tables = psf.prepared(("psf", energy_axis_true), build)
    weights = theta.matrix(offset, zero_outside=False).T
    return {name: np.maximum(table @ weights, 0.0) for name, table in tables.items()}


def _three_gaussians(rad: Floats, parameters: dict[str, Floats]) -> NDArray[np.floating]:
    """Profile up to its norm, shape (n_rad, n_pixel); 0 where a parameter means nothing.

    In float32, whose exponential is twice as fast, where nothing underflows in it that float64 would keep.
    """
    usable = parameters["scale"] > 0
    r2 = rad**2
    total: NDArray[np.floating] = np.zeros((1, 1))
    for number in (1, 2, 3):
        sigma = parameters[f"sigma_{number}"]
        height = np.where(usable & (sigma > 0), 1.0 if number == 1 else parameters[f"ampl_{number}"], 0.0)
        if number > 1 and not height.any():
            continue
        rate = -0.5 / np.where(sigma > 0, sigma, 1.0) ** 2
        narrow = -rate.min(initial=0.0) * r2[0] > _DEEPEST_FLOAT32
        kind = np.float64 if narrow or (total.dtype == np.float64 and number > 1) else np.float32
        gauss = np.multiply.outer(r2.astype(kind), rate.astype(kind))
        np.exp(gauss, out=gauss)
        if number > 1 or not height.all():
            gauss *= height.astype(kind)
        total = gauss if number == 1 else total + gauss
    return total


def _king(rad: Floats, parameters: dict[str, Floats]) -> Floats:
    """Profile up to its norm, shape (n_rad, n_pixel); 0 where it cannot be normalised."""
    gamma, sigma = parameters["gamma"], parameters["sigma"]
    usable = (gamma > 1) & (sigma > 0)
    gamma, sigma = np.where(usable, gamma, 2.0), np.where(usable, sigma, 1.0)
    return np.where(usable, (1 + (rad**2)[:, None] / (2 * gamma * sigma**2)) ** -gamma, 0.0)

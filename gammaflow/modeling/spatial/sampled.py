"""The transform of a shape that is known by its values only: sampled on a lattice finer than the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2

from gammaflow.errors import ModelError


def subpixel_centers(size: int, oversampling: int) -> NDArray[np.float64]:
    """Positions of sub-pixel centres along an axis, in pixels from the centre of the first pixel, (f N,)."""
    return (np.arange(size * oversampling) + 0.5) / oversampling - 0.5


def sampled_transform(
    flux: NDArray[np.float64],
    size: int,
    index_x: NDArray[np.intp],
    index_y: NDArray[np.intp],
    center: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.complex128]:
    """``sum_j flux_j exp(-2 pi i nu.(p_j - center))`` at the frequencies nu = index / N (cycles/pixel).

    Parameters
    ----------
    flux : (..., f N, f N)
        Flux in each sub-pixel (value times its solid angle), rows along y; the sub-pixel centres are those
        of `subpixel_centers`. Leading axes (energies, derivatives) are transformed each.
    size : int
        N, pixels along the window.
    index_x, index_y : (Q,)
        Whole numbers of periods in the window, aliases included: n + m N.
    center : (float, float)
        x, y in pixels about which the phases are taken.

    Returns
    -------
    (..., Q) complex
    """
    fine = flux.shape[-1]
    if flux.shape[-2] != fine or fine % size:
        raise ModelError(f"samples of shape {flux.shape} for a window of {size} pixels")
    offset = 0.5 * size / fine - 0.5
    coefficients = rfft2(flux)
    # a negative frequency along x is the conjugate of its opposite
    mirrored = index_x < 0
    column = np.where(mirrored, -index_x, index_x) % fine
    row = np.where(mirrored, -index_y, index_y) % fine
    beyond = column > fine // 2
    column, row = np.where(beyond, fine - column, column), np.where(beyond, (-row) % fine, row)
    picked = coefficients[..., row, column]
    picked = np.where(mirrored ^ beyond, np.conj(picked), picked)
    phase = index_x * (offset - center[0]) + index_y * (offset - center[1])
    return np.asarray(picked * np.exp(-2j * np.pi / size * phase))

"""Images that figures show: sums inside the safe mask, excess, smoothing, significance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from gammaflow.errors import DataError
from gammaflow.maps import WcsGeom
from gammaflow.stats import CashCountsStatistic, WStatCountsStatistic

if TYPE_CHECKING:
    from gammaflow.datasets import MapDataset

EXCESS_SMOOTHING = 0.06
"""Width (standard deviation, deg) of the Gaussian that an excess image is smoothed with for the eye."""

CORRELATION_RADIUS = 0.1
"""Radius (deg) of the disc whose counts make one value of a significance image."""


def cube(dataset: MapDataset, name: Literal["counts", "background", "exposure"]) -> NDArray[np.float64]:
    """One of a dataset's cubes; the background with its norm and tilt applied, or measured by OFF counts.

    Parameters
    ----------
    dataset : MapDataset
    name : {"counts", "background", "exposure"}

    Returns
    -------
    ndarray, shape (E, ny, nx)

    Raises
    ------
    DataError
        If the dataset has none: ``datasets.map_selection`` may have left it out.
    """
    array = dataset.background_counts() if name == "background" else dataset.array(name)
    if array is None:
        raise DataError(
            f"it has no {name}",
            where=f"dataset {dataset.name}",
            hint=f"Reduce it with {name} in datasets.map_selection",
        )
    return np.asarray(array, dtype=np.float64)


def safe_mask(dataset: MapDataset) -> NDArray[np.bool_]:
    """The dataset's safe mask, shape (E, ny, nx); all True when it has none."""
    mask = dataset.array("mask_safe")
    return np.ones(dataset.geometry.shapes["counts"], dtype=bool) if mask is None else mask


def safe_sum(dataset: MapDataset, values: ArrayLike) -> NDArray[np.float64]:
    """Sum over energy inside the safe mask.

    Parameters
    ----------
    dataset : MapDataset
        Whose ``mask_safe`` says which bins count.
    values : array_like, shape (E, ny, nx)

    Returns
    -------
    ndarray, shape (ny, nx)
        NaN where no energy is safe.
    """
    mask = safe_mask(dataset)
    image = np.einsum("eyx,eyx->yx", np.asarray(values, dtype=np.float64), mask)
    image[~mask.any(axis=0)] = np.nan
    return image


def excess_image(dataset: MapDataset, smoothing: float = 0.0) -> NDArray[np.float64]:
    """Counts minus background inside the safe mask, summed over energy.

    Parameters
    ----------
    dataset : MapDataset
    smoothing : float
        Width of a Gaussian in deg; 0 leaves the image as it is.

    Returns
    -------
    ndarray, shape (ny, nx)
        Counts per pixel; NaN where no energy is safe.
    """
    excess = safe_sum(dataset, cube(dataset, "counts") - cube(dataset, "background"))
    return smooth(excess, dataset.geom, smoothing) if smoothing else excess


def smooth(image: NDArray[np.float64], geom: WcsGeom, width: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian of the given width (deg); missing pixels count as 0 and stay missing.

    The sum over the sky is kept, but for what leaves the map at its rim.
    """
    missing = ~np.isfinite(image)
    scale = np.abs(np.asarray(geom.pixel_scales, dtype=np.float64))[::-1]
    smoothed = gaussian_filter(np.where(missing, 0.0, image), sigma=width / scale, mode="constant")
    return np.where(missing, np.nan, smoothed)


def significance_image(
    dataset: MapDataset,
    radius: float = CORRELATION_RADIUS,
    *,
    expected: ArrayLike | None = None,
    signal: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Significance of the excess in a disc around each pixel.

    With n the counts and b the background inside the disc, ``sqrt(TS) = sign(n - b) sqrt(2 (n ln(n/b) - n + b))``
    (Cash 1979, ApJ 228, 939). Of ON and OFF counts it is that of Li and Ma (1983, ApJ 272, 317): the OFF
    counts of neighbouring pixels are mostly the same events, so those of the disc's centre stand for all of it, and
    alpha is the background of the disc over them.

    Parameters
    ----------
    dataset : MapDataset or MapDatasetOnOff
    radius : float
        Of the disc, in deg.
    expected : array_like, shape (E, ny, nx), optional
        What b is summed from; the background if not given. The prediction of a fit shows what it has left. Of no
        meaning for OFF counts.
    signal : array_like, shape (E, ny, nx), optional
        Source counts that are expected anyway, for OFF counts.

    Returns
    -------
    ndarray, shape (ny, nx)
        NaN where no energy is safe, or where the disc holds no background.
    """
    counts = safe_sum(dataset, cube(dataset, "counts"))
    background = safe_sum(dataset, cube(dataset, "background") if expected is None else expected)
    missing = ~np.isfinite(counts)
    disc = _disc(dataset.geom, radius)
    n_on = np.maximum(np.rint(_in_disc(counts, disc)), 0.0)
    mu = _in_disc(background, disc)
    # the transform leaves round-off of the largest value where there is nothing
    usable = ~missing & (mu > 1e-12 * max(float(mu.max(initial=0.0)), 1e-300))
    significance = np.full(counts.shape, np.nan)
    counts_off = dataset.array("counts_off")
    if counts_off is None:
        significance[usable] = CashCountsStatistic(n_on[usable], mu[usable]).sqrt_ts
        return significance
    n_off = safe_sum(dataset, counts_off)
    usable &= n_off > 0
    source = np.zeros(counts.shape) if signal is None else _in_disc(safe_sum(dataset, signal), disc)
    alpha = mu[usable] / n_off[usable]
    significance[usable] = WStatCountsStatistic(
        n_on[usable], n_off[usable], alpha, np.maximum(source[usable], 0.0)
    ).sqrt_ts
    return significance


def _in_disc(image: NDArray[np.float64], disc: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the disc around each pixel; missing pixels count as 0."""
    return np.asarray(fftconvolve(np.where(np.isfinite(image), image, 0.0), disc, mode="same"))


def _disc(geom: WcsGeom, radius: float) -> NDArray[np.float64]:
    """One inside the circle, zero outside; at least the pixel itself."""
    scale_x, scale_y = np.abs(np.asarray(geom.pixel_scales, dtype=np.float64))
    half_x, half_y = int(radius / scale_x), int(radius / scale_y)
    dy, dx = np.mgrid[-half_y : half_y + 1, -half_x : half_x + 1]
    return np.asarray(((dx * scale_x) ** 2 + (dy * scale_y) ** 2) <= radius**2, dtype=np.float64)


def energy_slice(values: ArrayLike, energies: ArrayLike, energy: float) -> tuple[NDArray[np.float64], int]:
    """The plane of a cube whose energy is nearest to the asked one on a logarithmic scale, and its index."""
    centers = np.asarray(energies, dtype=np.float64)
    index = int(np.argmin(np.abs(np.log(centers / energy))))
    return np.asarray(values, dtype=np.float64)[index], index

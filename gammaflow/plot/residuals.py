"""What a fit has left: the significance of counts above or below the prediction, on the sky and as a distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from gammaflow.datasets import FluxPointsDataset, MapDataset, MapDatasetOnOff, SpectrumDataset
from gammaflow.likelihood import mask_of, npred, npred_signal
from gammaflow.modeling import Models
from gammaflow.plot.image import CORRELATION_RADIUS, significance_image
from gammaflow.plot.sky import plot_map
from gammaflow.plot.spectrum import plot_flux_points, plot_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Dataset = MapDataset | SpectrumDataset | FluxPointsDataset

_RANGE = 5.0


def plot_residuals(
    dataset: Dataset, models: Any = None, *, radius: float = CORRELATION_RADIUS, title: str = "Residuals"
) -> Figure:
    """Significance of counts - prediction in a disc around each pixel, and how often each value occurs.

    Sums are over the bins of ``mask_safe`` and ``mask_fit``.
    After a good fit the distribution is close to a normal one (neighbouring pixels share their counts, so they scatter
    together, but each alone is normal).

    Parameters
    ----------
    dataset : MapDataset, SpectrumDataset or FluxPointsDataset
        Of spectra and flux points what `plot_spectrum` and `plot_flux_points` draw.
    models : Models or models, optional
        Sources and background; those of the dataset if not given.
    radius : float
        Of the disc, in deg.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    given = Models(dataset.models if models is None else models)
    if isinstance(dataset, FluxPointsDataset):
        return plot_flux_points(dataset, given, title=f"{title}: {dataset.name}")
    if isinstance(dataset, SpectrumDataset):
        return plot_spectrum(dataset, given, title=f"{title}: {dataset.name}")
    # what took no part in the fit is not to be judged by it
    fitted = dataset.with_arrays(mask_safe=mask_of(dataset))
    if isinstance(dataset, MapDatasetOnOff):
        image = significance_image(fitted, radius, signal=npred_signal(dataset, given))
    else:
        image = significance_image(fitted, radius, expected=npred(dataset, given))
    ny, nx = dataset.geom.shape_image
    height = float(np.clip(6.5 * ny / nx + 0.9, 2.8, 7.0))
    figure = Figure(figsize=(12.0, height), layout="constrained")
    ((on_sky, distribution),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.2, 1.0))
    ax = plot_map(
        image,
        dataset.geom,
        figure=on_sky,
        title=f"{title}: significance within {radius:g} deg",
        label=r"$\sqrt{\mathrm{TS}}$",
        stretch="zero-centred",
        cmap="RdBu_r",
        vmin=-_RANGE,
        vmax=_RANGE,
    )
    for source in given.sky_models:
        if source.position is not None and source.belongs_to(dataset.name):
            at = source.position.icrs
            ax.plot(at.ra.deg, at.dec.deg, "+", color="k", markersize=7, transform=ax.get_transform("icrs"))
    _plot_distribution(image, distribution.subplots())
    return figure


def _plot_distribution(image: NDArray[np.float64], ax: Axes) -> None:
    """Histogram of the values beside the normal distribution."""
    values = image[np.isfinite(image)]
    edges = np.linspace(-_RANGE, _RANGE, 51)
    center = 0.5 * (edges[1:] + edges[:-1])
    ax.hist(np.clip(values, -_RANGE, _RANGE), edges.tolist(), density=True, color="0.75", label="pixels")
    ax.plot(center, np.exp(-0.5 * center**2) / np.sqrt(2 * np.pi), color="tab:red", label="normal")
    if values.size:
        text = f"mean {values.mean():.2f}\nwidth {values.std():.2f}"
        ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize="small")
    ax.set_yscale("log")
    ax.set_ylim(bottom=1e-5)
    ax.set_xlabel(r"$\sqrt{\mathrm{TS}}$", fontsize="small")
    ax.set_ylabel("share of pixels per unit", fontsize="small")
    ax.tick_params(labelsize="small")
    ax.legend(frameon=False, fontsize="small", loc="upper right")

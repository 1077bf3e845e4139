"""A dataset at a glance: what was counted, what was expected, where it was looked at, what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from matplotlib.figure import Figure

from gammaflow.datasets import FluxPointsDataset, MapDataset, SpectrumDataset
from gammaflow.plot.image import (
    CORRELATION_RADIUS,
    EXCESS_SMOOTHING,
    cube,
    energy_slice,
    excess_image,
    safe_mask,
    safe_sum,
    significance_image,
)
from gammaflow.plot.sky import plot_map
from gammaflow.plot.spectrum import plot_flux_points, plot_spectrum

if TYPE_CHECKING:
    from astropy.visualization.wcsaxes import WCSAxes
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure


Quantity = Literal["counts", "background", "exposure", "excess", "significance"]

EXPOSURE_ENERGY = 1.0  # TeV, where the exposure is drawn


def plot_dataset(
    dataset: MapDataset | SpectrumDataset | FluxPointsDataset, *, smoothing: float = EXCESS_SMOOTHING
) -> Figure:
    """Counts, background, exposure, excess and significance maps, and the spectra of counts and background.

    Of a spectrum, or of flux points, what `plot_spectrum` and `plot_flux_points` draw.

    Parameters
    ----------
    dataset : MapDataset, SpectrumDataset or FluxPointsDataset
        One observation's, or the stacked one; with a modelled background, or with OFF counts.
    smoothing : float
        Width (deg) of the Gaussian for the excess map.

    Returns
    -------
    matplotlib.figure.Figure
        ``figure.savefig("dataset.png")`` writes it.
    """
    if isinstance(dataset, FluxPointsDataset):
        return plot_flux_points(dataset)
    if isinstance(dataset, SpectrumDataset):
        return plot_spectrum(dataset)
    ny, nx = dataset.geom.shape_image
    height = float(np.clip(4.6 * ny / nx + 0.8, 2.6, 6.0))
    figure = Figure(figsize=(17.0, 2 * height + 0.6), layout="constrained")
    for number, quantity in enumerate(get_args(Quantity), start=1):
        plot_quantity(dataset, quantity, figure=figure, position=(2, 3, number), smoothing=smoothing)
    spectra = figure.add_subplot(2, 3, 6)
    spectra.set_box_aspect(float(np.clip(ny / nx, 0.5, 1.0)))
    _plot_spectra(dataset, spectra)
    figure.suptitle(dataset.name)
    return figure


def plot_quantity(
    dataset: MapDataset,
    quantity: Quantity,
    *,
    figure: Figure | SubFigure | None = None,
    position: int | tuple[int, int, int] = 111,
    smoothing: float = EXCESS_SMOOTHING,
) -> WCSAxes:
    """One map of a dataset, with the stretch and the colours that suit it.

    Parameters
    ----------
    dataset : MapDataset
    quantity : {"counts", "background", "exposure", "excess", "significance"}
        Counts, background and excess are sums over the energies of the safe mask; the exposure is drawn
        in the true-energy bin nearest to 1 TeV.
    figure, position
        Where to draw; a new figure by default.
    smoothing : float
        Width (deg) of the Gaussian for the excess map.

    Returns
    -------
    WCSAxes

    Raises
    ------
    DataError
        If the dataset lacks what is to be drawn.
    """
    geom = dataset.geom
    pixel = "counts per pixel"
    if quantity == "counts":
        image = safe_sum(dataset, cube(dataset, "counts"))
        return plot_map(image, geom, figure=figure, position=position, title="Counts", label=pixel)
    if quantity == "background":
        image = safe_sum(dataset, cube(dataset, "background"))
        return plot_map(
            image, geom, figure=figure, position=position, title="Background", label=pixel, stretch="linear"
        )
    if quantity == "exposure":
        axis = dataset.geometry.energy_axis_true
        image, index = energy_slice(cube(dataset, "exposure"), axis.center, EXPOSURE_ENERGY)
        image = np.where(image > 0, image, np.nan)
        low, high = axis.edges[index : index + 2]
        return plot_map(
            image,
            geom,
            figure=figure,
            position=position,
            title=f"Exposure, true energy {low:.3g} to {high:.3g} TeV",
            label="exposure [m² s]",
            stretch="linear",
            cmap="viridis",
            vmin=0.0,
        )
    if quantity == "excess":
        image = excess_image(dataset, smoothing)
        return plot_map(
            image,
            geom,
            figure=figure,
            position=position,
            title=f"Excess, smoothed with {smoothing:g} deg" if smoothing else "Excess",
            label=pixel,
            vmax=_bright(image),
        )
    if quantity == "significance":
        image = significance_image(dataset)
        high = max(5.0, min(15.0, float(np.nanmax(image, initial=5.0))))
        return plot_map(
            image,
            geom,
            figure=figure,
            position=position,
            title=f"Significance within {CORRELATION_RADIUS:g} deg",
            label=r"$\sqrt{\mathrm{TS}}$",
            stretch="zero-centred",
            cmap="RdBu_r",
            vmin=-5.0,
            vmax=high,
        )
    raise ValueError(f"quantity {quantity!r} is not one of {', '.join(get_args(Quantity))}")


def _bright(image: np.ndarray) -> float:
    """Where the colours of an excess map end: above all but the brightest 0.02 % of the pixels."""
    finite = image[np.isfinite(image)]
    return max(float(np.quantile(finite, 0.9998)), 1e-3) if finite.size else 1.0


def _plot_spectra(dataset: MapDataset, ax: Axes) -> None:
    """Counts and background in each energy bin, over the whole map, inside the safe mask."""
    axis = dataset.geom.axis("energy")
    mask = safe_mask(dataset)
    counts, background = (
        np.einsum("eyx,eyx->e", cube(dataset, "counts"), mask),
        np.einsum("eyx,eyx->e", cube(dataset, "background"), mask),
    )
    ax.stairs(background, axis.edges, color="tab:orange", label="background", linewidth=1.5)
    ax.errorbar(axis.center, counts, yerr=np.sqrt(counts), fmt="o", color="k", markersize=3.5, label="counts")
    ax.set_xscale("log")
    # logarithmic above one count, so that empty bins have a place
    ax.set_yscale("symlog", linthresh=1.0)
    ax.set_ylim(0.0, 2.0 * max(1.0, counts.max(initial=0.0), background.max(initial=0.0)))
    ax.set_xlabel("Energy [TeV]", fontsize="small")
    ax.set_ylabel("counts per energy bin", fontsize="small")
    ax.tick_params(labelsize="small")
    ax.set_title("Whole map, safe energies", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")
    ax.grid(alpha=0.25, linewidth=0.4)

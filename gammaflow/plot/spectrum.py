"""A spectrum at a glance: counts against what is expected, and the significance of what is left, bin by bin.

Flux points stand here beside counts: both are measurements along one axis of energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from matplotlib.figure import Figure

from gammaflow.modeling import Models
from gammaflow.stats import CashCountsStatistic, WStatCountsStatistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from gammaflow.datasets import FluxPointsDataset, SpectrumDataset, SpectrumDatasetOnOff

    Spectrum = SpectrumDataset | SpectrumDatasetOnOff

Described = TypeVar("Described", "SpectrumDataset", "SpectrumDatasetOnOff", "FluxPointsDataset")

_MODEL_ENERGIES = 200
_TEV_TO_ERG = 1.602176634


def plot_spectrum(dataset: Spectrum, models: Any = None, *, title: str | None = None) -> Figure:
    """Counts, background and prediction of a spectrum, and below it the significance of the difference.

    Bins outside ``mask_safe`` and ``mask_fit`` are drawn pale. Without models the difference is the excess over the
    background; with them, what the prediction leaves.

    Parameters
    ----------
    dataset : SpectrumDataset or SpectrumDatasetOnOff
    models : Models or models, optional
        Those of the dataset if not given.
    title : str, optional
        The dataset's name if not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    described = _with_models(dataset, models)
    figure, upper, lower = _two_panels(dataset.name if title is None else title)
    _draw_counts(described, upper)
    _draw_significance(described, lower)
    return figure


def _draw_counts(dataset: Spectrum, ax: Axes) -> None:
    axis, used = dataset.geometry.energy_axis, _used(dataset)
    counts = _array(dataset, "counts")
    background = dataset.background_counts()
    if background is not None:
        ax.stairs(background, axis.edges, color="tab:orange", label="background", linewidth=1.5)
    if dataset.sky_models:
        predicted = dataset.npred()
        assert predicted is not None  # a dataset with sources predicts something
        ax.stairs(predicted.values, axis.edges, color="tab:blue", label="prediction", linewidth=1.5)
    for chosen, colour, label in ((used, "k", "counts"), (~used, "0.7", "counts, not used")):
        if chosen.any():
            ax.errorbar(
                axis.center[chosen],
                counts[chosen],
                xerr=_half_widths(axis.center, axis.edges)[:, chosen],
                yerr=np.sqrt(counts[chosen]),
                fmt="o",
                color=colour,
                markersize=3.5,
                linewidth=0.9,
                label=label,
            )
    ax.set_xscale("log")
    # logarithmic above one count, so that empty bins have a place
    ax.set_yscale("symlog", linthresh=1.0)
    ax.set_ylim(0.0, 2.0 * max(1.0, counts.max(initial=0.0)))
    ax.set_ylabel("counts per energy bin")
    ax.legend(frameon=False, fontsize="small")


def _draw_significance(dataset: Spectrum, ax: Axes) -> None:
    axis, used = dataset.geometry.energy_axis, _used(dataset)
    values = significance_per_bin(dataset)
    shown = used & np.isfinite(values)
    ax.axhline(0.0, color="0.4", linewidth=0.8)
    ax.errorbar(
        axis.center[shown],
        values[shown],
        xerr=_half_widths(axis.center, axis.edges)[:, shown],
        fmt="o",
        color="k",
        markersize=3.5,
        linewidth=0.9,
    )
    if dataset.sky_models:
        largest = max(3.0, float(np.abs(values[shown]).max(initial=0.0)) * 1.15)
        ax.set_ylim(-largest, largest)
    ax.set_ylabel("residual [σ]" if dataset.sky_models else "excess [σ]")


def significance_per_bin(dataset: Spectrum) -> NDArray[np.float64]:
    """Significance of the counts of each bin beyond what background and models predict.

    Of ON and OFF counts it is that of Li and Ma (1983, ApJ 272, 317), with the predicted source counts as given.

    Parameters
    ----------
    dataset : SpectrumDataset or SpectrumDatasetOnOff

    Returns
    -------
    ndarray, shape (E,)
        NaN where nothing is expected, or nothing was measured beside the source.
    """
    counts = _array(dataset, "counts")
    signal = dataset.npred_signal().values
    off = dataset.array("counts_off")
    if off is not None:
        on_accepted, off_accepted = _array(dataset, "acceptance"), _array(dataset, "acceptance_off")
        measured = off_accepted > 0
        alpha = np.divide(on_accepted, off_accepted, out=np.zeros(counts.shape), where=measured)
        return np.where(measured, WStatCountsStatistic(counts, off, alpha, signal).sqrt_ts, np.nan)
    background = dataset.background_counts()
    expected = signal if background is None else signal + background
    some = expected > 0
    return np.where(some, CashCountsStatistic(counts, np.where(some, expected, 1.0)).sqrt_ts, np.nan)


def plot_flux_points(dataset: FluxPointsDataset, models: Any = None, *, title: str | None = None) -> Figure:
    """Flux points and the models' spectrum as E^2 dN/dE, upper limits as arrows; below it the residuals in sigma.

    Parameters
    ----------
    dataset : FluxPointsDataset
    models : Models or models, optional
        Those of the dataset if not given.
    title : str, optional
        The dataset's name if not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    described = _with_models(dataset, models)
    figure, upper, lower = _two_panels(dataset.name if title is None else title)
    energy = described.energy
    factor = energy**2 * _TEV_TO_ERG  # cm-2 s-1 TeV-1 to erg cm-2 s-1
    used = described.mask.values
    flux, error = described.dnde.values, described.error
    upper.errorbar(
        energy[used],
        (factor * flux)[used],
        yerr=(factor * error)[used],
        fmt="o",
        color="k",
        markersize=3.5,
        label="flux points",
    )
    limits = described.array("dnde_ul")
    if limits is not None:
        above = ~used & np.isfinite(limits)
        height = (factor * limits)[above]
        upper.errorbar(
            energy[above],
            height,
            yerr=0.3 * height,
            uplims=True,
            fmt="none",
            color="0.5",
            label="upper limits",
        )
    if described.sky_models:
        line = np.geomspace(energy.min() / 1.2, energy.max() * 1.2, _MODEL_ENERGIES)
        # models are per m2
        spectrum = sum(m.spectral_model.values(line) for m in described.sky_models) * 1e-4
        upper.plot(line, spectrum * line**2 * _TEV_TO_ERG, color="tab:blue", label="prediction")
        pulls = np.divide(
            flux - described.flux_pred().values, error, out=np.full(flux.shape, np.nan), where=error > 0
        )
        lower.plot(energy[used], pulls[used], "o", color="k", markersize=3.5)
    lower.axhline(0.0, color="0.4", linewidth=0.8)
    upper.set_xscale("log")
    upper.set_yscale("log")
    upper.set_ylabel("E² dN/dE [erg cm⁻² s⁻¹]")
    upper.legend(frameon=False, fontsize="small")
    lower.set_ylabel("residual [σ]")
    return figure


def _with_models(dataset: Described, models: Any) -> Described:
    """A copy of a dataset, described by ``models`` when there are some."""
    described = dataset.copy()
    if models is not None:
        described.models = Models(models)
    return described


def _two_panels(title: str) -> tuple[Figure, Axes, Axes]:
    """A figure with a panel for values and a lower one for what is left, above one axis of energy."""
    figure = Figure(figsize=(8.0, 6.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1.0))
    upper.set_title(title, fontsize="medium")
    lower.set_xlabel("Energy [TeV]")
    for ax in (upper, lower):
        ax.grid(alpha=0.25, linewidth=0.4)
    return figure, upper, lower


def _used(dataset: Spectrum) -> NDArray[np.bool_]:
    mask = dataset.mask
    return np.ones(dataset.geometry.shapes["counts"], dtype=bool) if mask is None else mask.values


def _array(dataset: Spectrum, name: str) -> NDArray[np.float64]:
    """One of the arrays as float64; zero if there is none."""
    array = dataset.array(name)
    shape = dataset.geometry.shapes["counts"]
    return np.zeros(shape) if array is None else np.asarray(array, dtype=np.float64)


def _half_widths(center: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (2, n) from the centres to the edges on either side."""
    return np.array([center - edges[:-1], edges[1:] - center])

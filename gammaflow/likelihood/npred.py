"""Predicted counts of a dataset, as full maps or whole spectra.

npred = background x factor(E) + sum over sources of edisp . (exposure x (PSF * source))

A spectrum has neither pixels nor PSF, see `spectrum_source`. Where the background was counted beside the source it is
the one that fits best to ON and OFF counts and the sources, see `gammaflow.stats.wstat_mu_bkg`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import CountsDataset, Dataset, SpectrumDataset
from gammaflow.datasets.on_off import OnOffDataset
from gammaflow.errors import DataError, ModelError
from gammaflow.likelihood.given_counts import GivenCounts, check_takes_counts
from gammaflow.likelihood.image import SourceImage
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.source_image import source_image
from gammaflow.likelihood.spectrum_source import spectrum_response
from gammaflow.likelihood.statistic import Cash, WStat
from gammaflow.modeling import FoVBackgroundModel, Model, SkyModel, TemplateNPredModel
from gammaflow.stats import wstat_mu_bkg

Floats = NDArray[np.float64]


def sources_of(dataset: Dataset, models: Iterable[Model]) -> tuple[SkyModel, ...]:
    """The sky models that a dataset is to be described with: all that name it, or name none.

    Raises
    ------
    UnsupportedError
        A template of counts for what is no map.
    """
    found = tuple(model for model in models if isinstance(model, SkyModel) and model.belongs_to(dataset.name))
    for model in found:
        if isinstance(model, TemplateNPredModel):
            check_takes_counts(dataset, model)
    return found


def background_model_of(dataset: CountsDataset, models: Iterable[Model]) -> FoVBackgroundModel | None:
    """The background model among ``models`` that names the dataset, else the dataset's own.

    Raises
    ------
    ModelError
        When there is more than one; or any, for a dataset whose background is measured.
    """
    found = [
        m for m in models if isinstance(m, FoVBackgroundModel) and dataset.name in (m.datasets_names or ())
    ]
    if found and isinstance(dataset, OnOffDataset):
        raise ModelError(
            f"a background model, {found[0].name!r}",
            where=f"dataset {dataset.name}",
            hint=f"The background of a {dataset.tag} is not modelled: leave it out.",
        )
    if len(found) > 1:
        raise ModelError(
            f"{len(found)} background models: {', '.join(m.name for m in found)}",
            where=f"dataset {dataset.name}",
            hint="Keep one.",
        )
    return found[0] if found else dataset.background_model


def npred_source(dataset: CountsDataset, source: SkyModel, options: ImageOptions | None = None) -> Floats:
    """Counts (E, ny, nx), or (E,) of a spectrum, predicted from one source; zero where it does not reach.

    Parameters
    ----------
    dataset : CountsDataset
        With exposure.
    source : SkyModel
    options : ImageOptions, optional
        How images in maps are made.
    """
    out = np.zeros(dataset.geometry.shapes["counts"])
    _add_source(out, dataset, source, options)
    return out


def npred_signal(
    dataset: CountsDataset, models: Iterable[Model], options: ImageOptions | None = None
) -> Floats:
    """Counts predicted from all sources, without background, in the shape of the dataset's."""
    out = np.zeros(dataset.geometry.shapes["counts"])
    for source in sources_of(dataset, models):
        _add_source(out, dataset, source, options)
    return out


def _add_source(out: Floats, dataset: CountsDataset, source: SkyModel, options: ImageOptions | None) -> None:
    if isinstance(source, TemplateNPredModel):
        given = GivenCounts.of(dataset, source)
        if given is not None:
            given.add_to(out, source.norms())
        return
    if isinstance(dataset, SpectrumDataset):
        response = spectrum_response(dataset, source)
        if response is not None:
            out += fluxes_of(dataset, source) @ response
        return
    image = source_image(dataset, source, (), options)  # type: ignore[arg-type]  # it refuses what is no map
    if image is not None:
        add_counts(out, image, fluxes_of(dataset, source)[image.energies], np.zeros(0))


def npred_background(
    dataset: CountsDataset, models: Iterable[Model] = (), signal: Floats | None = None
) -> Floats:
    """Counts predicted from the background, its factor applied, in the shape of the dataset's.

    Parameters
    ----------
    dataset : CountsDataset
    models : iterable of models
    signal : array, optional
        What the sources give: a measured background depends on it. Worked out when not given.
    """
    models = tuple(models)
    model = background_model_of(dataset, models)
    if isinstance(dataset, OnOffDataset):
        off, alpha = off_measurement(dataset)
        signal = npred_signal(dataset, models) if signal is None else signal
        measured = np.where(alpha > 0, alpha, 1.0)
        return np.where(alpha > 0, alpha * wstat_mu_bkg(_counts(dataset), off, measured, signal), 0.0)
    background = dataset.array("background")
    if background is None:
        return np.zeros(dataset.geometry.shapes["counts"])
    centers = np.asarray(dataset.geometry.energy_axis.center)
    factor = np.ones(len(centers)) if model is None else model.evaluate(centers)
    return background.astype(np.float64) * factor.reshape(-1, *(1,) * (background.ndim - 1))


def npred(
    dataset: CountsDataset, models: Sequence[Model] | None = None, options: ImageOptions | None = None
) -> Floats:
    """Predicted counts, not below zero, in the shape of the dataset's.

    Parameters
    ----------
    dataset : CountsDataset
    models : sequence of models, optional
        Sky models and background models; those that are for other datasets are left out. Without a
        background model for this dataset its own is taken.
    options : ImageOptions, optional
    """
    models = models or ()
    signal = npred_signal(dataset, models, options)
    return np.maximum(signal + npred_background(dataset, models, signal), 0.0)


def off_measurement(dataset: OnOffDataset) -> tuple[Floats, Floats]:
    """OFF counts, and alpha: 0 where there is no OFF measurement.

    Raises
    ------
    DataError
        When there are no OFF counts, or no acceptances, but bins to fit.
    """
    off = dataset.array("counts_off")
    acceptance, acceptance_off = dataset.array("acceptance"), dataset.array("acceptance_off")
    if off is None or acceptance is None or acceptance_off is None:
        if mask_of(dataset).any():
            raise DataError(
                "it has no OFF counts, but safe bins",
                where=f"dataset {dataset.name}",
                hint="Mask all of it, or leave it out.",
            )
        nothing = np.zeros(dataset.geometry.shapes["counts"])
        return nothing, nothing
    alpha = np.zeros(off.shape)
    np.divide(acceptance, acceptance_off, out=alpha, where=acceptance_off > 0, dtype=np.float64)
    return off.astype(np.float64), alpha


def mask_of(dataset: CountsDataset) -> NDArray[np.bool_]:
    """The bins of a fit, in the shape of the dataset's: ``mask_safe & mask_fit``."""
    safe, chosen = dataset.array("mask_safe"), dataset.array("mask_fit")
    if safe is None or chosen is None:
        only = safe if chosen is None else chosen
        return np.ones(dataset.geometry.shapes["counts"], dtype=np.bool_) if only is None else only
    return safe & chosen


def fitted_bins(dataset: CountsDataset) -> NDArray[np.bool_]:
    """The same without the bins that have no OFF measurement, and so no statistic."""
    mask = mask_of(dataset)
    return mask & (off_measurement(dataset)[1] > 0) if isinstance(dataset, OnOffDataset) else mask


def statistic_of(dataset: CountsDataset) -> Cash | WStat:
    """The statistic of each bin: what was measured. Cash takes all that is predicted, W the sources alone."""
    counts = _counts(dataset)
    return WStat(counts, *off_measurement(dataset)) if isinstance(dataset, OnOffDataset) else Cash(counts)


def stat_array(
    dataset: CountsDataset, models: Sequence[Model] | None = None, options: ImageOptions | None = None
) -> Floats:
    """The statistic of each bin, in the shape of the dataset's, the mask not applied."""
    on_off = isinstance(dataset, OnOffDataset)
    predicted = npred_signal(dataset, models or (), options) if on_off else npred(dataset, models, options)
    return statistic_of(dataset).value(predicted)


def stat_sum(
    dataset: CountsDataset, models: Sequence[Model] | None = None, options: ImageOptions | None = None
) -> float:
    """The statistic summed over ``mask_safe & mask_fit``, priors left out."""
    return float(stat_array(dataset, models, options)[mask_of(dataset)].sum())


def residuals(
    dataset: CountsDataset,
    models: Sequence[Model] | None = None,
    method: str = "diff",
    options: ImageOptions | None = None,
) -> Floats:
    """Counts against prediction, NaN outside the mask or where the quotient means nothing.

    Parameters
    ----------
    method : {"diff", "diff/model", "diff/sqrt(model)"}

    Raises
    ------
    ModelError
        Another method.
    """
    predicted = npred(dataset, models, options)
    difference = _counts(dataset) - predicted
    if method == "diff":
        out = difference
    elif method in ("diff/model", "diff/sqrt(model)"):
        below = predicted if method == "diff/model" else np.sqrt(predicted)
        out = np.divide(difference, below, out=np.full_like(difference, np.nan), where=below > 0)
    else:
        raise ModelError(
            f"residuals by {method!r}",
            where="residuals",
            hint="Known are diff, diff/model, diff/sqrt(model).",
        )
    return np.where(mask_of(dataset), out, np.nan)


def fluxes_of(dataset: CountsDataset, source: SkyModel) -> Floats:
    """Integrals (K,) of a source's spectrum over the true-energy bins, m-2 s-1."""
    return source.spectral_model.integral_values(np.asarray(dataset.geometry.energy_axis_true.edges))


def add_counts(out: Floats, image: SourceImage, fluxes: Floats, values: Floats) -> None:
    """Add a source's counts to a map (E, ny, nx), in place.

    Parameters
    ----------
    out : array (E, ny, nx)
    image : SourceImage
    fluxes : array (K,)
        At the image's own energies, m-2 s-1.
    values : array (r,)
        Free spatial parameters.
    """
    target = out[(slice(None), *image.in_map)]
    for part, stretch in image.state(values).images():
        expected = image.exposure[part] * image.in_full(stretch)
        target += np.tensordot((image.edisp * fluxes[:, None])[part], expected, axes=(0, 0))


def _counts(dataset: CountsDataset) -> Floats:
    counts = dataset.array("counts")
    if counts is None:
        raise ModelError(
            "the dataset has no counts", where=f"dataset {dataset.name}", hint="Fill them, or fake some."
        )
    return counts.astype(np.float64)

"""Predicted counts of a dataset, as full maps.

npred = background x factor(E) + sum over sources of edisp . (exposure x (PSF * source))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import MapDataset
from gammaflow.errors import ModelError
from gammaflow.likelihood.image import SourceImage
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.source_image import source_image
from gammaflow.likelihood.statistic import Cash
from gammaflow.modeling import FoVBackgroundModel, Model, SkyModel

Floats = NDArray[np.float64]


def sources_of(dataset: MapDataset, models: Iterable[Model]) -> tuple[SkyModel, ...]:
    """The sky models that a dataset is to be described with: all that name it, or name none."""
    return tuple(model for model in models if isinstance(model, SkyModel) and model.belongs_to(dataset.name))


def background_model_of(dataset: MapDataset, models: Iterable[Model]) -> FoVBackgroundModel | None:
    """The background model among ``models`` that names the dataset, else the dataset's own.

    Raises
    ------
    ModelError
        When there is more than one.
    """
    found = [
        m for m in models if isinstance(m, FoVBackgroundModel) and dataset.name in (m.datasets_names or ())
    ]
    if len(found) > 1:
        raise ModelError(
            f"{len(found)} background models: {', '.join(m.name for m in found)}",
            where=f"dataset {dataset.name}",
            hint="Keep one.",
        )
    return found[0] if found else dataset.background_model


def npred_source(dataset: MapDataset, source: SkyModel, options: ImageOptions | None = None) -> Floats:
    """Counts (E, ny, nx) predicted from one source; zero where it does not reach.

    Parameters
    ----------
    dataset : MapDataset
        With exposure.
    source : SkyModel
    options : ImageOptions, optional
    """
    out = np.zeros(dataset.geometry.shapes["counts"])
    image = source_image(dataset, source, (), options)
    if image is not None:
        add_counts(out, image, fluxes_of(dataset, source)[image.energies], np.zeros(0))
    return out


def npred_signal(dataset: MapDataset, models: Iterable[Model], options: ImageOptions | None = None) -> Floats:
    """Counts (E, ny, nx) predicted from all sources, without background."""
    out = np.zeros(dataset.geometry.shapes["counts"])
    for source in sources_of(dataset, models):
        image = source_image(dataset, source, (), options)
        if image is not None:
            add_counts(out, image, fluxes_of(dataset, source)[image.energies], np.zeros(0))
    return out


def npred_background(dataset: MapDataset, models: Iterable[Model] = ()) -> Floats:
    """Counts (E, ny, nx) predicted from the background, its factor applied."""
    background = dataset.array("background")
    if background is None:
        return np.zeros(dataset.geometry.shapes["counts"])
    model = background_model_of(dataset, models)
    centers = np.asarray(dataset.geometry.energy_axis.center)
    factor = np.ones(len(centers)) if model is None else model.evaluate(centers)
    return background.astype(np.float64) * factor[:, None, None]


def npred(
    dataset: MapDataset, models: Sequence[Model] | None = None, options: ImageOptions | None = None
) -> Floats:
    """Predicted counts (E, ny, nx), not below zero.

    Parameters
    ----------
    dataset : MapDataset
    models : sequence of models, optional
        Sky models and background models; those that are for other datasets are left out. Without a
        background model for this dataset its own is taken.
    options : ImageOptions, optional
    """
    models = models or ()
    return np.maximum(npred_signal(dataset, models, options) + npred_background(dataset, models), 0.0)


def mask_of(dataset: MapDataset) -> NDArray[np.bool_]:
    """The bins (E, ny, nx) of a fit: ``mask_safe & mask_fit``."""
    safe, chosen = dataset.array("mask_safe"), dataset.array("mask_fit")
    if safe is None or chosen is None:
        only = safe if chosen is None else chosen
        return np.ones(dataset.geometry.shapes["counts"], dtype=np.bool_) if only is None else only
    return safe & chosen


def stat_array(
    dataset: MapDataset, models: Sequence[Model] | None = None, options: ImageOptions | None = None
) -> Floats:
    """The Cash statistic of each bin (E, ny, nx), the mask not applied."""
    return Cash(_counts(dataset)).value(npred(dataset, models, options))


def stat_sum(
    dataset: MapDataset, models: Sequence[Model] | None = None, options: ImageOptions | None = None
) -> float:
    """The Cash statistic summed over ``mask_safe & mask_fit``, priors left out."""
    return float(stat_array(dataset, models, options)[mask_of(dataset)].sum())


def residuals(
    dataset: MapDataset,
    models: Sequence[Model] | None = None,
    method: str = "diff",
    options: ImageOptions | None = None,
) -> Floats:
    """Counts against prediction (E, ny, nx), NaN outside the mask or where the quotient means nothing.

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


def fluxes_of(dataset: MapDataset, source: SkyModel) -> Floats:
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


def _counts(dataset: MapDataset) -> Floats:
    counts = dataset.array("counts")
    if counts is None:
        raise ModelError(
            "the dataset has no counts", where=f"dataset {dataset.name}", hint="Fill them, or fake some."
        )
    return counts.astype(np.float64)

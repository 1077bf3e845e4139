"""From a dataset and its models to the condensed likelihood, and the shared coordinates of a joint fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gammaflow.datasets import Dataset, FluxPointsDataset, MapDataset, SpectrumDataset
from gammaflow.errors import UnsupportedError
from gammaflow.likelihood.condense_map import condense_map
from gammaflow.likelihood.condense_points import condense_points
from gammaflow.likelihood.condense_spectrum import condense_spectrum
from gammaflow.likelihood.coordinates import FluxBlock, FluxGrid, Layout, SharedNuisance, SpatialBlock
from gammaflow.likelihood.given_counts import norm_grid
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.protocol import Condensed
from gammaflow.modeling import FoVBackgroundModel, Model, SkyModel, TemplateNPredModel


def condense(
    dataset: Dataset, models: Iterable[Model], layout: Layout, options: ImageOptions | None = None
) -> Condensed:
    """Condense a dataset.

    Parameters
    ----------
    dataset : MapDataset, MapDatasetOnOff, SpectrumDataset, SpectrumDatasetOnOff or FluxPointsDataset
        With counts, or fluxes.
    models : iterable of models
        As they start: positions are anchors, local parameters begin with their values, frozen ones keep them.
    layout : Layout
        Of the joint fit; see `layout_of`.
    options : ImageOptions, optional
        How the images of sources in maps are made.

    Raises
    ------
    DataError
        No counts; counts that are negative; a background that is not finite; no OFF counts.
    ModelError
        A background model for a dataset whose background is measured; a source without a place in a map.
    UnsupportedError
        Another kind of dataset.
    """
    if isinstance(dataset, MapDataset):
        return condense_map(dataset, models, layout, options)
    if isinstance(dataset, SpectrumDataset):
        return condense_spectrum(dataset, models, layout)
    if isinstance(dataset, FluxPointsDataset):
        return condense_points(dataset, models, layout)
    raise UnsupportedError(
        f"a fit of a {type(dataset).__name__}",
        where=f"dataset {getattr(dataset, 'name', dataset)}",
        hint="Fits take maps, spectra and flux points.",
    )


def grid_of(dataset: Any) -> FluxGrid:
    """The energies at which a dataset, or what stands for one, asks for the fluxes of its sources.

    Parameters
    ----------
    dataset : FluxPointsDataset, or anything with ``geometry.energy_axis_true``
    """
    if isinstance(dataset, FluxPointsDataset):
        return FluxGrid(tuple(dataset.energy.tolist()), differential=True)
    return FluxGrid.of(dataset.geometry.energy_axis_true.edges)


def layout_of(models: Iterable[Model], axes: Mapping[str, FluxGrid | Sequence[float]]) -> Layout:
    """The shared coordinates of a joint fit.

    Parameters
    ----------
    models : iterable of models
        With their free, frozen and linked parameters.
    axes : mapping
        Name of each dataset to its grid of energies, see `grid_of`; bare numbers are the edges of its true-energy
        axis, TeV.

    Notes
    -----
    A source of which nothing is free has no coordinates. A background parameter is shared when more than
    one model has it.
    """
    models = list(models)
    grids = {name: FluxGrid.of(grid) for name, grid in axes.items()}
    flux: list[FluxBlock] = []
    spatial: list[SpatialBlock] = []
    for model in models:
        if not isinstance(model, SkyModel) or model.frozen:
            continue
        if isinstance(model, TemplateNPredModel):
            if any(model.belongs_to(name) for name in grids):
                grid = norm_grid(model)
                flux.append(FluxBlock(model.name, grid.energies, grid.differential))
            continue
        distinct: list[FluxGrid] = []
        for grid in dict.fromkeys(grid for name, grid in grids.items() if model.belongs_to(name)):
            if not any(grid.is_like(other) for other in distinct):
                distinct.append(grid)
        flux += [FluxBlock(model.name, grid.energies, grid.differential) for grid in distinct]
        # a source of spectra alone needs no place
        free = () if model.spatial_model is None else model.spatial_model.parameters.free_parameters.names
        if distinct and free:
            spatial.append(SpatialBlock(model.name, tuple(free)))
    return Layout(tuple(flux), tuple(spatial), _shared_nuisances(models, grids))


def _shared_nuisances(models: Sequence[Model], axes: Mapping[str, FluxGrid]) -> tuple[SharedNuisance, ...]:
    backgrounds = [m for m in models if isinstance(m, FoVBackgroundModel) and m.datasets_names[0] in axes]
    uses = Counter(id(p) for m in models for p in m.parameters.unique_parameters)
    members: dict[int, list[tuple[str, str]]] = {}
    keys: dict[int, str] = {}
    for model in backgrounds:
        for parameter in model.parameters.free_unique_parameters:
            if uses[id(parameter)] > 1:
                members.setdefault(id(parameter), []).append((model.datasets_names[0], parameter.name))
                keys.setdefault(id(parameter), f"{model.name}:{parameter.name}")
    return tuple(SharedNuisance(keys[key], tuple(found)) for key, found in members.items())

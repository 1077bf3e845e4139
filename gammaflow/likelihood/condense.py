"""From a dataset and its models to the condensed likelihood, and the shared coordinates of a joint fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import MapDataset
from gammaflow.errors import ModelError, UnsupportedError
from gammaflow.likelihood.background_factor import BackgroundFactor
from gammaflow.likelihood.condensed import CondensedDataset
from gammaflow.likelihood.condensed_source import CondensedSource, MovingSource
from gammaflow.likelihood.coordinates import FluxBlock, Layout, SharedNuisance, SpatialBlock, same_edges
from gammaflow.likelihood.counted_bins import CountedBins
from gammaflow.likelihood.image import SourceImage
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.npred import add_counts, background_model_of, fluxes_of, sources_of
from gammaflow.likelihood.nuisance import ActiveBins, Background
from gammaflow.likelihood.protocol import CondensedInfo
from gammaflow.likelihood.source_image import source_image, spatial_of
from gammaflow.likelihood.statistic import TRUNCATION
from gammaflow.modeling import FoVBackgroundModel, Model, SkyModel

Floats = NDArray[np.float64]

#: A source whose image is below this, relative to its peak, predicts nothing for a bin without background.
UNSUPPORTED = 1e-5


def layout_of(models: Iterable[Model], axes: Mapping[str, Sequence[float]]) -> Layout:
    """The shared coordinates of a joint fit.

    Parameters
    ----------
    models : iterable of models
        With their free, frozen and linked parameters.
    axes : mapping
        Name of each dataset to the edges of its true-energy axis, TeV.

    Notes
    -----
    A source of which nothing is free has no coordinates. A background parameter is shared when more than
    one model has it.
    """
    models = list(models)
    flux: list[FluxBlock] = []
    spatial: list[SpatialBlock] = []
    for model in models:
        if not isinstance(model, SkyModel) or model.frozen:
            continue
        own = [tuple(float(e) for e in edges) for name, edges in axes.items() if model.belongs_to(name)]
        distinct: list[tuple[float, ...]] = []
        for edges in own:
            if not any(same_edges(edges, other) for other in distinct):
                distinct.append(edges)
        flux += [FluxBlock(model.name, edges) for edges in distinct]
        free = spatial_of(model).parameters.free_parameters.names
        if distinct and free:
            spatial.append(SpatialBlock(model.name, tuple(free)))
    return Layout(tuple(flux), tuple(spatial), _shared_nuisances(models, axes))


def _shared_nuisances(
    models: Sequence[Model], axes: Mapping[str, Sequence[float]]
) -> tuple[SharedNuisance, ...]:
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


def condense(
    dataset: MapDataset, models: Iterable[Model], layout: Layout, options: ImageOptions | None = None
) -> CondensedDataset:
    """Condense a dataset.

    Parameters
    ----------
    dataset : MapDataset
        With counts.
    models : iterable of models
        As they start: positions are anchors, local parameters begin with their values, frozen ones keep them.
    layout : Layout
        Of the joint fit; see `layout_of`.
    options : ImageOptions, optional

    Raises
    ------
    DataError
        No counts; counts that are negative; a background that is not finite. UnsupportedError when the dataset's
        statistic is not Cash.
    """
    if dataset.stat_type != "cash":
        raise UnsupportedError(
            f"a fit of a {type(dataset).__name__}, whose statistic is {dataset.stat_type}",
            where=f"dataset {dataset.name}",
            hint="Fits take map datasets with a modelled background; to_map_dataset() makes one.",
        )
    models = list(models)
    counted = CountedBins.of(dataset)
    reconstructed = np.asarray(counted.mask.any(axis=(1, 2)))
    edges = dataset.geometry.energy_axis_true.edges.tolist()
    free: list[SourceImage] = []
    fixed: list[SourceImage] = []
    predicted: Floats | None = None
    for source in sources_of(dataset, models):
        parameters = layout.spatial_parameters(source.name)
        image = source_image(dataset, source, parameters, options, reconstructed)
        if image is None:
            continue
        if layout.flux_slice(source.name, edges) is not None:
            free.append(image)
            continue
        fixed.append(image)
        predicted = np.zeros(counted.mask.shape) if predicted is None else predicted
        add_counts(predicted, image, fluxes_of(dataset, source)[image.energies], image.start)

    below = np.zeros(len(counted.counts)) if predicted is None else counted.at(predicted)
    in_window = np.zeros(len(counted.counts), dtype=np.bool_)
    for image in (*free, *fixed):
        in_window |= counted.inside(*image.in_map)
    known = (counted.background > 0) | (below > 0)
    active = in_window & (known | _supported(counted, in_window & ~known, free))
    outside = known & ~active
    unexplained = ~known & ~active

    constant = -2.0 * float(counted.counts[outside] @ np.log(counted.background[outside]))
    constant += float((2.0 * (TRUNCATION - counted.counts[unexplained] * np.log(TRUNCATION))).sum())
    if predicted is not None:
        constant += 2.0 * float(predicted[counted.mask].sum())
    bins = ActiveBins(
        counts=counted.counts[active],
        energy=counted.energy[active],
        background=counted.background[active],
        fixed=below[active],
        background_total=counted.background_total,
        counts_outside=counted.per_energy(outside),
    )
    factor = BackgroundFactor.of(dataset.geometry.energy_axis.center, background_model_of(dataset, models))
    places = [layout.nuisance_index(dataset.name, name) for name in factor.names]
    shared = np.array([-1 if place is None else place for place in places], dtype=np.intp)
    sources = [_condensed_source(image, layout, edges, counted, active) for image in free]
    warnings = [text for image in (*free, *fixed) for text in image.warnings]
    if unexplained.any():
        warnings.append(
            f"dataset {dataset.name}: for {int(np.count_nonzero(unexplained))} bins with counts neither "
            "background nor a source predicts anything; they add a constant"
        )
    info = CondensedInfo(
        dataset=dataset.name,
        bins=int(np.count_nonzero(counted.mask)),
        active_bins=len(bins.counts),
        unexplained_bins=int(np.count_nonzero(unexplained)),
        nbytes=sum(source.nbytes for source in sources) + 8 * 4 * len(bins.counts),
        warnings=tuple(warnings),
    )
    background = Background(bins, factor, shared < 0)
    return CondensedDataset(dataset.name, background, sources, shared, bins.constant + constant, info)


def _supported(
    counted: CountedBins, candidates: NDArray[np.bool_], images: Iterable[SourceImage]
) -> NDArray[np.bool_]:
    """For which of the candidates (n,) some source, as it starts, predicts more than rounding."""
    if not candidates.any():
        return candidates
    lit = np.zeros(counted.mask.shape, dtype=np.bool_)
    for image in images:
        here = np.zeros((len(lit), *image.exposure[0].shape), dtype=np.bool_)
        for part, stretch in image.state(image.start).images():
            relative = image.in_full(stretch) / stretch.max(axis=(1, 2), keepdims=True, initial=1e-300)
            bright = (relative > UNSUPPORTED) & (image.exposure[part] > 0)
            for k, plane in zip(range(part.start, part.stop), bright, strict=True):
                here |= (image.edisp[k] > 0)[:, None, None] & plane
        lit[(slice(None), *image.in_map)] |= here
    return candidates & lit[counted.energy, counted.row, counted.column]


def _condensed_source(
    image: SourceImage,
    layout: Layout,
    edges: Sequence[float],
    counted: CountedBins,
    active: NDArray[np.bool_],
) -> CondensedSource:
    """A source with the active bins that lie in its window."""
    flux = layout.flux_slice(image.name, edges)
    if flux is None:
        raise ModelError("the source has no place in the layout", where=f"source {image.name}")
    own = slice(flux.start + image.energies.start, flux.start + image.energies.stop)
    (rows, columns), (window_rows, window_columns) = image.in_map, image.in_window
    chosen = np.flatnonzero(active & counted.inside(rows, columns))
    y = counted.row[chosen] - rows.start + window_rows.start
    x = counted.column[chosen] - columns.start + window_columns.start
    spatial = layout.spatial_slice(image.name)
    moving = MovingSource(
        image,
        own,
        slice(0, 0) if spatial is None else spatial,
        np.searchsorted(np.flatnonzero(active), chosen),
        y * image.size + x,
        counted.energy[chosen],
        np.ascontiguousarray(counted.mask[(slice(None), rows, columns)]),
    )
    return moving.frozen() if spatial is None else moving

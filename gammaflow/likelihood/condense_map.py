"""From a map and its models to the condensed likelihood."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import MapDataset, MapDatasetOnOff
from gammaflow.errors import ModelError
from gammaflow.likelihood.active_bins import ActiveBins
from gammaflow.likelihood.background_factor import BackgroundFactor
from gammaflow.likelihood.condense_given import condensed_counts, lit_by
from gammaflow.likelihood.condensed import CondensedDataset
from gammaflow.likelihood.condensed_source import CondensedSource, MovingSource
from gammaflow.likelihood.coordinates import FluxGrid, Layout
from gammaflow.likelihood.counted_bins import CountedBins
from gammaflow.likelihood.given_counts import GivenCounts, norm_grid
from gammaflow.likelihood.image import SourceImage
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.npred import (
    add_counts,
    background_model_of,
    fluxes_of,
    off_measurement,
    sources_of,
)
from gammaflow.likelihood.nuisance import Background
from gammaflow.likelihood.protocol import CondensedInfo
from gammaflow.likelihood.source_image import source_image
from gammaflow.likelihood.statistic import TRUNCATION, WStat
from gammaflow.likelihood.wstat_bins import WstatBins
from gammaflow.modeling import Model, TemplateNPredModel

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

#: A source whose image is below this, relative to its peak, predicts nothing for a bin without background.
UNSUPPORTED = 1e-5


@dataclass(frozen=True, eq=False)
class _Sources:
    """The images of the sources that reach a map.

    ``free`` have fluxes among the coordinates, ``fixed`` have not: they predict ``predicted`` (E, ny, nx), or
    nothing. ``given`` are templates of counts with the places of their norms; one without is fixed, too.
    """

    free: list[SourceImage]
    fixed: list[SourceImage]
    given: list[tuple[GivenCounts, slice | None]]
    predicted: Floats | None

    @classmethod
    def of(
        cls,
        dataset: MapDataset,
        models: list[Model],
        layout: Layout,
        options: ImageOptions | None,
        mask: Bools,
    ) -> _Sources:
        reconstructed = np.asarray(mask.any(axis=(1, 2)))
        grid = _grid(dataset)
        free: list[SourceImage] = []
        fixed: list[SourceImage] = []
        given: list[tuple[GivenCounts, slice | None]] = []
        predicted: Floats | None = None
        for source in sources_of(dataset, models):
            if isinstance(source, TemplateNPredModel):
                counts = GivenCounts.of(dataset, source)
                if counts is None:
                    continue
                given.append((counts, layout.flux_slice(source.name, norm_grid(source))))
                if given[-1][1] is None:
                    predicted = np.zeros(mask.shape) if predicted is None else predicted
                    counts.add_to(predicted, source.norms())
                continue
            parameters = layout.spatial_parameters(source.name)
            image = source_image(dataset, source, parameters, options, reconstructed)
            if image is None:
                continue
            if layout.flux_slice(source.name, grid) is not None:
                free.append(image)
                continue
            fixed.append(image)
            predicted = np.zeros(mask.shape) if predicted is None else predicted
            add_counts(predicted, image, fluxes_of(dataset, source)[image.energies], image.start)
        return cls(free, fixed, given, predicted)

    @property
    def all(self) -> tuple[SourceImage, ...]:
        return (*self.free, *self.fixed)

    def below(self, counted: CountedBins) -> Floats:
        """What the fixed ones predict for the bins with counts (n,)."""
        return np.zeros(len(counted.counts)) if self.predicted is None else counted.at(self.predicted)

    def windows(self, counted: CountedBins) -> Bools:
        """Bins with counts inside a window (n,)."""
        inside = np.zeros(len(counted.counts), dtype=np.bool_)
        for image in self.all:
            inside |= counted.inside(*image.in_map)
        for counts, _ in self.given:
            inside |= counted.inside(counts.rows, counts.columns)
        return inside

    def fixed_total(self, mask: Bools) -> float:
        """Counts that the fixed ones predict for the bins of the fit."""
        return 0.0 if self.predicted is None else float(self.predicted[mask].sum())


def condense_map(
    dataset: MapDataset, models: Iterable[Model], layout: Layout, options: ImageOptions | None = None
) -> CondensedDataset:
    """Condense a map; see `gammaflow.likelihood.condense.condense`.

    Raises
    ------
    DataError
        No counts; counts that are negative; a background that is not finite.
    """
    models = list(models)
    if isinstance(dataset, MapDatasetOnOff):
        return _measured(dataset, models, layout, options)
    counted = CountedBins.of(dataset)
    images = _Sources.of(dataset, models, layout, options, counted.mask)
    below, in_window = images.below(counted), images.windows(counted)
    known = (counted.background > 0) | (below > 0)
    active = in_window & (known | _supported(counted, in_window & ~known, images))
    outside = known & ~active
    unexplained = ~known & ~active

    constant = -2.0 * float(counted.counts[outside] @ np.log(counted.background[outside]))
    constant += float((2.0 * (TRUNCATION - counted.counts[unexplained] * np.log(TRUNCATION))).sum())
    constant += 2.0 * images.fixed_total(counted.mask)
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
    sources = _condensed_sources(images, layout, dataset, counted, active)
    warnings = _warnings(images)
    if unexplained.any():
        warnings.append(
            f"dataset {dataset.name}: for {int(np.count_nonzero(unexplained))} bins with counts neither "
            "background nor a source predicts anything; they add a constant"
        )
    info = _info(dataset, counted, bins, sources, warnings, int(np.count_nonzero(unexplained)))
    background = Background(bins, factor, shared < 0)
    return CondensedDataset(dataset.name, background, sources, shared, bins.constant + constant, info)


def _measured(
    dataset: MapDatasetOnOff, models: list[Model], layout: Layout, options: ImageOptions | None
) -> CondensedDataset:
    """The same with OFF counts in the place of a modelled background."""
    background_model_of(dataset, models)  # refuses one
    counted = CountedBins.of(dataset)
    off, alpha = off_measurement(dataset)
    images = _Sources.of(dataset, models, layout, options, counted.mask)
    below, active = images.below(counted), images.windows(counted)
    outside = ~active
    on = counted.counts
    at_bins, ratio = counted.at(off), counted.at(alpha)
    without = counted.mask.copy()
    without[counted.energy, counted.row, counted.column] = False

    beside = WStat(on[outside], at_bins[outside], ratio[outside])
    constant = float(beside.value(below[outside]).sum())
    constant += 2.0 * float((off[without] * np.log1p(alpha[without])).sum()) + 2.0 * images.fixed_total(
        without
    )
    energies = len(counted.background_total)
    bins = ActiveBins(
        counts=on[active],
        energy=counted.energy[active],
        background=np.zeros(int(active.sum())),
        fixed=below[active],
        background_total=np.zeros(energies),
        counts_outside=np.zeros(energies),
    )
    statistic = WStat(on[active], at_bins[active], ratio[active])
    centers = np.asarray(dataset.geometry.energy_axis.center, dtype=np.float64)
    sources = _condensed_sources(images, layout, dataset, counted, active)
    info = _info(dataset, counted, bins, sources, _warnings(images))
    own = WstatBins(bins, statistic, centers)
    return CondensedDataset(dataset.name, own, sources, np.zeros(0, dtype=np.intp), constant, info)


def _grid(dataset: MapDataset) -> FluxGrid:
    return FluxGrid.of(dataset.geometry.energy_axis_true.edges)


def _warnings(images: _Sources) -> list[str]:
    return [text for image in images.all for text in image.warnings]


def _info(
    dataset: MapDataset,
    counted: CountedBins,
    bins: ActiveBins,
    sources: list[CondensedSource],
    warnings: list[str],
    unexplained: int = 0,
) -> CondensedInfo:
    return CondensedInfo(
        dataset=dataset.name,
        bins=int(np.count_nonzero(counted.mask)),
        active_bins=len(bins.counts),
        unexplained_bins=unexplained,
        nbytes=sum(source.nbytes for source in sources) + 8 * 4 * len(bins.counts),
        warnings=tuple(warnings),
    )


def _supported(counted: CountedBins, candidates: Bools, sources: _Sources) -> Bools:
    """For which of the candidates (n,) some source, as it starts, predicts more than rounding."""
    if not candidates.any():
        return candidates
    lit = np.zeros(counted.mask.shape, dtype=np.bool_)
    for given, _ in sources.given:
        lit |= lit_by(given, lit.shape)
    for image in sources.free:
        here = np.zeros((len(lit), *image.exposure[0].shape), dtype=np.bool_)
        for part, stretch in image.state(image.start).images():
            relative = image.in_full(stretch) / stretch.max(axis=(1, 2), keepdims=True, initial=1e-300)
            bright = (relative > UNSUPPORTED) & (image.exposure[part] > 0)
            for k, plane in zip(range(part.start, part.stop), bright, strict=True):
                here |= (image.edisp[k] > 0)[:, None, None] & plane
        lit[(slice(None), *image.in_map)] |= here
    return candidates & lit[counted.energy, counted.row, counted.column]


def _condensed_sources(
    images: _Sources, layout: Layout, dataset: MapDataset, counted: CountedBins, active: Bools
) -> list[CondensedSource]:
    sources = [_condensed_source(image, layout, dataset, counted, active) for image in images.free]
    free = ((given, place) for given, place in images.given if place is not None)
    return [*sources, *(condensed_counts(given, place, counted, active) for given, place in free)]


def _condensed_source(
    image: SourceImage, layout: Layout, dataset: MapDataset, counted: CountedBins, active: Bools
) -> CondensedSource:
    """A source with the active bins that lie in its window."""
    flux = layout.flux_slice(image.name, _grid(dataset))
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

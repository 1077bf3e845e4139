"""From a spectrum and its models to the condensed likelihood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import SpectrumDataset, SpectrumDatasetOnOff
from gammaflow.errors import DataError
from gammaflow.likelihood.active_bins import ActiveBins
from gammaflow.likelihood.background_factor import BackgroundFactor
from gammaflow.likelihood.condensed import CondensedDataset
from gammaflow.likelihood.condensed_bins import CondensedBins
from gammaflow.likelihood.condensed_source import FrozenSource, SourceTerm
from gammaflow.likelihood.coordinates import FluxGrid, Layout
from gammaflow.likelihood.npred import (
    background_model_of,
    fluxes_of,
    mask_of,
    off_measurement,
    sources_of,
)
from gammaflow.likelihood.nuisance import Background
from gammaflow.likelihood.protocol import Condensed, CondensedInfo
from gammaflow.likelihood.spectrum_source import spectrum_response
from gammaflow.likelihood.statistic import TRUNCATION, Cash, WStat
from gammaflow.modeling import FoVBackgroundModel, Model

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """A spectrum and what its sources give.

    Parameters
    ----------
    dataset : SpectrumDataset
    counts : array (E,)
    mask : array (E,) of bool
        The bins of the fit.
    index : array (n,) of int
        The shared coordinates of the fluxes, ascending.
    response : array (n, E)
        Counts per unit of each.
    fixed : array (E,)
        Counts of the sources that have no coordinates.
    """

    dataset: SpectrumDataset
    counts: Floats
    mask: Bools
    index: Ints
    response: Floats
    fixed: Floats

    @property
    def where(self) -> str:
        """For messages."""
        return f"dataset {self.dataset.name}"

    def total(self, bins: Bools) -> Floats:
        """Counts (n,) in some bins per unit of each flux."""
        return self.response @ bins.astype(np.float64)

    def info(self, active: Bools, unexplained: int = 0) -> CondensedInfo:
        """For bins that are looked at one by one (E,), and a number of those that nothing explains."""
        bins = int(np.count_nonzero(active))
        warnings: tuple[str, ...] = ()
        if unexplained:
            text = f"for {unexplained} bins with counts neither background nor a source predicts anything"
            warnings = (f"{self.where}: {text}; they add a constant",)
        return CondensedInfo(
            dataset=self.dataset.name,
            bins=int(np.count_nonzero(self.mask)),
            active_bins=bins,
            unexplained_bins=unexplained,
            nbytes=8 * bins * (len(self.index) + 4) + 24 * len(self.index),
            warnings=warnings,
        )

    def condensed(
        self, active: Bools, statistic: WStat | Cash, constant: float, info: CondensedInfo
    ) -> CondensedBins:
        """Where there is nothing to profile."""
        return CondensedBins(
            name=self.dataset.name,
            index=self.index,
            response=np.compress(active, self.response, axis=1),
            line=2.0 * self.total(self.mask & ~active),
            empty=2.0 * self.total(self.mask),
            fixed=self.fixed[active],
            statistic=statistic,
            constant=constant,
            info=info,
        )


def condense_spectrum(dataset: SpectrumDataset, models: Iterable[Model], layout: Layout) -> Condensed:
    """Condense a spectrum; see `gammaflow.likelihood.condense.condense`.

    Raises
    ------
    DataError
        No counts; counts that are negative; a background that is not finite; no OFF counts.
    """
    models = list(models)
    background = background_model_of(dataset, models)
    counts = dataset.array("counts")
    where = f"dataset {dataset.name}"
    if counts is None:
        raise DataError("there are no counts", where=where, hint="Fill them, or fake some.")
    mask, beside = mask_of(dataset), None
    if isinstance(dataset, SpectrumDatasetOnOff):
        beside = off_measurement(dataset)
        mask = mask & (beside[1] > 0)
    if (counts[mask] < 0).any():
        raise DataError("there are negative counts", where=where, hint="The statistic needs counts.")
    index, response, fixed = _sources(dataset, models, layout)
    spectrum = _Spectrum(dataset, counts.astype(np.float64), mask, index, response, fixed)
    if beside is not None:
        return _measured(spectrum, *beside)
    return _modelled(spectrum, background, layout)


def _sources(
    dataset: SpectrumDataset, models: Sequence[Model], layout: Layout
) -> tuple[Ints, Floats, Floats]:
    """Shared coordinates (n,) of the fluxes, counts (n, E) per unit of each, and counts (E,) of what has none."""
    grid = FluxGrid.of(dataset.geometry.energy_axis_true.edges)
    fixed = np.zeros(dataset.geometry.shapes["counts"])
    places: list[Ints] = []
    parts: list[Floats] = []
    for source in sources_of(dataset, models):
        response = spectrum_response(dataset, source)
        if response is None:
            continue
        flux = layout.flux_slice(source.name, grid)
        if flux is None:
            fixed = fixed + fluxes_of(dataset, source) @ response
        else:
            places.append(np.arange(flux.start, flux.stop, dtype=np.intp))
            parts.append(response)
    if len(parts) == 1:
        return places[0], parts[0], fixed
    if not parts:
        return np.zeros(0, dtype=np.intp), np.zeros((0, len(fixed))), fixed
    index = np.concatenate(places)
    order = np.argsort(index, kind="stable")
    return index[order], np.concatenate(parts)[order], fixed


def _measured(spectrum: _Spectrum, off: Floats, alpha: Floats) -> CondensedBins:
    """With OFF counts: bins with ON counts by themselves, the others are linear."""
    on, mask = spectrum.counts, spectrum.mask
    active = mask & (on > 0)
    without = mask & ~active
    constant = 2.0 * float((off[without] * np.log1p(alpha[without]) + spectrum.fixed[without]).sum())
    statistic = WStat(on[active], off[active], alpha[active])
    return spectrum.condensed(active, statistic, constant, spectrum.info(active))


def _modelled(spectrum: _Spectrum, model: FoVBackgroundModel | None, layout: Layout) -> Condensed:
    """With a modelled background, whose norm and tilt may be free."""
    dataset, on, mask, fixed = spectrum.dataset, spectrum.counts, spectrum.mask, spectrum.fixed
    given = dataset.array("background")
    background = np.zeros(on.shape) if given is None else given.astype(np.float64)
    if not np.isfinite(background[mask]).all():
        raise DataError(
            "the background is not finite in the mask", where=spectrum.where, hint="Mask these bins out."
        )
    factor = BackgroundFactor.of(dataset.geometry.energy_axis.center, model)
    counted = mask & (on > 0)
    known = (background > 0) | (fixed > 0) | (spectrum.response > 0).any(axis=0)
    active, unexplained = counted & known, counted & ~known
    constant = float((2.0 * (TRUNCATION - on[unexplained] * np.log(TRUNCATION))).sum())
    info = spectrum.info(active, int(np.count_nonzero(unexplained)))
    if not factor.names:
        whole = replace(spectrum, fixed=fixed + background * factor.evaluate(np.zeros((1, 0)))[0][0])
        statistic = Cash(on[active])
        constant += float(statistic.constant.sum()) + 2.0 * float(whole.fixed[mask & ~active].sum())
        return whole.condensed(active, statistic, constant, info)
    bins = ActiveBins(
        counts=on[active],
        energy=np.flatnonzero(active),
        background=background[active],
        fixed=fixed[active],
        background_total=np.where(mask, background, 0.0),
        counts_outside=np.zeros(len(on)),
    )
    places = [layout.nuisance_index(dataset.name, name) for name in factor.names]
    shared = np.array([-1 if place is None else place for place in places], dtype=np.intp)
    constant += bins.constant + 2.0 * float(fixed[mask].sum())
    own = Background(bins, factor, shared < 0)
    return CondensedDataset(dataset.name, own, _frozen(spectrum, active), shared, constant, info)


def _frozen(spectrum: _Spectrum, active: Bools) -> list[FrozenSource]:
    """The fluxes as sources that do not move, one for each stretch of coordinates."""
    index = spectrum.index
    rows = np.arange(np.count_nonzero(active), dtype=np.intp)
    total, response = spectrum.total(spectrum.mask), np.compress(active, spectrum.response, axis=1)
    found = []
    for part in np.split(np.arange(len(index)), np.flatnonzero(np.diff(index) != 1) + 1):
        if len(part):
            flux = slice(int(index[part[0]]), int(index[part[-1]]) + 1)
            term = SourceTerm(response[part], total[part])
            found.append(FrozenSource(f"fluxes {flux.start} to {flux.stop - 1}", flux, rows, term))
    return found

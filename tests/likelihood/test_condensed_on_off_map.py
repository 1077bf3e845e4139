"""Condensed maps whose background was counted: the full W statistic, exact derivatives, sources that move."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.datasets import MapDatasetOnOff
from gammaflow.errors import ModelError
from gammaflow.likelihood import (
    CondensedDataset,
    Layout,
    Request,
    condense,
    layout_of,
    mask_of,
    npred,
    stat_sum,
    statistic_of,
)
from gammaflow.likelihood.condensed_source import MovingSource
from gammaflow.likelihood.npred import add_counts
from gammaflow.modeling import FoVBackgroundModel, Models
from tests.likelihood.spectra import on_off_map
from tests.likelihood.test_condensed import check_derivatives, gaussian, point_source, random_points, start


def observed(models: Models, seed: int = 4, **options: object) -> MapDatasetOnOff:
    """ON counts of the sources and of what the OFF counts suggest."""
    dataset = on_off_map(**options)
    counts = np.random.default_rng(seed).poisson(npred(dataset, list(models)))
    return dataset.with_arrays(counts=counts)


def setup(models: Models, **options: object) -> tuple[MapDatasetOnOff, Layout, CondensedDataset]:
    dataset = observed(models, **options)
    layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
    condensed = condense(dataset, models, layout)
    assert isinstance(condensed, CondensedDataset)
    return dataset, layout, condensed


def full_sum(dataset: MapDatasetOnOff, condensed: CondensedDataset, point: np.ndarray) -> float:
    """The W statistic over all bins of the fit, with the condensed dataset's own images.

    Images ring a little below zero: there it goes straight on, as the condensed sum does.
    """
    signal = np.zeros(dataset.geometry.shapes["counts"])
    for source in condensed.sources:
        assert isinstance(source, MovingSource)
        add_counts(signal, source.image, point[source.flux], point[source.spatial])
    return float(statistic_of(dataset).expand(signal)[0][mask_of(dataset)].sum())


@pytest.mark.parametrize("background", [0.3, 5.0])
def test_the_condensed_sum_is_the_full_sum(background: float) -> None:
    models = Models([point_source(), gaussian()])
    dataset, layout, condensed = setup(models, background=background)
    assert condensed.info.active_bins < 0.6 * condensed.info.bins
    assert condensed.info.bins < mask_of(dataset).sum()  # those without an OFF measurement are left out
    points = random_points(layout, models, 4)
    points[3, : layout.n_flux] *= -1e-4
    stats = condensed.evaluate(Request(points)).stat
    for point, stat in zip(points, stats, strict=True):
        assert stat == pytest.approx(full_sum(dataset, condensed, point), rel=1e-12, abs=1e-9)
    at = start(layout, models)
    found = condensed.evaluate(Request.at(at)).stat[0]
    # images made anew for a prediction leave out other small coefficients than those that may move
    assert found == pytest.approx(stat_sum(dataset, list(models)), abs=0.02)
    assert condensed.nuisances(at)[0].stat == found
    assert condensed.nuisances(at)[0].parameters == ()


def test_derivatives_are_exact() -> None:
    models = Models([point_source(), gaussian()])
    _, layout, condensed = setup(models, background=5.0)
    at = random_points(layout, models, 1, spread=0.1)[0]
    check_derivatives([condensed], layout, at)


def test_a_frozen_source_enters_once() -> None:
    models = Models([point_source(position=False), gaussian()])
    models["gauss"].freeze()
    dataset, layout, condensed = setup(models, background=2.0)
    at = start(layout, models)
    expected = stat_sum(dataset, list(models))
    assert condensed.evaluate(Request.at(at)).stat[0] == pytest.approx(expected, rel=1e-10)
    models["gauss"].spectral_model.amplitude.value *= 3
    again = condense(dataset, models, layout)
    assert again.evaluate(Request.at(at)).stat[0] == pytest.approx(stat_sum(dataset, list(models)), rel=1e-10)


def test_no_source_is_the_background_alone() -> None:
    models = Models([point_source(lon=120.0)])
    dataset, layout, condensed = setup(models)
    reply = condensed.evaluate(Request.at(start(layout, models)))
    assert not len(reply.index)
    assert reply.stat[0] == pytest.approx(stat_sum(dataset, []), rel=1e-12)


def test_all_bins_masked_or_without_off_counts() -> None:
    models = Models([point_source()])
    dataset = observed(models)
    nothing = dataset.with_arrays(mask_safe=np.zeros(dataset.data_shape, dtype=bool))
    layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
    for made in (nothing, nothing.with_arrays(counts_off=None, acceptance_off=None)):
        reply = condense(made, models, layout).evaluate(Request.at(start(layout, models)))
        assert reply.stat[0] == 0
        assert not reply.gradient.any()


def test_a_background_model_is_refused() -> None:
    models = Models([point_source(), FoVBackgroundModel(dataset_name="one")])
    dataset = on_off_map()
    with pytest.raises(ModelError, match="a background model, 'one-bkg'"):
        condense(dataset, models, layout_of(models, {"one": dataset.geometry.energy_axis_true.edges}))

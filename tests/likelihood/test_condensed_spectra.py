"""Condensed spectra and flux points: the full sum, exact derivatives, and the same bits in any company."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from gammaflow.datasets import Dataset
from gammaflow.errors import DataError, ModelError
from gammaflow.likelihood import (
    CondensedBins,
    FluxGrid,
    Layout,
    Request,
    Shard,
    condense,
    grid_of,
    layout_of,
    mask_of,
    npred_background,
    statistic_of,
)
from gammaflow.likelihood.spectrum_source import spectrum_response
from gammaflow.likelihood.sums import deal, total
from gammaflow.modeling import FoVBackgroundModel, Models, PointSpatialModel, PowerLawNormSpectralModel
from tests.likelihood.spectra import AMPLITUDE, flux_points, geometry, on_off, power_law, spectrum

Floats = np.ndarray


def layout_for(models: Models, *datasets: Dataset) -> Layout:
    return layout_of(models, {d.name: grid_of(d) for d in datasets})


def start(layout: Layout, models: Models) -> Floats:
    parts = [np.zeros(0)]
    for block in layout.flux:
        spectrum, energies = models[block.source].spectral_model, np.array(block.edges)
        parts.append(spectrum.values(energies) if block.differential else spectrum.integral_values(energies))
    return np.concatenate([*parts, np.ones(len(layout.nuisance))])


def points_near(layout: Layout, models: Models, count: int = 4, seed: int = 5) -> Floats:
    """Fluxes around those of the models, some of them negative, none by more than the background bears."""
    rng = np.random.default_rng(seed)
    at = start(layout, models)
    return at * (1 + 0.4 * rng.normal(size=(count, len(at)))) * rng.choice([1.0, -1e-3], (count, 1))


def full_sum(dataset: Any, models: Models, layout: Layout, point: Floats) -> float:
    """The statistic of every bin of the fit, summed."""
    signal = np.zeros(dataset.geometry.shapes["counts"])
    for source in models.sky_models:
        response = spectrum_response(dataset, source)
        place = layout.flux_slice(source.name, grid_of(dataset))
        if response is None:
            continue
        own = source.spectral_model.integral_values(np.asarray(dataset.geometry.energy_axis_true.edges))
        signal += (own if place is None else point[place]) @ response
    if dataset.stat_type == "cash":
        signal = signal + npred_background(dataset, models)
    return float(statistic_of(dataset).value(signal)[mask_of(dataset)].sum())


def check_derivatives(condensed: Any, layout: Layout, at: Floats) -> None:
    """Gradient and Hessian against differences, in units of the fluxes."""
    steps = 1e-3 * at
    diagonal = np.diag(steps)
    points = np.concatenate([at + k * diagonal for k in (1, -1, 2, -2)])
    here = condensed.evaluate(Request.at(at)).at(0, layout.size)
    reply, m = condensed.evaluate(Request(points, 1)), layout.size
    f = reply.variable.reshape(4, m)
    gradients = np.array([reply.at(i, m).gradient for i in range(4 * m)]).reshape(4, m, m)
    slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * steps)
    curve = (8 * (gradients[0] - gradients[1]) - (gradients[2] - gradients[3])) / (12 * steps[:, None])
    gradient, hessian = here.gradient * at, here.hessian * np.outer(at, at)
    np.testing.assert_allclose(gradient, slope * at, atol=1e-7 * np.abs(gradient).max())
    np.testing.assert_allclose(hessian, curve * np.outer(at, at), atol=1e-6 * np.abs(hessian).max())
    np.testing.assert_array_equal(hessian, hessian.T)


def frozen(name: str = "frozen") -> Any:
    model = power_law(name, index=2.0, amplitude=1e-12)
    model.freeze()
    return model


def fixed_background(norm: float = 1.2) -> FoVBackgroundModel:
    model = FoVBackgroundModel(PowerLawNormSpectralModel(norm=norm, tilt=0.1), dataset_name="one")
    model.freeze()
    return model


def without_off_in_some() -> Any:
    dataset = on_off(level=3.0)
    acceptance_off = dataset.array("acceptance_off").copy()
    acceptance_off[::4] = 0.0
    return dataset.with_arrays(acceptance_off=acceptance_off)


CASES: dict[str, tuple[Any, list[Any]]] = {
    "ON/OFF": (on_off, [power_law()]),
    "little background": (lambda: on_off(level=0.1), [power_law()]),
    "no OFF counts": (lambda: on_off(counts_off=np.zeros(12, dtype=int)), [power_law()]),
    "no OFF measurement in some bins": (without_off_in_some, [power_law()]),
    "two sources": (on_off, [power_law(), power_law("other", index=3.0, amplitude=1e-11)]),
    "a frozen source": (on_off, [power_law(), frozen()]),
    "bins left out of the fit": (lambda: on_off(mask_fit=np.arange(12) % 3 > 0), [power_law()]),
    "a modelled background": (spectrum, [power_law()]),
    "a frozen norm": (spectrum, [power_law(), frozen(), fixed_background()]),
    "no background": (lambda: spectrum(background=np.zeros(12)), [power_law()]),
    "no energy dispersion": (lambda: on_off(edisp=None, edisp_exposure=None), [power_law()]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_condensed_sum_is_the_full_sum(case: str) -> None:
    make, parts = CASES[case]
    dataset, models = make(), Models(parts)
    layout = layout_for(models, dataset)
    condensed = condense(dataset, models, layout)
    assert isinstance(condensed, CondensedBins)
    points = points_near(layout, models)
    if dataset.stat_type == "cash":  # it has no value where counts are predicted below zero
        points = np.abs(points)
    reply = condensed.evaluate(Request(points))
    for point, stat in zip(points, reply.stat, strict=True):
        assert stat == pytest.approx(full_sum(dataset, models, layout, point), rel=1e-12, abs=1e-10)
    assert condensed.nuisances(points[0])[0].stat == reply.stat[0]
    check_derivatives(condensed, layout, np.abs(points[0]))


@pytest.mark.parametrize("tilt", [False, True])
def test_a_free_norm_is_profiled(tilt: bool) -> None:
    dataset = spectrum(level=300.0)
    shape = PowerLawNormSpectralModel(norm=1.0, tilt=0.0)
    shape.tilt.frozen = not tilt
    models = Models([power_law(), frozen(), FoVBackgroundModel(shape, dataset_name="one")])
    layout = layout_for(models, dataset)
    condensed = condense(dataset, models, layout)
    for point in points_near(layout, models, 3):
        (state,) = condensed.nuisances(point)
        for name, value in zip(state.parameters, state.values, strict=True):
            models["one-bkg"].spectral_model.parameters[name].value = value
        assert state.stat == pytest.approx(full_sum(dataset, models, layout, point), rel=1e-12)
        assert condensed.evaluate(Request.at(point)).stat[0] == state.stat
    check_derivatives(condensed, layout, start(layout, models))


def test_spectra_far_too_negative_are_told_from_the_statistic() -> None:
    """Below what the OFF counts allow the condensed sum goes straight on: the full sum is higher."""
    dataset, models = on_off(level=0.5, truth=power_law(amplitude=1e-14)), Models([power_law()])
    layout = layout_for(models, dataset)
    point = -0.5 * start(layout, models)
    stat = condense(dataset, models, layout).evaluate(Request.at(point)).stat[0]
    assert stat < full_sum(dataset, models, layout, point) - 1.0


def mixed(count: int = 13) -> tuple[list[Any], Models]:
    """Spectra of several shapes, one of them with a norm of its own, and flux points."""
    models = Models([power_law(), frozen(), FoVBackgroundModel(dataset_name="one")])
    datasets: list[Any] = [on_off(f"obs-{i}", seed=i, level=0.3 + i) for i in range(count)]
    other = [on_off(f"other-{i}", seed=50 + i, where=geometry(9, 14)) for i in range(4)]
    datasets = [flux_points(), *datasets[:6], spectrum("one"), *other, *datasets[6:], spectrum("two")]
    return datasets, models


def test_the_bits_do_not_depend_on_the_company() -> None:
    datasets, models = mixed()
    layout = layout_for(models, *datasets)
    condensed = [condense(d, models, layout) for d in datasets]
    points = np.abs(points_near(layout, models, 5))
    for order in (0, 1, 2):
        whole = Shard(condensed).evaluate(Request(points, order))
        alone = total([one.evaluate(Request(points, order)) for one in condensed])
        dealt = total([Shard(hand).evaluate(Request(points, order)) for hand in deal(condensed, 3)])
        spectra = Shard([one for one in condensed if isinstance(one, CondensedBins)])
        at_once = spectra.evaluate(Request(points, order))
        one_by_one = [spectra.evaluate(Request.at(point, order)) for point in points]
        for other in (alone, dealt):
            assert other.constant == whole.constant
            for name in ("index", "variable", "gradient", "gauss_newton", "second_order", "empty_gradient"):
                np.testing.assert_array_equal(getattr(other, name), getattr(whole, name), err_msg=name)
        for name in ("variable", "gradient", "gauss_newton"):
            together = np.concatenate([getattr(single, name) for single in one_by_one])
            np.testing.assert_array_equal(together, getattr(at_once, name), err_msg=name)
    states = Shard(condensed).nuisances(points[0])
    assert [state.dataset for state in states] == [d.name for d in datasets]
    assert [s.stat for s in states] == [c.nuisances(points[0])[0].stat for c in condensed]


def test_many_points_are_asked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets, models = mixed(4)
    layout = layout_for(models, *datasets)
    shard = Shard([condense(d, models, layout) for d in datasets])
    points = np.abs(points_near(layout, models, 37))
    whole = shard.evaluate(Request(points))
    monkeypatch.setattr("gammaflow.likelihood.shard.BYTES_AT_A_TIME", 40000)
    pieces = shard.evaluate(Request(points))
    for name in ("variable", "gradient", "gauss_newton", "invalid"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))


def test_a_shard_travels() -> None:
    datasets, models = mixed(3)
    layout = layout_for(models, *datasets)
    shard = Shard([condense(d, models, layout) for d in datasets])
    there = pickle.loads(pickle.dumps(shard))
    at = start(layout, models)
    assert there.evaluate(Request.at(at)).stat == shard.evaluate(Request.at(at)).stat
    assert there.info() == shard.info()


def test_derivatives_along_a_basis() -> None:
    datasets, models = mixed(3)
    layout = layout_for(models, *datasets)
    shard = Shard([condense(d, models, layout) for d in datasets])
    at = start(layout, models)
    basis = np.random.default_rng(0).normal(size=(layout.size, 2)) * at[:, None]
    plain = shard.evaluate(Request.at(at)).at(0, layout.size)
    along = shard.evaluate(Request(at[None], 2, basis)).at(0, 2)
    np.testing.assert_allclose(along.gradient, basis.T @ plain.gradient, rtol=1e-10)
    np.testing.assert_allclose(along.hessian, basis.T @ plain.hessian @ basis, rtol=1e-10)


# --- flux points --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stat_type", ["chi2", "distrib", "censored"])
def test_flux_points_by_each_statistic(stat_type: str) -> None:
    dataset, models = flux_points(stat_type=stat_type), Models([power_law(), frozen()])
    layout = layout_for(models, dataset)
    assert layout.flux[0].differential
    assert layout.names[0] == "crab:dnde[0]"
    condensed = condense(dataset, models, layout)
    at = start(layout, models)
    dataset.models = models
    assert condensed.evaluate(Request.at(at)).stat[0] == pytest.approx(dataset.stat_sum(), rel=1e-12)
    expansion = condensed.evaluate(Request.at(at)).at(0, layout.size)
    for i in range(len(at)):
        step = np.eye(len(at))[i] * 1e-5 * at[i]
        above, below = (condensed.evaluate(Request.at(at + s)).at(0, layout.size) for s in (step, -step))
        slope = (above.stat - below.stat) / (2 * step[i])
        assert expansion.gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-5 / at[i])
        bend = (above.gradient - below.gradient)[i] / (2 * step[i])
        assert expansion.hessian[i, i] == pytest.approx(bend, rel=1e-4, abs=1e-5 / at[i] ** 2)


def test_points_outside_the_masks_take_no_part() -> None:
    chosen = np.arange(8) < 5
    dataset, models = flux_points(mask_fit=chosen), Models([power_law()])
    layout = layout_for(models, dataset)
    condensed = condense(dataset, models, layout)
    assert condensed.info.bins == 5
    square = condensed.evaluate(Request.at(start(layout, models))).at(0, 8).gauss_newton
    np.testing.assert_array_equal(np.diag(square) > 0, chosen)


# --- layouts ------------------------------------------------------------------------------------------------


def test_bins_and_points_are_different_coordinates() -> None:
    models = Models([power_law()])
    energies = (1.0, 2.0, 4.0)
    layout = layout_of(models, {"a": energies, "b": FluxGrid(energies, differential=True), "c": energies})
    assert [(block.size, block.differential) for block in layout.flux] == [(2, False), (3, True)]
    assert layout.flux_slice("crab", energies) == slice(0, 2)
    assert layout.flux_slice("crab", FluxGrid(energies, differential=True)) == slice(2, 5)


def test_a_source_of_spectra_needs_no_place() -> None:
    layout = layout_for(Models([power_law()]), on_off())
    assert not layout.spatial
    placed = Models([power_law(spatial=PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg"))])
    assert layout_for(placed, on_off()).spatial[0].parameters == ("lon_0", "lat_0")


# --- what cannot be -----------------------------------------------------------------------------------------


def test_a_background_model_for_a_measured_background_is_refused() -> None:
    models = Models([power_law(), FoVBackgroundModel(dataset_name="one")])
    dataset = on_off()
    with pytest.raises(ModelError, match=r"a background model, 'one-bkg'.*not modelled"):
        condense(dataset, models, layout_for(models, dataset))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": None}, "there are no counts"),
        ({"counts": np.full(12, -1)}, "negative counts"),
        ({"counts_off": None}, "no OFF counts, but safe bins"),
        ({"exposure": None}, "no exposure"),
    ],
)
def test_what_is_missing_is_said(change: dict[str, Any], message: str) -> None:
    dataset, models = on_off(**change), Models([power_law()])
    with pytest.raises(DataError, match=message):
        condense(dataset, models, layout_for(models, dataset))


def test_a_spectrum_that_is_masked_whole_says_nothing() -> None:
    dataset, models = on_off(mask_safe=np.zeros(12, dtype=bool), counts_off=None), Models([power_law()])
    layout = layout_for(models, dataset)
    condensed = condense(dataset, models, layout)
    reply = condensed.evaluate(Request.at(start(layout, models)))
    assert reply.stat[0] == 0
    assert not reply.gradient.any()
    assert condensed.info.bins == 0


def test_counts_that_nothing_explains_add_a_constant() -> None:
    dataset = spectrum(
        background=np.zeros(12), exposure=np.where(np.arange(20) < 8, 0.0, 1e9), edisp=np.eye(20, 12)
    )
    models = Models([power_law()])
    condensed = condense(dataset, models, layout_for(models, dataset))
    assert any("neither background nor a source" in text for text in condensed.info.warnings)
    assert np.isfinite(condensed.evaluate(Request.at(start(layout_for(models, dataset), models))).stat[0])


def test_amplitudes_are_as_in_the_truth() -> None:
    """The spectra of these tests hold enough to be worth a test."""
    assert on_off().array("counts").sum() > 100
    assert power_law().spectral_model.amplitude.value == AMPLITUDE

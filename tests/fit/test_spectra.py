"""Fits of spectra, of flux points, and of all kinds of datasets together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gammaflow.fit import Fit, FitResult, LocalEvaluator, Problem
from gammaflow.fit.coordinates import Coordinates
from gammaflow.likelihood import Request, npred, stat_sum
from gammaflow.modeling import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    GaussianPrior,
    Models,
    PointSpatialModel,
    SkyModel,
)
from tests.likelihood.spectra import AMPLITUDE, flux_points, on_off, on_off_map, power_law, spectrum
from tests.likelihood.synthetic import make_dataset

INDEX, NORM = "crab.spectral.index", "crab.spectral.amplitude"


def some_spectra(count: int = 6, level: float = 5.0) -> list[Any]:
    return [on_off(f"obs-{i}", seed=i, level=level) for i in range(count)]


def agree(one: FitResult, other: FitResult, within: float) -> None:
    assert one.success, one.message
    assert other.success, other.message
    for name, value in one.values.items():
        assert abs(value - other.values[name]) < within * one.errors[name], name


@pytest.mark.parametrize("amplitude", [1e-14, 1e-12, AMPLITUDE, 1e-9])
@pytest.mark.parametrize("index", [1.5, 2.6, 4.0])
def test_the_minimum_is_found_from_afar(amplitude: float, index: float) -> None:
    datasets = some_spectra()
    near = Fit().run(datasets, power_law())
    far = Fit().run(datasets, power_law(index=index, amplitude=amplitude))
    agree(near, far, 1e-3)
    assert far.trips <= 25
    assert far.total_stat == pytest.approx(near.total_stat, abs=1e-7)
    assert abs(near.values[INDEX] - 2.6) < 4 * near.errors[INDEX]
    assert abs(near.values[NORM] - AMPLITUDE) < 4 * near.errors[NORM]


@pytest.mark.parametrize("amplitude", [1e-16, 1e-12, 1e-10])
def test_spectra_without_any_off_counts(amplitude: float) -> None:
    """Where little is predicted their statistic is a straight line: nothing curves to go by."""
    nothing = np.zeros(12, dtype=int)
    datasets = [on_off(f"obs-{i}", seed=i, level=0.0, counts_off=nothing) for i in range(3)]
    agree(Fit().run(datasets, power_law()), Fit().run(datasets, power_law(amplitude=amplitude)), 1e-3)


def test_newton_and_minuit_find_the_same() -> None:
    datasets = [*some_spectra(3), spectrum("modelled"), flux_points()]
    agree(Fit().run(datasets, power_law()), Fit(backend="minuit").run(datasets, power_law()), 0.01)


def test_the_covariance_is_that_of_the_statistic() -> None:
    """Twice the inverse of the second differences of the sum over every bin, the norm of a background included."""
    datasets: list[Any] = [*some_spectra(3), spectrum("modelled", level=100.0)]
    models = Models([power_law(), FoVBackgroundModel(dataset_name="modelled")])
    result = Fit().run(datasets, models)
    assert result.covariance is not None
    names = (INDEX, NORM, "modelled-bkg.spectral.norm")
    parameters = [
        models["crab"].spectral_model.index,
        models["crab"].spectral_model.amplitude,
        models["modelled-bkg"].spectral_model.norm,
    ]
    best = np.array([p.value for p in parameters])
    errors = np.array([result.errors[name] for name in names])

    def stat(at: np.ndarray) -> float:
        for parameter, value in zip(parameters, at, strict=True):
            parameter.value = float(value)
        return sum(stat_sum(d, list(models)) for d in datasets)

    assert stat(best) == pytest.approx(result.total_stat, abs=1e-8)
    hessian = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            a, b = 0.05 * errors * np.eye(3)[i], 0.05 * errors * np.eye(3)[j]
            difference = stat(best + a + b) - stat(best + a - b) - stat(best - a + b) + stat(best - a - b)
            hessian[i, j] = difference / (4 * 0.05**2)
    expected = 2 * np.linalg.inv(hessian)
    found = result.covariance.matrix(names) / np.outer(errors, errors)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_chi2_is_least_squares() -> None:
    """For a spectrum that is linear in its parameter the minimum and its error are known."""
    dataset, model = flux_points(), power_law(amplitude=3e-11)
    model.spectral_model.index.frozen = True
    result = Fit().run(dataset, model)
    shape = power_law(amplitude=1.0).spectral_model.values(dataset.energy) * 1e-4
    some = dataset.mask.values
    weight = 1.0 / dataset.error[some] ** 2
    best = (weight * shape[some]) @ dataset.dnde.values[some] / (weight @ shape[some] ** 2)
    assert result.values[NORM] == pytest.approx(best, rel=1e-9)
    assert result.errors[NORM] == pytest.approx(1 / np.sqrt(weight @ shape[some] ** 2), rel=1e-9)
    dataset.models = result.models
    assert result.total_stat == pytest.approx(dataset.stat_sum(), rel=1e-12)


@pytest.mark.parametrize("stat_type", ["distrib", "censored"])
def test_other_statistics_of_flux_points(stat_type: str) -> None:
    dataset = flux_points(stat_type=stat_type)
    result, other = (Fit(backend=b).run(dataset, power_law()) for b in ("newton", "minuit"))
    agree(result, other, 0.01)
    dataset.models = result.models
    assert result.total_stat == pytest.approx(dataset.stat_sum(), rel=1e-10)


def test_a_likelihood_profile_that_is_a_parabola_is_chi2() -> None:
    gauss = flux_points(is_ul=np.zeros(8, dtype=bool))
    reference = 1e-4 * power_law(index=2.0).spectral_model.values(gauss.energy)
    norm, error = gauss.dnde.values / reference, gauss.error / reference
    scan = norm[:, None] + error[:, None] * np.linspace(-6, 6, 25)
    delta = ((scan - norm[:, None]) / error[:, None]) ** 2
    profile = flux_points("profile", dnde_ref=reference, norm_scan=scan, stat_scan=delta, stat_type="profile")
    one, other = Fit().run(gauss, power_law()), Fit().run(profile, power_law())
    agree(one, other, 1e-4)
    assert other.total_stat == pytest.approx(one.total_stat, rel=1e-6)
    for name, error in one.errors.items():
        assert other.errors[name] == pytest.approx(error, rel=1e-5)


def test_a_spectrum_with_curvature_at_energies() -> None:
    """Second derivatives of differential fluxes: a cutoff that the points see."""
    spectral = ExpCutoffPowerLawSpectralModel(
        index=2.2, amplitude="4e-11 cm-2 s-1 TeV-1", lambda_="0.03 TeV-1"
    )
    truth = SkyModel(spectral, name="crab")
    datasets = [flux_points(truth=truth, dnde_err=np.geomspace(1e-12, 1e-17, 8))]
    start = truth.copy("crab")
    start.spectral_model.lambda_.value = 0.01
    result = Fit().run(datasets, start)
    agree(result, Fit(backend="minuit").run(datasets, truth.copy("crab")), 0.02)
    coordinates = Coordinates.of(Problem.of(datasets, result.models))
    theta = coordinates.start
    mapped = coordinates.at(theta, 2)
    weights = np.random.default_rng(0).normal(size=len(mapped.point)) / np.abs(mapped.point)
    steps = 1e-4 * np.abs(theta)
    for i, step in enumerate(steps):
        shift = step * np.eye(len(theta))[i]
        above, below = (coordinates.at(theta + s).jacobian.T @ weights for s in (shift, -shift))
        np.testing.assert_allclose(
            mapped.bend(weights)[i] * theta, (above - below) / (2 * step) * theta, rtol=1e-5, atol=1e-6
        )


# --- together -----------------------------------------------------------------------------------------------


def everything() -> tuple[list[Any], Models]:
    """One of each of the five kinds, with one source in them."""
    place = {"lon_0": "83.63 deg", "lat_0": "22.01 deg"}
    source = power_law(spatial=PointSpatialModel(**place))
    modelled, measured = make_dataset("map", npix=61), on_off_map("measured")
    seen = [source, FoVBackgroundModel(dataset_name="map")]
    rng = np.random.default_rng(7)
    maps = [d.with_arrays(counts=rng.poisson(npred(d, seen))) for d in (modelled, measured)]
    models = Models(
        [
            power_law(index=2.3, amplitude=2e-11, spatial=PointSpatialModel(**place)),
            FoVBackgroundModel(dataset_name="map"),
            FoVBackgroundModel(dataset_name="modelled"),
        ]
    )
    return [*maps, on_off("spectrum"), spectrum("modelled"), flux_points()], models


def test_all_five_kinds_in_one_fit() -> None:
    datasets, models = everything()
    result = Fit().run(datasets, models)
    assert result.success, result.message
    assert result.names[:4] == ("crab.spectral.index", NORM, "crab.spatial.lon_0", "crab.spatial.lat_0")
    truth = dict(zip(result.names[:4], (2.6, AMPLITUDE, 83.63, 22.01), strict=True))
    for name, value in truth.items():
        assert abs(result.values[name] - value) < 4 * result.errors[name], name
    for dataset in datasets:
        dataset.models = result.models
        expected = dataset.stat_sum()
        assert result.stat_per_dataset[dataset.name] == pytest.approx(expected, abs=0.02), dataset.name
    agree(result, Fit(backend="minuit").run(*everything()), 0.02)


def test_spectra_say_nothing_about_a_place_that_maps_know() -> None:
    """The position is free and shared: the spectra neither move it nor know it better."""
    datasets, models = everything()
    alone = Fit().run(datasets[0], Models(list(models)[:2]))
    models["crab"].spectral_model.freeze()
    together = Fit().run([datasets[0], datasets[2]], Models(list(models)[:2]))
    for name in ("crab.spatial.lon_0", "crab.spatial.lat_0"):
        assert together.values[name] == pytest.approx(alone.values[name], abs=1e-3 * alone.errors[name])


def test_a_place_that_no_map_knows_is_named() -> None:
    model = power_law(spatial=PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg"))
    result = Fit().run(some_spectra(2), model)
    assert not result.success
    assert "the data do not determine" in result.message
    assert "crab.spatial.lon_0" in result.message
    model.spatial_model.freeze()
    assert Fit().run(some_spectra(2), model).success


def test_priors_limits_and_links_hold_for_spectra() -> None:
    datasets = some_spectra(3)
    model = power_law()
    model.spectral_model.index.prior = GaussianPrior(mu=2.0, sigma=1e-3)
    assert Fit().run(datasets, model).values[INDEX] == pytest.approx(2.0, abs=0.02)
    model = power_law(index=2.0)
    model.spectral_model.index.max = 2.3
    result = Fit().run(datasets, model)
    assert result.success
    assert result.values[INDEX] == 2.3
    assert "at a limit" in result.message
    first, second = power_law(datasets_names=["obs-0"]), power_law("other", datasets_names=["obs-1", "obs-2"])
    second.spectral_model.index = first.spectral_model.index
    result = Fit().run(datasets, [first, second])
    assert result.names == (INDEX, NORM, "other.spectral.amplitude")


def test_intervals_and_profiles() -> None:
    datasets, model = some_spectra(4), power_law()
    fit = Fit()
    result = fit.run(datasets, model)
    interval = fit.minos(datasets, model)[NORM]
    assert interval.errp == pytest.approx(result.errors[NORM], rel=0.1)
    assert interval.errn == pytest.approx(result.errors[NORM], rel=0.1)


# --- where it means nothing ---------------------------------------------------------------------------------


def test_less_than_nothing_is_said() -> None:
    """Bins without ON and OFF counts would go on for ever: that is no minimum of the statistic."""
    faint = power_law(amplitude=1e-15)
    datasets = [on_off(f"obs-{i}", seed=30 + i, truth=faint, level=10.0) for i in range(3)]
    datasets = [d.with_arrays(counts=(0.7 * d.background.values).astype(int)) for d in datasets]
    model = power_law(amplitude=1e-12)
    model.spectral_model.index.frozen = True
    result = Fit().run(datasets, model)
    assert result.values[NORM] < 0
    assert not result.success
    assert "counts are predicted below zero" in result.message
    limited = power_law(amplitude=1e-12)
    limited.spectral_model.index.frozen, limited.spectral_model.amplitude.min = True, 0.0
    result = Fit().run(datasets, limited)
    assert result.success
    assert result.values[NORM] == 0
    assert not result.negative


def test_a_source_beside_the_region_is_refused() -> None:
    from gammaflow.errors import FitError

    model = power_law(spatial=PointSpatialModel(lon_0="85 deg", lat_0="22.01 deg"))
    model.spatial_model.freeze()
    with pytest.raises(FitError, match="the source lies outside every dataset"):
        Fit().run(some_spectra(1), model)


def test_datasets_are_asked_in_their_order() -> None:
    datasets, models = everything()
    problem = Problem.of(datasets, models)
    evaluator = LocalEvaluator(problem)
    assert [info.dataset for info in evaluator.info()] == [d.name for d in datasets]
    coordinates = Coordinates.of(problem)
    point = coordinates.point(coordinates.start)
    assert [state.dataset for state in evaluator.nuisances(point)] == [d.name for d in datasets]
    reply = evaluator.evaluate(Request.at(point))
    assert reply.datasets == 5
    assert reply.stat[0] == pytest.approx(sum(s.stat for s in evaluator.nuisances(point)), rel=1e-12)


@pytest.mark.slow
def test_errors_of_spectra_cover_the_truth_as_often_as_they_should() -> None:
    """400 simulated joint fits of ten spectra: pulls of mean 0 and width 1."""
    pulls = []
    for trial in range(400):
        datasets = [on_off(f"obs-{i}", seed=1000 * trial + i, level=5.0) for i in range(10)]
        result = Fit().run(datasets, power_law())
        assert result.success, result.message
        pulls.append(
            [
                (result.values[name] - truth) / result.errors[name]
                for name, truth in ((INDEX, 2.6), (NORM, AMPLITUDE))
            ]
        )
    found = np.array(pulls)
    np.testing.assert_array_less(np.abs(found.mean(axis=0)), 4 / np.sqrt(400))
    np.testing.assert_allclose(found.std(axis=0), 1.0, atol=4 / np.sqrt(800))

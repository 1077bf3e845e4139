"""The minimum, on likelihoods of a few lines: where it is, what it costs, and what is said when there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gammaflow.errors import FitError
from gammaflow.fit import Fit, FitProgress, Problem
from gammaflow.modeling import GaussianPrior, Models, UniformPrior
from tests.fit.toy import EDGES, ToyDataset, ToyEvaluator, background, brute_force, source, toy_problem

SHARED = ("toy.spectral.amplitude", "toy.spectral.index", "toy.spectral.lambda_")


def factory(made: list[ToyEvaluator] | None = None) -> Callable[..., ToyEvaluator]:
    def make(problem: Problem, options: Any) -> ToyEvaluator:
        evaluator = ToyEvaluator(problem, options)
        if made is not None:
            made.append(evaluator)
        return evaluator

    return make


def run(datasets: list[ToyDataset], models: Models, **options: Any) -> Any:
    return Fit(**options).run(datasets, models, client=factory())


def names_of(datasets: list[ToyDataset]) -> list[str]:
    return [*SHARED, *(f"{d.name}-bkg.spectral.norm" for d in datasets)]


@pytest.mark.parametrize("n", [1, 10, 30])
def test_the_minimum_and_its_covariance_are_those_of_brute_force(n: int) -> None:
    datasets, models = toy_problem(n, seed=3)
    values, covariance, stat = brute_force(datasets, models)
    result = run(datasets, models, tolerance=1e-12)
    errors = np.sqrt(np.diag(covariance))
    names = names_of(datasets)
    found = np.array([result.values[name] for name in names])
    assert result.success
    assert np.abs((found - values) / errors).max() < 1e-6
    matrix = result.covariance.matrix(names)
    assert np.abs((matrix - covariance) / np.outer(errors, errors)).max() < 1e-6
    assert result.total_stat == pytest.approx(stat, abs=1e-6)
    assert [result.errors[name] for name in names] == pytest.approx(errors, rel=1e-6)


@pytest.mark.parametrize(
    "start",
    [
        {"amplitude": "5e-12 cm-2 s-1 TeV-1"},
        {"amplitude": "0.2e-12 cm-2 s-1 TeV-1", "index": 1.2},
        {"index": 2.6, "lambda_": "0.5 TeV-1"},
        {"amplitude": "3e-12 cm-2 s-1 TeV-1", "lambda_": "0.02 TeV-1", "index": 2.9},
        {"amplitude": "0.2e-12 cm-2 s-1 TeV-1", "lambda_": "0.5 TeV-1", "index": 3.0},
    ],
    ids=[
        "5x too bright",
        "hard and faint",
        "soft, early cutoff",
        "bright, late cutoff",
        "faint, soft, early",
    ],
)
def test_bad_starts_take_few_trips_to_the_same_place(start: dict[str, Any]) -> None:
    datasets, models = toy_problem(20, seed=1)
    expected = run(datasets, models)
    other = Models([source(**start), *(background(d.name) for d in datasets)])
    made: list[ToyEvaluator] = []
    result = Fit().run(datasets, other, client=factory(made))
    assert result.success
    assert result.trips <= 8
    assert len(made[0].requests) == result.trips == result.nfev
    for name in names_of(datasets):
        assert abs(result.values[name] - expected.values[name]) < 2e-4 * expected.errors[name]


def test_the_work_grows_with_the_datasets_and_the_trips_do_not() -> None:
    trips, replies = [], []
    for n in (4, 40):
        datasets, models = toy_problem(n, seed=2)
        made: list[ToyEvaluator] = []
        trips.append(Fit().run(datasets, models, client=factory(made)).trips)
        replies.append(made[0].largest_reply)
    assert max(trips) <= 8
    assert replies[0] == replies[1] <= 4096


def test_values_errors_and_covariance_are_written_to_the_models() -> None:
    datasets, models = toy_problem(3)
    result = run(datasets, models)
    spectrum = models["toy"].spectral_model
    assert spectrum.index.value == result.values["toy.spectral.index"]
    assert spectrum.index.error == pytest.approx(result.errors["toy.spectral.index"])
    norm = models["run-1-bkg"].spectral_model.norm
    assert norm.value == result.values["run-1-bkg.spectral.norm"]
    written = models.covariance.get_subcovariance([spectrum.index, norm]).data
    expected = result.covariance.matrix(["toy.spectral.index", "run-1-bkg.spectral.norm"])
    np.testing.assert_allclose(written, expected, rtol=1e-12)
    assert result.models["toy"] is models["toy"]


def test_optimize_leaves_errors_alone_and_covariance_values() -> None:
    datasets, models = toy_problem(3)
    result = Fit().optimize(datasets, models, client=factory())
    assert result.covariance is None
    assert models["toy"].spectral_model.index.error == 0
    before = models.parameters.value
    found = Fit().covariance(datasets, models, client=factory())
    np.testing.assert_allclose(models.parameters.value, before, rtol=1e-4)
    assert found.success
    assert found.matrix.shape == (len(models.parameters),) * 2
    assert models["toy"].spectral_model.index.error > 0


def test_frozen_parameters_stay_and_do_not_count() -> None:
    datasets, models = toy_problem(4)
    models["toy"].spectral_model.index.value = 2.3
    models["toy"].spectral_model.index.frozen = True
    models["run-2-bkg"].spectral_model.norm.value = 0.93
    models["run-2-bkg"].spectral_model.norm.frozen = True
    result = run(datasets, models)
    assert result.success
    assert models["toy"].spectral_model.index.value == 2.3
    assert models["run-2-bkg"].spectral_model.norm.value == 0.93
    assert "toy.spectral.index" not in result.names
    assert "run-2-bkg.spectral.norm" not in result.names


def test_a_norm_linked_between_backgrounds_is_one_parameter() -> None:
    datasets, models = toy_problem(4)
    shared = models["run-0-bkg"].spectral_model.norm
    for name in ("run-1-bkg", "run-2-bkg"):
        models[name].spectral_model.norm = shared
    result = run(datasets, models)
    assert result.success
    assert result.names[3] == "run-0-bkg.spectral.norm"
    assert [p.dataset for p in result.fitted] == ["", "", "", "", "run-3"]
    # as if the three, each by itself, were told to be equal
    alone = run(datasets, toy_problem(4)[1])
    names = names_of(datasets)
    scale = np.array([alone.errors[name] for name in names])
    hessian = np.linalg.inv(alone.covariance.matrix(names) / np.outer(scale, scale))
    together = np.delete(np.diag(1 / scale), [4, 5], axis=1)
    together[4:6, 3] = 1 / scale[4:6]
    covariance = np.linalg.inv(together.T @ hessian @ together)
    assert result.errors["run-0-bkg.spectral.norm"] == pytest.approx(np.sqrt(covariance[3, 3]), rel=0.02)


def test_a_norm_promoted_to_a_shared_parameter_changes_nothing() -> None:
    """The two ways in which a parameter can be found agree: by its dataset, and by the fit."""
    datasets, models = toy_problem(3)
    local = run(datasets, models, tolerance=1e-12)
    shared = models["run-0-bkg"].spectral_model.norm
    models["run-1-bkg"].spectral_model.norm = shared
    together = run(datasets, models, tolerance=1e-12)
    assert together.total_stat > local.total_stat
    spectrum = models["toy"].spectral_model
    again = Fit(tolerance=1e-12).minos(datasets, models, [spectrum.index], client=factory())
    assert again["toy.spectral.index"].value == pytest.approx(together.values["toy.spectral.index"], rel=1e-6)


@pytest.mark.parametrize("where", ["source", "background"])
def test_a_prior_pulls_and_is_part_of_the_statistic(where: str) -> None:
    datasets, models = toy_problem(2)
    free = run(datasets, models, tolerance=1e-12)
    name = "toy.spectral.index" if where == "source" else "run-0-bkg.spectral.norm"
    parameter = (
        models["toy"].spectral_model.index if where == "source" else models["run-0-bkg"].spectral_model.norm
    )
    value, error = free.values[name], free.errors[name]
    parameter.prior = GaussianPrior(mu=value + error, sigma=error)
    pulled = run(datasets, models, tolerance=1e-12)
    assert pulled.values[name] == pytest.approx(value + 0.5 * error, abs=0.1 * error)
    assert pulled.errors[name] == pytest.approx(error / np.sqrt(2), rel=0.1)
    own = parameter.prior.value(pulled.values[name])
    assert pulled.total_stat > free.total_stat + own
    assert sum(pulled.stat_per_dataset.values()) + (own if where == "source" else 0) == pytest.approx(
        pulled.total_stat
    )


@pytest.mark.parametrize("how", ["limit", "uniform prior"])
def test_a_limit_is_kept_and_named(how: str) -> None:
    datasets, models = toy_problem(3, seed=4)
    free = run(datasets, models)
    index = models["toy"].spectral_model.index
    value, error = free.values["toy.spectral.index"], free.errors["toy.spectral.index"]
    index.value = value + 3 * error
    if how == "limit":
        index.min = value + error
    else:
        index.prior = UniformPrior(min=value + error, max=9)
    result = run(datasets, models)
    assert result.success
    assert result.at_limit == ("toy.spectral.index",)
    assert "at a limit: toy.spectral.index" in result.message
    assert result.values["toy.spectral.index"] == pytest.approx(value + error)
    assert np.isnan(result.errors["toy.spectral.index"])
    frozen = toy_problem(3, seed=4)[1]
    frozen["toy"].spectral_model.index.value = value + error
    frozen["toy"].spectral_model.index.frozen = True
    alike = run(datasets, frozen)
    assert result.errors["toy.spectral.amplitude"] == pytest.approx(
        alike.errors["toy.spectral.amplitude"], rel=1e-4
    )
    assert result.values["toy.spectral.lambda_"] == pytest.approx(
        alike.values["toy.spectral.lambda_"], rel=1e-3
    )


def test_a_limit_that_was_touched_on_the_way_is_left_again() -> None:
    datasets, models = toy_problem(5, seed=5)
    free = run(datasets, models)
    again = toy_problem(5, seed=5)[1]
    spectrum = again["toy"].spectral_model
    spectrum.lambda_.min, spectrum.lambda_.value = free.values["toy.spectral.lambda_"] - 0.02, 0.5
    spectrum.amplitude.value, spectrum.index.value, spectrum.index.min = 5e-12, 1.0, 1.0
    result = run(datasets, again)
    assert not result.at_limit
    assert result.values["toy.spectral.index"] == pytest.approx(free.values["toy.spectral.index"], rel=1e-4)


def test_a_local_parameter_at_its_limit_is_named() -> None:
    datasets, models = toy_problem(2)
    models["run-1-bkg"].spectral_model.norm.max = 0.5
    models["run-1-bkg"].spectral_model.norm.value = 0.4
    result = run(datasets, models)
    assert result.success
    assert "run-1-bkg.spectral.norm" in result.at_limit
    assert any("run-1-bkg.spectral.norm stands at its upper limit" in text for text in result.warnings)


def test_a_negative_amplitude_is_found_and_told() -> None:
    models = Models([source(), background("dip")])
    data = ToyDataset.simulate("dip", 3, source(), exposure=0.0)
    # a source that adds to every other bin what the background has there, and then takes 30 % of it away
    data.background = 5 * data.background
    seen = data.background * (np.arange(len(data.background)) % 2)
    fluxes = source().spectral_model.integral_values(EDGES)
    data.response = np.tile(seen[:, None] / fluxes.sum(), (1, len(fluxes)))
    data.counts = np.random.default_rng(1).poisson(data.background - 0.3 * seen).astype(float)
    for name in ("index", "lambda_"):
        models["toy"].spectral_model.parameters[name].frozen = True
    result = run([data], models)
    assert result.success
    value, error = result.values["toy.spectral.amplitude"], result.errors["toy.spectral.amplitude"]
    assert value == pytest.approx(-0.3e-12, abs=2.5 * error)
    assert value < -5 * error
    assert not result.negative
    assert result.total_stat == pytest.approx(
        brute_value(data, value, result.values["dip-bkg.spectral.norm"])
    )


def brute_value(data: ToyDataset, amplitude: float, norm: float) -> float:
    """The sum over every bin."""
    fluxes = source(amplitude=f"{amplitude} cm-2 s-1 TeV-1").spectral_model.integral_values(EDGES)
    mu = norm * data.background + data.response @ fluxes
    return 2 * float(mu.sum() - (data.counts * np.log(mu)).sum())


def test_predictions_below_zero_are_a_failure_with_a_reason() -> None:
    """Bins without counts reward a prediction below zero, which means nothing."""
    models = Models([source(), background("dip")])
    data = ToyDataset.simulate("dip", 3, source(), exposure=0.0)
    data.background = 5 * data.background
    seen = data.background * (np.arange(len(data.background)) % 2)
    data.response = np.tile(
        seen[:, None] / source().spectral_model.integral_values(EDGES).sum(), (1, len(EDGES) - 1)
    )
    data.counts = np.random.default_rng(1).poisson(data.background) * (seen == 0.0)
    for name in ("index", "lambda_"):
        models["toy"].spectral_model.parameters[name].frozen = True
    models["toy"].spectral_model.amplitude.min = -1.5e-12
    result = run([data], models)
    assert not result.success
    assert "predicted below zero" in result.message
    assert "lower limit" in result.message
    assert result.negative[0].negative_bins > 0
    assert any("below zero" in text for text in result.warnings)


def test_what_the_data_do_not_determine_is_named() -> None:
    datasets, models = toy_problem(3)
    twin = source("twin")
    twin.spectral_model.index = models["toy"].spectral_model.index
    twin.spectral_model.lambda_ = models["toy"].spectral_model.lambda_
    result = run(datasets, Models([*models, twin]))
    assert not result.success
    assert result.degenerate == (("toy.spectral.amplitude", "twin.spectral.amplitude"),)
    assert "do not determine toy.spectral.amplitude with twin.spectral.amplitude" in result.message
    assert np.isnan(result.errors["toy.spectral.amplitude"])
    assert np.isfinite(result.errors["toy.spectral.index"])
    single = run(datasets, toy_problem(3)[1])
    assert result.total_stat == pytest.approx(single.total_stat, abs=1e-6)


@pytest.mark.parametrize("start", [0.0, 1e-18])
def test_a_fit_may_start_without_flux(start: float) -> None:
    datasets, models = toy_problem(5, seed=5)
    expected = run(datasets, models.copy())
    models["toy"].spectral_model.amplitude.value = start
    models["toy"].spectral_model.amplitude.min = 0
    result = run(datasets, models)
    assert result.success
    assert result.total_stat == pytest.approx(expected.total_stat, abs=1e-6)


def test_the_index_of_a_source_without_flux_is_not_determined() -> None:
    datasets, models = toy_problem(2)
    ghost = source("ghost")
    ghost.spectral_model.amplitude.value = 0.0
    ghost.spectral_model.amplitude.frozen = True
    ghost.spectral_model.lambda_.frozen = True
    result = run(datasets, Models([*models, ghost]))
    assert not result.success
    assert result.degenerate == (("ghost.spectral.index",),)
    assert np.isfinite(result.errors["toy.spectral.index"])


def test_no_free_parameters_is_an_evaluation() -> None:
    datasets, models = toy_problem(2)
    for parameter in models.parameters:
        parameter.frozen = True
    result = run(datasets, models)
    assert result.success
    assert not result.fitted
    assert "no free parameters" in result.message
    assert result.trips == 1
    assert np.isfinite(result.total_stat)


def test_with_own_parameters_only_the_datasets_do_it_all() -> None:
    datasets, models = toy_problem(2)
    for parameter in models["toy"].parameters:
        parameter.frozen = True
    result = run(datasets, models)
    assert result.success
    assert result.names == ("run-0-bkg.spectral.norm", "run-1-bkg.spectral.norm")
    assert all(error > 0 for error in result.errors.values())


def test_too_few_trips_are_no_success() -> None:
    datasets, models = toy_problem(2)
    result = run(datasets, models, max_trips=2)
    assert not result.success
    assert "no convergence in 2 trips" in result.message


def test_a_start_without_a_prediction_is_refused() -> None:
    datasets, models = toy_problem(2)
    models["toy"].spectral_model.amplitude.value = -5e-11
    with pytest.raises(FitError, match=r"not positive in .* bins with counts"):
        run(datasets, models)


def test_progress_is_told_and_kept() -> None:
    datasets, models = toy_problem(3)
    told: list[FitProgress] = []
    result = Fit(callback=told.append).run(datasets, models, client=factory())
    assert tuple(told) == result.trace
    assert [step.trip for step in told] == list(range(1, result.trips + 1))
    stats = [step.stat for step in told]
    assert stats == sorted(stats, reverse=True)
    assert told[-1].edm < 1e-8


def test_the_result_is_json_and_text() -> None:
    datasets, models = toy_problem(2)
    models["toy"].spectral_model.index.max = 2.0
    models["toy"].spectral_model.index.value = 1.9
    result = run(datasets, models)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["success"] is True
    assert data["parameters"][0]["name"] == "toy.spectral.index"
    assert data["parameters"][0]["error"] is None
    assert data["at_limit"] == ["toy.spectral.index"]
    assert data["stat_per_dataset"].keys() == {"run-0", "run-1"}
    assert np.array(data["covariance"]["matrix"]).shape == (3, 3)
    text = str(result)
    assert "at its upper limit" in text
    assert "total stat" in text


def test_the_same_bits_whatever_was_fitted_before() -> None:
    datasets, models = toy_problem(3)
    first = run(datasets, models.copy())
    run(datasets, toy_problem(3)[1])
    second = run(datasets, models.copy())
    assert first.total_stat == second.total_stat
    assert first.values == second.values
    assert first.errors == second.errors

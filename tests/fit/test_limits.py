"""Intervals, profiles and contours, against MINUIT on the same function and against fits with parameters held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gammaflow.errors import FitError
from gammaflow.fit import Fit
from gammaflow.fit.limits import Limit
from gammaflow.modeling import Models
from tests.fit.test_newton import factory
from tests.fit.toy import ToyDataset, ToyEvaluator, toy_problem

INDEX, AMPLITUDE, LAMBDA = "toy.spectral.index", "toy.spectral.amplitude", "toy.spectral.lambda_"


@pytest.fixture(scope="module")
def fitted() -> tuple[list[ToyDataset], Models, Any]:
    datasets, models = toy_problem(10, seed=7)
    return datasets, models, Fit(tolerance=1e-12).run(datasets, models, client=factory())


def held(datasets: list[ToyDataset], values: dict[str, float], sigma_start: Models) -> float:
    """Fit statistic with some spectral parameters held."""
    models = sigma_start.copy()
    for name, value in values.items():
        parameter = models["toy"].spectral_model.parameters[name]
        parameter.value, parameter.frozen = value, True
    return float(Fit(tolerance=1e-12).run(datasets, models, client=factory()).total_stat)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_intervals_are_those_of_minos(fitted: tuple[list[ToyDataset], Models, Any], sigma: float) -> None:
    datasets, models, result = fitted
    made: list[ToyEvaluator] = []
    found = Fit().minos(datasets, models, sigma=sigma, client=factory(made))
    assert found.keys() == {INDEX, AMPLITUDE, LAMBDA}
    reference = Fit("minuit", tolerance=1e-4).run(datasets, models.copy(), client=factory())
    minuit = reference.minuit
    minuit.errordef = sigma**2
    minuit.minos()
    for i, name in enumerate(reference.names[:3]):
        scale = minuit.values[i] / reference.values[name]
        theirs, ours = minuit.merrors[i], found[name]
        error = result.errors[name]
        assert ours.success
        assert ours.trips <= 4
        assert abs(-ours.errn - theirs.lower / scale) < 1e-3 * error
        assert abs(ours.errp - theirs.upper / scale) < 1e-3 * error
    # all six ends in the same trips
    assert len(made[0].requests) <= 8
    assert max(len(request.points) for request in made[0].requests) == 6


def test_the_statistic_has_risen_by_one_at_the_ends(fitted: tuple[list[ToyDataset], Models, Any]) -> None:
    datasets, models, result = fitted
    interval = Fit().minos(datasets, models, ["lambda_"], client=factory())[LAMBDA]
    for end in (interval.value - interval.errn, interval.value + interval.errp):
        assert held(datasets, {"lambda_": end}, models) - result.total_stat == pytest.approx(1, abs=1e-4)


def test_the_interval_of_a_dataset_s_own_parameter(fitted: tuple[list[ToyDataset], Models, Any]) -> None:
    datasets, models, result = fitted
    name = "run-3-bkg.spectral.norm"
    interval = Fit().minos(datasets, models, [models["run-3-bkg"].spectral_model.norm], client=factory())[
        name
    ]
    assert interval.value == pytest.approx(result.values[name], rel=1e-6)
    assert interval.errp > interval.errn
    assert 0.5 * (interval.errp + interval.errn) == pytest.approx(result.errors[name], rel=0.02)


def test_an_interval_that_runs_into_a_limit_ends_there(fitted: tuple[list[ToyDataset], Models, Any]) -> None:
    datasets, models, result = fitted
    limited = models.copy()
    room = 0.3 * result.errors[LAMBDA]
    limited["toy"].spectral_model.lambda_.max = result.values[LAMBDA] + room
    interval = Fit().minos(datasets, limited, ["lambda_"], client=factory())[LAMBDA]
    assert interval.success
    assert interval.at_upper
    assert not interval.at_lower
    assert interval.errp == pytest.approx(room, rel=1e-4)


def test_a_pivot_energy_far_from_the_data_bends_no_interval(
    fitted: tuple[list[ToyDataset], Models, Any],
) -> None:
    """The interval of the index is the same wherever the amplitude is given.

    With a pivot at 1 keV the amplitude follows the index by a factor of 1000 within one standard deviation.
    """
    datasets, models, result = fitted
    wanted = Fit().minos(datasets, models, ["index"], client=factory())[INDEX]
    far = models.copy()
    spectral = far["toy"].spectral_model
    spectral.reference.value = 1e-9
    spectral.amplitude.value *= (1e-9) ** -spectral.index.value
    again = Fit(tolerance=1e-12).run(datasets, far, client=factory())
    assert again.total_stat == pytest.approx(result.total_stat, abs=1e-6)
    found = Fit().minos(datasets, far, ["index"], client=factory())[INDEX]
    assert found.success
    assert found.errn == pytest.approx(wanted.errn, rel=2e-3)
    assert found.errp == pytest.approx(wanted.errp, rel=2e-3)


@pytest.mark.parametrize("name", [INDEX, AMPLITUDE, LAMBDA])
def test_minimising_at_held_values_finds_the_same_ends(
    fitted: tuple[list[ToyDataset], Models, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done where the expansions lead nowhere."""
    datasets, models, _ = fitted
    wanted = Fit().minos(datasets, models, [name], client=factory())[name]

    def lost(limit: Limit, expansion: Any, variable: float) -> None:
        limit.done = True

    monkeypatch.setattr(Limit, "receive", lost)
    found = Fit().minos(datasets, models, [name], client=factory())[name]
    assert found.success
    assert found.errn == pytest.approx(wanted.errn, rel=2e-3)
    assert found.errp == pytest.approx(wanted.errp, rel=2e-3)
    limited = models.copy()
    room = 0.3 * wanted.errp
    limited["toy"].spectral_model.parameters[name.rpartition(".")[2]].max = wanted.value + room
    ends = Fit().minos(datasets, limited, [name], client=factory())[name]
    assert ends.at_upper
    assert ends.errp == pytest.approx(room, rel=1e-3)
    assert ends.errn == pytest.approx(wanted.errn, rel=2e-3)


def test_confidence_by_gammapy_s_name(fitted: tuple[list[ToyDataset], Models, Any]) -> None:
    datasets, models, result = fitted
    found = Fit().confidence(datasets, models["toy"].spectral_model.index, models=models, client=factory())
    assert found["success"]
    assert found["errp"] == pytest.approx(result.errors[INDEX], rel=0.1)
    assert found["errn"] == pytest.approx(result.errors[INDEX], rel=0.1)


def test_a_profile_is_a_row_of_fits(fitted: tuple[list[ToyDataset], Models, Any]) -> None:
    datasets, models, result = fitted
    made: list[ToyEvaluator] = []
    points = result.values[INDEX] + result.errors[INDEX] * np.array([-3.0, -1.0, 0.0, 2.0])
    scan = Fit().profile(datasets, "index", points, models, client=factory(made))
    assert scan.success.all()
    assert scan.trips <= 6
    np.testing.assert_array_equal(scan.values[:, 0], points)
    expected = [held(datasets, {"index": float(value)}, models) for value in points]
    np.testing.assert_allclose(scan.stat, expected, atol=1e-6)
    place = result.names.index(INDEX)
    np.testing.assert_allclose(scan.others[:, place], points)


def test_a_slice_holds_the_other_parameters_but_not_those_of_the_datasets(
    fitted: tuple[list[ToyDataset], Models, Any],
) -> None:
    datasets, models, result = fitted
    value = result.values[INDEX] + result.errors[INDEX]
    free = Fit().profile(datasets, INDEX, [value], models, client=factory())
    held_scan = Fit().profile(datasets, INDEX, [value], models, reoptimize=False, client=factory())
    others = {"index": value, "amplitude": result.values[AMPLITUDE], "lambda_": result.values[LAMBDA]}
    assert held_scan.stat[0] > free.stat[0]
    assert held_scan.stat[0] == pytest.approx(held(datasets, others, models), abs=1e-6)


def test_profile_and_surface_by_gammapy_s_names(fitted: tuple[list[ToyDataset], Models, Any]) -> None:
    datasets, models, result = fitted
    spectrum = models["toy"].spectral_model
    line = Fit().stat_profile(datasets, spectrum.index, reoptimize=True, models=models, client=factory())
    assert line[f"{INDEX}_scan"].shape == (11,)
    assert line["stat_scan"].min() == pytest.approx(result.total_stat, abs=1e-4)
    assert line["stat_scan"][0] - result.total_stat == pytest.approx(4, rel=0.2)
    spectrum.index.scan_n_values = spectrum.lambda_.scan_n_values = 3
    plane = Fit().stat_surface(datasets, spectrum.index, spectrum.lambda_, models=models, client=factory())
    spectrum.index.scan_n_values = spectrum.lambda_.scan_n_values = 11
    assert plane["stat_scan"].shape == (3, 3)
    assert plane["stat_scan"].min() == plane["stat_scan"][1, 1]


def test_a_contour_is_where_the_statistic_has_risen(fitted: tuple[list[ToyDataset], Models, Any]) -> None:
    datasets, models, result = fitted
    line = Fit().contour(datasets, "index", "lambda_", sigma=1.5, points=8, models=models, client=factory())
    assert line.success
    assert line.trips <= 5
    for x, y in zip(line.x, line.y, strict=True):
        rise = held(datasets, {"index": float(x), "lambda_": float(y)}, models) - result.total_stat
        assert rise == pytest.approx(2.25, rel=2e-3)
    interval = Fit().minos(datasets, models, ["index"], sigma=1.5, client=factory())[INDEX]
    assert line.x.max() <= interval.value + interval.errp * 1.001
    assert line.x.max() == pytest.approx(interval.value + interval.errp, abs=0.1 * interval.errp)
    named = Fit().stat_contour(datasets, "index", "lambda_", 6, models=models, client=factory())
    assert named["success"]
    assert named[INDEX].shape == named[LAMBDA].shape == (6,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda fit, d, m: fit.minos(d, m, ["nonsense"], client=factory()),
            "no free parameters are 'nonsense'",
        ),
        (lambda fit, d, m: fit.minos(d, m, ["norm"], client=factory()), "10 free parameters are 'norm'"),
        (
            lambda fit, d, m: fit.profile(d, "index", [-1e9], _limited(m), client=factory()),
            "outside the limits",
        ),
    ],
)
def test_questions_that_mean_nothing(
    fitted: tuple[list[ToyDataset], Models, Any], call: Any, message: str
) -> None:
    datasets, models, _ = fitted
    with pytest.raises(FitError, match=message):
        call(Fit(), datasets, models)


def _limited(models: Models) -> Models:
    limited = models.copy()
    limited["toy"].spectral_model.index.min = 0
    return limited

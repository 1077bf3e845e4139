"""MINUIT on the same profile likelihood."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.errors import FitError
from gammaflow.fit import Fit
from gammaflow.modeling import GaussianPrior
from tests.fit.test_newton import SHARED, factory
from tests.fit.toy import brute_force, toy_problem


def test_both_backends_agree() -> None:
    datasets, models = toy_problem(10, seed=6)
    newton = Fit().run(datasets, models.copy(), client=factory())
    minuit = Fit("minuit").run(datasets, models.copy(), client=factory())
    assert minuit.success
    assert minuit.backend == "minuit"
    assert "valid minimum" in minuit.message
    assert minuit.names == newton.names
    for name in newton.names:
        assert abs(minuit.values[name] - newton.values[name]) < 0.02 * newton.errors[name]
        assert minuit.errors[name] == pytest.approx(newton.errors[name], rel=0.02)
    assert minuit.total_stat - newton.total_stat == pytest.approx(0, abs=2e-3)


def test_hesse_agrees_with_the_exact_covariance() -> None:
    datasets, models = toy_problem(5, seed=6)
    _, covariance, _ = brute_force(datasets, models)
    result = Fit("minuit", tolerance=1e-4).run(datasets, models, client=factory())
    minuit = result.minuit
    minuit.strategy = 2
    minuit.hesse()
    for i, name in enumerate(result.names[:3]):
        scale = minuit.values[i] / result.values[name]
        exact = np.sqrt(covariance[SHARED.index(name), SHARED.index(name)])
        assert minuit.errors[i] / scale == pytest.approx(exact, rel=0.02)
        assert result.errors[name] == pytest.approx(exact, rel=1e-3)


def test_limits_and_priors_reach_minuit() -> None:
    datasets, models = toy_problem(5, seed=6)
    spectrum = models["toy"].spectral_model
    spectrum.index.max = 2.4
    spectrum.index.value = 2.2
    spectrum.lambda_.prior = GaussianPrior(mu=0.3, sigma=0.01)
    newton = Fit().run(datasets, models.copy(), client=factory())
    minuit = Fit("minuit").run(datasets, models.copy(), client=factory())
    for name in SHARED:
        spread = newton.errors[name] if np.isfinite(newton.errors[name]) else 0.02
        assert abs(minuit.values[name] - newton.values[name]) < 0.05 * spread
    assert minuit.values["toy.spectral.index"] <= 2.4


def test_a_start_without_a_prediction_is_refused_here_too() -> None:
    datasets, models = toy_problem(2)
    models["toy"].spectral_model.amplitude.value = -5e-11
    with pytest.raises(FitError, match="not positive"):
        Fit("minuit").run(datasets, models, client=factory())


def test_an_unknown_backend() -> None:
    with pytest.raises(FitError, match="no backend 'sherpa'"):
        Fit("sherpa")

"""Priors: -2 ln p, and its derivatives."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from gammaflow.errors import ModelError
from gammaflow.modeling import (
    GaussianPrior,
    GeneralizedGaussianPrior,
    LogUniformPrior,
    Parameter,
    Prior,
    UniformPrior,
)
from tests.modeling.catalogue import reference

CASES = [
    (GaussianPrior(mu=1.5, sigma=0.3, weight=2), 1.9, 2 * -2 * stats.norm(1.5, 0.3).logpdf(1.9)),
    (UniformPrior(min=-1, max=3), 0.5, -2 * stats.uniform(-1, 4).logpdf(0.5)),
    (LogUniformPrior(min=1e-13, max=1e-10), 3e-12, -2 * stats.loguniform(1e-13, 1e-10).logpdf(3e-12)),
    (
        GeneralizedGaussianPrior(mu=1, sigma=0.5, eta=0.4),
        1.7,
        -2 * stats.gennorm(2.5, 1, 0.5 * np.sqrt(2)).logpdf(1.7),
    ),
    (GeneralizedGaussianPrior(mu=1, sigma=0.5), 0.2, -2 * stats.norm(1, 0.5).logpdf(0.2)),
]


@pytest.mark.parametrize(("prior", "x", "expected"), CASES, ids=[repr(c[0]) for c in CASES])
def test_value_and_derivatives(prior: Prior, x: float, expected: float) -> None:
    value, first, second = prior.derivatives(x)
    assert value == pytest.approx(expected, rel=1e-12)
    assert prior(Parameter("p", x)) == value
    step = 1e-4 * abs(x)
    sides = [prior.derivatives(x + sign * step) for sign in (-1, 1)]
    assert first == pytest.approx((sides[1][0] - sides[0][0]) / (2 * step), rel=1e-5, abs=1e-9)
    assert second == pytest.approx((sides[1][1] - sides[0][1]) / (2 * step), rel=1e-5, abs=1e-9)


def test_values_are_gammapys() -> None:
    gaussian, uniform = reference()["priors"]
    assert GaussianPrior(mu=1e-12, sigma=2e-13)(1.3e-12) == pytest.approx(gaussian)
    assert UniformPrior(min=1, max=4)(2) == pytest.approx(uniform)


def test_outside_a_uniform_prior() -> None:
    assert UniformPrior(min=0, max=1).value(1.5) == np.inf
    assert LogUniformPrior(min=1, max=2).value(0.5) == np.inf


@pytest.mark.parametrize("prior", [case[0] for case in CASES])
def test_files_keep_them(prior: Prior) -> None:
    assert Prior.from_dict(prior.to_dict()) == prior
    assert hash(Prior.from_dict(prior.to_dict())) == hash(prior)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: GaussianPrior(sigma=0), "must be positive"),
        (lambda: GaussianPrior(mean=0), "unknown argument 'mean'"),
        (lambda: GaussianPrior(mu=np.nan), "not finite"),
        (lambda: UniformPrior(min=2, max=1), "not above"),
        (lambda: LogUniformPrior(min=0, max=1), "must be positive"),
        (lambda: Prior.from_dict({"type": "GausianPrior"}), "Did you mean 'GaussianPrior'"),
        (lambda: GaussianPrior().width, "no attribute 'width'"),
    ],
)
def test_wrong_numbers_are_refused(action, message: str) -> None:
    with pytest.raises((ModelError, AttributeError), match=message):
        action()


class Exponential(Prior):
    """A user's prior, p = exp(-x / scale) / scale."""

    tag = "ExponentialTestPrior"
    defaults: ClassVar[dict[str, float]] = {"scale": 1.0}

    def derivatives(self, x):
        return 2 * (x / self.scale + np.log(self.scale)), 2 / self.scale, 0.0


def test_a_users_prior_is_registered() -> None:
    prior = Prior.from_dict({"type": "ExponentialTestPrior", "parameters": [{"name": "scale", "value": 2}]})
    assert_allclose(prior.derivatives(3), [2 * (1.5 + np.log(2)), 1, 0])

"""The inner loop: a dataset's own parameters, against a general minimiser."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from scipy.optimize import minimize

from gammaflow.likelihood.active_bins import ActiveBins
from gammaflow.likelihood.background_factor import BackgroundFactor, prior_terms
from gammaflow.likelihood.nuisance import Background
from gammaflow.modeling import (
    FoVBackgroundModel,
    GaussianPrior,
    PiecewiseNormSpectralModel,
    PowerLawNormSpectralModel,
    SpectralModel,
    UniformPrior,
)

ENERGIES = np.geomspace(0.6, 15.0, 6)


def power_law(tilt: bool = True, **limits: float) -> PowerLawNormSpectralModel:
    model = PowerLawNormSpectralModel(norm=1.0, tilt=0.0, reference="2 TeV")
    model.tilt.frozen = not tilt
    model.norm.set_lim(**limits)
    return model


def piecewise() -> PiecewiseNormSpectralModel:
    return PiecewiseNormSpectralModel(np.array([0.5, 3.0, 20.0]) * u.TeV, [1.0, 1.0, 1.0])


def bins(seed: int = 1, norm: float = 1.3, tilt: float = 0.2) -> tuple[ActiveBins, np.ndarray]:
    """300 active bins and the source counts in them."""
    rng = np.random.default_rng(seed)
    energy = np.sort(rng.integers(0, 6, 300))
    background = rng.uniform(0.01, 1.0, 300) * ENERGIES[energy] ** -1
    factor = norm * (ENERGIES / 2) ** -tilt
    total = 30.0 * ENERGIES**-1
    signal = rng.exponential(0.3, 300)
    return (
        ActiveBins(
            counts=1.0 + rng.poisson(signal + factor[energy] * background),
            energy=energy,
            background=background,
            fixed=np.zeros(300),
            background_total=total + np.bincount(energy, background, 6),
            counts_outside=rng.poisson(factor * total).astype(float),
        ),
        signal,
    )


def background_of(spectral: SpectralModel, active: ActiveBins) -> Background:
    factor = BackgroundFactor.of(ENERGIES, FoVBackgroundModel(spectral, dataset_name="one"))
    return Background(active, factor, np.ones(len(factor.names), dtype=bool))


MODELS = {"norm": lambda: power_law(False), "norm and tilt": power_law, "piecewise": piecewise}


@pytest.mark.parametrize("case", MODELS)
def test_the_minimum_is_that_of_a_general_minimiser(case: str) -> None:
    active, signal = bins()
    background = background_of(MODELS[case](), active)
    p = len(background.start)

    def f(values: np.ndarray) -> float:
        return float(background.inner(values[None], signal[None]).value[0])

    expected = minimize(
        f, background.start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000}
    )
    found = background.profile(signal[None], np.array([signal.sum()]), np.zeros((1, p)))
    assert found.inner.value[0] <= expected.fun + 1e-9
    np.testing.assert_allclose(found.values[0], expected.x, atol=2e-4)
    sigma = np.sqrt(np.diag(np.linalg.inv(found.inner.hessian[0])))
    np.testing.assert_array_less(np.abs(found.inner.gradient[0]) * sigma, 1e-5)
    assert found.inside.all()


@pytest.mark.parametrize("case", MODELS)
def test_gradient_and_hessian(case: str) -> None:
    active, signal = bins()
    background = background_of(MODELS[case](), active)
    at = background.start + 0.07 * (1 + np.arange(len(background.start)))
    here = background.inner(at[None], signal[None])
    for i, step in enumerate(1e-4 * np.eye(len(at))):
        up, down = (background.inner((at + s * step)[None], signal[None]) for s in (1, -1))
        assert here.gradient[0, i] == pytest.approx((up.value[0] - down.value[0]) / 2e-4, rel=1e-6)
        np.testing.assert_allclose(here.hessian[0, i], (up.gradient[0] - down.gradient[0]) / 2e-4, rtol=1e-5)


@pytest.mark.parametrize("case", MODELS)
def test_many_points_are_found_together(case: str) -> None:
    """A single point is searched for by other code than many; both must come to the same."""
    active, signal = bins()
    background = background_of(MODELS[case](), active)
    p = len(background.start)
    scales = np.linspace(-0.02, 3.0, 25)
    signals = scales[:, None] * signal
    together = background.profile(signals, signals.sum(axis=1), np.zeros((25, p)))
    for i in (0, 7, 24):
        alone = background.profile(signals[i : i + 1], signals[i : i + 1].sum(axis=1), np.zeros((1, p)))
        np.testing.assert_allclose(together.values[i], alone.values[0], rtol=1e-9, atol=1e-12)
        for name, array in vars(together.inner).items():
            there = getattr(alone.inner, name)[0]
            np.testing.assert_allclose(array[i], there, rtol=1e-7, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("factors", "expected"), [((1.1, 2.0), -1), ((0.5, 0.9), 1)])
def test_limits_are_kept(factors: tuple[float, float], expected: int) -> None:
    active, signal = bins(tilt=0.0)
    free = background_of(power_law(), active)
    best = free.profile(signal[None], np.array([signal.sum()]), np.zeros((1, 2))).values[0]
    at_best = best[free.factor.names.index("norm")]
    limits = {"min": factors[0] * at_best, "max": factors[1] * at_best}
    background = background_of(power_law(**limits), active)
    found = background.profile(signal[None], np.array([signal.sum()]), np.zeros((1, 2)))
    names = background.factor.names
    norm, tilt = names.index("norm"), names.index("tilt")
    assert found.at_limit[0, norm] == expected
    assert found.values[0, norm] == limits["min" if expected < 0 else "max"]
    assert not found.inside[0, norm]
    # the other one is at its minimum given that
    assert found.inside[0, tilt]
    sigma = found.inner.hessian[0, tilt, tilt] ** -0.5
    assert abs(found.inner.gradient[0, tilt]) * sigma < 1e-4


def test_a_shared_parameter_stays_as_given() -> None:
    active, signal = bins()
    factor = BackgroundFactor.of(ENERGIES, FoVBackgroundModel(power_law(), dataset_name="one"))
    local = np.array([name == "norm" for name in factor.names])
    background = Background(active, factor, local)
    shared = np.where(local, 99.0, 0.4)[None]
    found = background.profile(signal[None], np.array([signal.sum()]), shared)
    assert found.values[0][~local] == 0.4
    assert abs(found.inner.gradient[0][local][0]) < 1e-4
    np.testing.assert_array_equal(found.inside[0], local)


def test_priors_are_added_to_local_parameters_only() -> None:
    active, signal = bins()
    model = power_law()
    model.norm.prior = GaussianPrior(mu=0.5, sigma=0.05)
    model.tilt.prior = UniformPrior(min=-1, max=1)
    factor = BackgroundFactor.of(ENERGIES, FoVBackgroundModel(model, dataset_name="one"))
    at = np.array([[0.1, 1.2]]) if factor.names[0] == "tilt" else np.array([[1.2, 0.1]])
    plain = background_of(power_law(), active).inner(at, signal[None])
    norm = factor.names.index("norm")
    both = Background(active, factor, np.ones(2, dtype=bool)).inner(at, signal[None])
    expected = GaussianPrior(mu=0.5, sigma=0.05).value(1.2) + 2 * np.log(2)
    assert both.value[0] - plain.value[0] == pytest.approx(expected, rel=1e-9)
    assert both.hessian[0, norm, norm] - plain.hessian[0, norm, norm] == pytest.approx(2 / 0.05**2, rel=1e-9)
    shared = Background(active, factor, np.array([name != "norm" for name in factor.names]))
    assert shared.inner(at, signal[None]).value[0] - plain.value[0] == pytest.approx(2 * np.log(2), rel=1e-9)
    outside = prior_terms((UniformPrior(min=0, max=1),), np.array([[2.0]]))
    assert outside[0][0] == np.inf


def test_a_far_start_comes_home() -> None:
    """A tilt far off makes the Hessian indefinite."""
    active, signal = bins()
    near = background_of(power_law(), active)
    expected = near.profile(signal[None], np.array([signal.sum()]), np.zeros((1, 2))).values[0]
    for norm, tilt in ((20.0, -4.0), (0.01, 5.0), (1.0, 8.0)):
        model = power_law()
        model.norm.value, model.tilt.value = norm, tilt
        background = background_of(model, active)
        found = background.profile(signal[None], np.array([signal.sum()]), np.zeros((1, 2)))
        np.testing.assert_allclose(found.values[0], expected, atol=1e-6)

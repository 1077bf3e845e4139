"""From parameters to the shared coordinates of the likelihood."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.errors import FitError
from gammaflow.fit import Coordinates, Problem
from gammaflow.modeling import (
    DiskSpatialModel,
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    GaussianPrior,
    GaussianSpatialModel,
    LogParabolaSpectralModel,
    Parameter,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    SpectralModel,
)
from tests.fit.toy import EDGES, ToyDataset, background, source


def dataset(name: str = "one") -> ToyDataset:
    nothing = np.zeros(0)
    return ToyDataset(name, nothing, nothing, nothing, nothing)


def gaussian(name: str = "blob", limited: bool = False, e: float = 0.4) -> SkyModel:
    shape = GaussianSpatialModel(lon_0="83 deg", lat_0="22 deg", sigma="0.2 deg", e=e, phi="30 deg")
    shape.e.frozen = shape.phi.frozen = False
    if limited:
        shape.sigma.max = 1.0
    return SkyModel(LogParabolaSpectralModel(), shape, name=name)


def linked_pair() -> list[SkyModel]:
    first, second = source("first"), source("second")
    second.spectral_model.index = first.spectral_model.index
    second.spatial_model.lon_0.frozen = False
    return [first, second]


def linked_inside() -> list[SkyModel]:
    spectrum = ExpCutoffPowerLawSpectralModel(lambda_="0.1 TeV-1")
    spectrum.alpha = spectrum.index  # one parameter in two places of one spectrum
    spectrum.index.value = 1.5
    return [SkyModel(spectrum, PointSpatialModel(), name="one")]


def shared_background() -> list[SkyModel | FoVBackgroundModel]:
    first, second = background("one"), background("two")
    second.spectral_model.norm = first.spectral_model.norm
    return [source(), first, second]


def in_other_units() -> list[SkyModel]:
    shape = DiskSpatialModel(lon_0="1.4 rad", lat_0="20 arcmin", r_0="12 arcmin")
    return [SkyModel(PowerLawSpectralModel(amplitude="1e-9 m-2 s-1 GeV-1"), shape, name="disk")]


CASES = {
    "cutoff": lambda: [source()],
    "ellipse": lambda: [gaussian()],
    "circle": lambda: [gaussian(e=0.0)],
    "ellipse with a limit": lambda: [gaussian(limited=True)],
    "linked sources": linked_pair,
    "linked inside": linked_inside,
    "linked backgrounds": shared_background,
    "other units": in_other_units,
}


@pytest.mark.parametrize("case", CASES)
def test_derivatives_against_differences(case: str) -> None:
    coordinates = Coordinates.of(Problem.of([dataset("one"), dataset("two")], CASES[case]()))
    theta = coordinates.start
    found = coordinates.at(theta, 2)
    weights = np.random.default_rng(1).normal(size=len(found.point)) / np.maximum(np.abs(found.point), 1e-30)
    scales = np.maximum(coordinates.scales, np.abs(theta))
    jacobian, bend = found.jacobian * scales, found.bend(weights) * np.outer(scales, scales)
    for i, direction in enumerate(1e-4 * np.diag(scales)):
        up, down = coordinates.at(theta + direction), coordinates.at(theta - direction)
        slope = (up.point - down.point) / 2e-4
        np.testing.assert_allclose(slope, jacobian[:, i], rtol=1e-5, atol=1e-6 * np.abs(slope).max())
        curve = weights @ (up.jacobian - down.jacobian) * scales / 2e-4
        np.testing.assert_allclose(curve, bend[i], rtol=1e-4, atol=1e-5 * np.abs(bend).max())


def test_fluxes_are_those_of_the_spectrum_and_the_user_s_models_stay_as_they_are() -> None:
    model = source()
    coordinates = Coordinates.of(Problem.of(dataset(), [model]))
    before = model.spectral_model.integral_values(EDGES)
    np.testing.assert_allclose(coordinates.point(coordinates.start), before)
    coordinates.point(coordinates.start * 2)
    assert model.spectral_model.index.value == 2.3
    np.testing.assert_allclose(model.spectral_model.integral_values(EDGES), before)


def test_limits_and_priors_are_the_parameters_own() -> None:
    model = source()
    model.spectral_model.index.min, model.spectral_model.index.max = 1, 4
    model.spectral_model.lambda_.prior = GaussianPrior(mu=0.1, sigma=0.02)
    coordinates = Coordinates.of(Problem.of(dataset(), [model]))
    place = [name.rpartition(".")[2] for name in coordinates.names].index("index")
    assert coordinates.bounds[place].tolist() == [1, 4]
    total, first, second = coordinates.priors(coordinates.start + 0.02)
    other = coordinates.names.index("toy.spectral.lambda_")
    assert total == pytest.approx(model.spectral_model.lambda_.prior.value(0.12))
    assert first[other] == pytest.approx(2 * 0.02 / 0.02**2)
    assert second[other] == pytest.approx(2 / 0.02**2)
    assert np.count_nonzero(first) == 1


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("cutoff", ("toy.spectral.index", "toy.spectral.amplitude", "toy.spectral.lambda_")),
        (
            "linked backgrounds",
            ("toy.spectral.index", "toy.spectral.amplitude", "toy.spectral.lambda_", "one-bkg.spectral.norm"),
        ),
    ],
)
def test_names(case: str, names: tuple[str, ...]) -> None:
    problem = Problem.of([dataset("one"), dataset("two")], CASES[case]())
    assert Coordinates.of(problem).names == names
    assert not problem.local


def test_a_free_ellipse_comes_back_as_size_e_and_phi() -> None:
    coordinates = Coordinates.of(Problem.of(dataset(), [gaussian()]))
    values, jacobian = coordinates.external(coordinates.start)
    shown = dict(zip((name.rpartition(".")[2] for name in coordinates.names), values, strict=True))
    assert (shown["sigma"], shown["e"], shown["phi"]) == pytest.approx((0.2, 0.4, 30.0))
    assert np.count_nonzero(~coordinates.direct()) == 3
    assert np.isfinite(jacobian).all()


def test_an_angle_turns_freely_and_comes_back_into_its_limits() -> None:
    coordinates = Coordinates.of(Problem.of(dataset(), [gaussian(limited=True)]))
    place = coordinates.names.index("blob.spatial.phi")
    assert coordinates.direct().all()
    assert np.isinf(coordinates.bounds[place]).all()
    theta = coordinates.start.copy()
    theta[place] += 360
    np.testing.assert_allclose(coordinates.point(theta), coordinates.point(coordinates.start), rtol=1e-12)
    assert coordinates.external(theta)[0][place] == pytest.approx(30)


@pytest.mark.parametrize(
    ("there", "drift"),
    [((0.02, 60.0), 0.02), ((359.98, 60.0), 0.02), ((0.0, 60.3), 0.3)],
)
def test_drift_comes_round_and_knows_of_the_sphere(there: tuple[float, float], drift: float) -> None:
    model = SkyModel(PowerLawSpectralModel(), PointSpatialModel(lon_0="0 deg", lat_0="60 deg"), name="p")
    coordinates = Coordinates.of(Problem.of(dataset(), [model]))
    moved = coordinates.start.copy()
    moved[[coordinates.names.index("p.spatial.lon_0"), coordinates.names.index("p.spatial.lat_0")]] = there
    expected = drift * (0.5 if there[1] == 60.0 else 1.0)
    assert coordinates.drift(moved, coordinates.start) == pytest.approx(expected, rel=1e-3)


class Broken(SpectralModel):
    """Has no value above 1 TeV for a negative centre."""

    tag = ("BrokenForTestsSpectralModel", "broken-for-tests")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1")
    centre = Parameter("centre", "1 TeV")

    @staticmethod
    def evaluate(energy: np.ndarray, amplitude: float, centre: float) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return amplitude * np.sqrt(centre / energy)


def test_a_spectrum_without_a_value_is_refused_by_name() -> None:
    model = SkyModel(Broken(centre="-1 TeV"), PointSpatialModel(), name="odd")
    with pytest.raises(FitError, match=r"source 'odd'.*not finite"):
        Coordinates.of(Problem.of(dataset(), [model]))

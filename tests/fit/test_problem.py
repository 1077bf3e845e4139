"""What belongs to a fit, and what is refused before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gammaflow.errors import FitError, GammaflowError, ModelError
from gammaflow.fit import Fit, Problem
from gammaflow.modeling import FoVBackgroundModel, Models, PowerLawSpectralModel, SkyModel
from tests.fit.observed import observed, point
from tests.likelihood.synthetic import make_dataset


def out_of_limits() -> SkyModel:
    model = point()
    model.spectral_model.index.min = 3.0
    return model


def without_shape() -> SkyModel:
    return SkyModel(PowerLawSpectralModel(), name="bare")


ONE = observed([point()])
MASKED = make_dataset("one", seed=1, mask_safe=np.zeros((4, 81, 81), dtype=bool))

REFUSED: dict[str, tuple[Callable[[], tuple[Any, Any]], type[GammaflowError], str]] = {
    "no datasets": (lambda: ([], point()), FitError, "no datasets"),
    "no models": (lambda: (ONE, None), FitError, "no models"),
    "two of one name": (
        lambda: ([ONE, make_dataset("one")], point()),
        FitError,
        "two datasets are named 'one'",
    ),
    "background of another": (
        lambda: (ONE, [point(), FoVBackgroundModel(dataset_name="onne")]),
        FitError,
        "'onne', which is not there.*Did you mean 'one'",
    ),
    "source of another": (
        lambda: (ONE, point(datasets_names=["two", "three"])),
        FitError,
        "'two', which is not there",
    ),
    "out of limits": (lambda: (ONE, out_of_limits()), ModelError, "outside its limits"),
    "no shape": (lambda: (ONE, without_shape()), ModelError, "no spatial model"),
    "all masked": (lambda: (MASKED, point()), FitError, "every bin is masked"),
    "outside": (lambda: (ONE, point(lon=90.0)), FitError, "'source'.*lies outside every dataset"),
    "behind the sky": (
        lambda: (ONE, point(lon=263.6, lat=-22.0)),
        FitError,
        "'source'.*lies outside every dataset",
    ),
    "no reference": (lambda: (Reference("one"), point()), FitError, "cannot be condensed in this process"),
}


class Reference:
    """A dataset that is elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.geometry = ONE.geometry
        self.models = None


@pytest.mark.parametrize("case", REFUSED)
def test_a_clear_error(case: str) -> None:
    made, error, message = REFUSED[case]
    datasets, models = made()
    with pytest.raises(error, match=message):
        Fit().run(datasets, models)


def test_one_source_outside_does_not_hide_behind_another() -> None:
    with pytest.raises(FitError, match=r"'far'.*outside every dataset"):
        Fit().run(ONE, [point(), point("far", lon=95.0)])


def test_a_frozen_source_outside_is_nobody_s_business() -> None:
    far = point("far", lon=95.0)
    far.freeze()
    result = Fit().run(ONE, [point(), far, FoVBackgroundModel(dataset_name="one")])
    assert result.success


def test_one_masked_dataset_among_others_is_told() -> None:
    masked = make_dataset("two", mask_safe=np.zeros((4, 81, 81), dtype=bool))
    backgrounds = [FoVBackgroundModel(dataset_name=name) for name in ("one", "two")]
    result = Fit().run([ONE, masked], [point(), *backgrounds])
    assert result.success
    assert "dataset 'two': every bin is masked" in result.warnings
    assert result.values["two-bkg.spectral.norm"] == 1.0
    assert np.isnan(result.errors["two-bkg.spectral.norm"])
    assert np.isfinite(result.errors["one-bkg.spectral.norm"])


def test_a_model_for_some_datasets_that_are_not_here_is_told() -> None:
    result = Fit().run(ONE, [point(datasets_names=["one", "two"]), FoVBackgroundModel(dataset_name="one")])
    assert "model 'source' is also for two, not in this fit" in result.warnings


def test_a_dataset_keeps_its_own_background_model_unless_another_is_given() -> None:
    own = FoVBackgroundModel(dataset_name="one", name="own")
    dataset = ONE.copy()
    dataset.models = own
    assert Problem.of(dataset, point()).models.names == ["source", "own"]
    other = FoVBackgroundModel(dataset_name="one", name="other")
    assert Problem.of(dataset, [point(), other]).models.names == ["source", "other"]
    assert Problem.of(dataset).models.names == ["own"]


def test_the_user_s_collection_gets_the_covariance() -> None:
    models = Models([point(), FoVBackgroundModel(dataset_name="one")])
    result = Fit().run(ONE, models)
    index = models["source"].spectral_model.index
    amplitude = models["source"].spectral_model.amplitude
    found = models.covariance.get_subcovariance([index, amplitude]).data
    expected = result.covariance.matrix(["source.spectral.index", "source.spectral.amplitude"])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found[0, 1] != 0


def test_a_field_without_a_source_ends_at_the_amplitude_s_limit() -> None:
    dark = make_dataset("one", seed=4)
    counts = dark.array("counts").copy()
    counts[:, 30:51, 30:51] = 0
    model = point()
    model.spectral_model.amplitude.min = 0
    result = Fit().run(dark.with_arrays(counts=counts), [model, FoVBackgroundModel(dataset_name="one")])
    assert result.values["source.spectral.amplitude"] == 0
    assert result.at_limit == ("source.spectral.amplitude",)
    assert result.trips < 20
    assert not result.success
    assert "do not determine" in result.message
    assert result.values["one-bkg.spectral.norm"] < 1


def test_no_counts_at_all_leaves_nothing_but_limits() -> None:
    empty = make_dataset("one")
    model = point()
    model.spectral_model.amplitude.min = 0
    model.spatial_model.freeze()
    background = FoVBackgroundModel(dataset_name="one")
    background.spectral_model.norm.min = 0.1
    result = Fit().run(empty, [model, background])
    assert result.values["source.spectral.amplitude"] == 0
    assert result.values["one-bkg.spectral.norm"] == pytest.approx(0.1)
    assert {"source.spectral.amplitude", "one-bkg.spectral.norm"} <= set(result.at_limit)
    assert not result.success
    assert "do not determine" in result.message

"""What belongs to a fit, and what is refused before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gammaflow.datasets import MapDataset
from gammaflow.errors import DataError, FitError, GammaflowError, ModelError
from gammaflow.fit import Fit, Problem
from gammaflow.modeling import FoVBackgroundModel, Models, PowerLawSpectralModel, SkyModel
from tests.fit.observed import backgrounds, observed, point
from tests.likelihood.synthetic import make_dataset


def out_of_limits() -> SkyModel:
    model = point()
    model.spectral_model.index.min = 3.0
    return model


def without_shape() -> SkyModel:
    return SkyModel(PowerLawSpectralModel(), name="bare")


def changed(**parameters: float) -> SkyModel:
    """The source with other values of its parameters."""
    model = point()
    for name, value in parameters.items():
        model.parameters[name].value = value
    return model


def broken(name: str) -> MapDataset:
    """The dataset with NaN somewhere in an array."""
    values = np.array(ONE.array(name), dtype=float)
    values[1, 40 % values.shape[1]] = np.nan
    return ONE.with_arrays(**{name: values})


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
    "index is NaN": (lambda: (ONE, changed(index=np.nan)), ModelError, "'index': value is nan"),
    "place is NaN": (lambda: (ONE, changed(lon_0=np.nan)), ModelError, "'lon_0': value is nan"),
    "amplitude is infinite": (
        lambda: (ONE, changed(amplitude=np.inf)),
        ModelError,
        "'amplitude': value is inf",
    ),
    "exposure is NaN": (
        lambda: (broken("exposure"), point()),
        DataError,
        "dataset one, source source: exposure.*not finite",
    ),
    "psf is NaN": (lambda: (broken("psf"), point()), DataError, "dataset one: psf.*not finite"),
    "edisp is NaN": (lambda: (broken("edisp"), point()), DataError, "dataset one: edisp.*not finite"),
    "background is NaN": (
        lambda: (broken("background"), point()),
        DataError,
        "dataset one: the background is not finite",
    ),
    "predicted below zero": (
        lambda: (ONE, changed(amplitude=-3e-6)),
        FitError,
        "the prediction is not positive in [0-9]+ bins with counts",
    ),
    "two sources of one name": (
        lambda: (ONE, [point(), point()]),
        ModelError,
        "two models are named 'source'",
    ),
    "no model": (lambda: (ONE, ["source"]), ModelError, "neither a SkyModel nor a FoVBackgroundModel"),
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
    with pytest.raises(error, match=message):
        Fit().run(*made())


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


def test_an_end_that_is_no_minimum_has_no_errors() -> None:
    """Two sources of one place and spectrum: whatever one loses the other wins."""
    models = Models([point("first"), point("second"), *backgrounds("one")])
    result = Fit(max_trips=8).run(ONE, models)
    assert not result.success
    assert result.message
    assert not any(error == 0 for error in result.errors.values())

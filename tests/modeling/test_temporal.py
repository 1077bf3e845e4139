"""Temporal models: values, integrals."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from numpy.testing import assert_allclose

from gammaflow.errors import ModelError
from gammaflow.modeling import Model, Parameter, TemporalModel
from tests.modeling.catalogue import reference

CASES = reference()["temporal"]
START = Time(reference()["times"]["start"], format="mjd", scale="utc")
STOP = Time(reference()["times"]["stop"], format="mjd", scale="utc")


@pytest.mark.parametrize("case", CASES, ids=[f"{c['tag']}-{i}" for i, c in enumerate(CASES)])
def test_values_and_integrals_are_gammapys(case: dict) -> None:
    model = Model.create(case["tag"], "temporal", **case["parameters"])
    # a time is a float of days: 1e-11 of one is lost
    assert_allclose(model(START).value, case["values"], rtol=1e-9)
    assert_allclose(model.integral(START, STOP), case["integral"], rtol=1e-9)


def test_the_sine_is_integrated() -> None:
    model = Model.create("sinus", "temporal", amp=0.4, omega="3 rad / d", t_ref="55000 d")
    times = np.linspace(START.mjd, STOP.mjd, 200001)
    mean = np.trapezoid(1 + 0.4 * np.sin(3 * (times - 55000)), times, axis=0) / np.sum(
        (STOP - START).to_value("d")
    )
    assert_allclose(model.integral(START, STOP), mean, rtol=1e-8)


def test_a_constant_has_mean_1_whatever_the_scale() -> None:
    model = Model.create("const", "temporal", scale="tt")
    assert model.integral(START, STOP).sum() == pytest.approx(1)


class Step(TemporalModel):
    """A user's model."""

    tag = ("StepTemporalModel", "test-step")
    t_ref = Parameter("t_ref", "55000.3 d")

    @staticmethod
    def evaluate(time, t_ref):
        return np.where(time < t_ref, 0.0, 1.0)


def test_a_users_model_is_summed_over_100_times() -> None:
    model = Step()
    assert model.reference_time.mjd == pytest.approx(55000.3)
    one = model.integral(START[:1], STOP[:1])
    assert one == pytest.approx(0.5, abs=0.02)
    model.reference_time = Time(55000.2, format="mjd", scale="utc")
    assert model.t_ref.quantity.to_value(u.d) == pytest.approx(55000.2)


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="no time"):
        Step().integral(START[:0], STOP[:0])
    with pytest.raises(ModelError, match="time scale 'utz'"):
        Step(scale="utz")

"""Who may answer a fit's questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gammaflow.errors import FitError
from gammaflow.fit import Fit, Problem, full_check, register_client
from gammaflow.fit.evaluator import _CLIENTS, factory_for, local_evaluator
from gammaflow.likelihood import npred_signal, stat_sum
from gammaflow.modeling import FoVBackgroundModel, Models
from tests.fit.observed import observed, point
from tests.fit.toy import ToyEvaluator, toy_problem
from tests.likelihood.synthetic import make_dataset

ONE = observed([point()])


class Client:
    """Stands for a scheduler's."""

    __module__ = "somewhere.client"


class SpecialClient(Client):
    __module__ = "elsewhere"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []

    def factory_of(client: object) -> Any:
        seen.append(client)
        return ToyEvaluator

    monkeypatch.setitem(_CLIENTS, "elsewhere-before", factory_of)
    register_client("somewhere", factory_of)
    monkeypatch.setitem(_CLIENTS, "somewhere", factory_of)
    return seen


@pytest.mark.parametrize("kind", [Client, SpecialClient])
def test_a_registered_client_is_known_by_its_class_or_a_base_of_it(
    registered: list[object], kind: type
) -> None:
    client = kind()
    datasets, models = toy_problem(2)
    assert Fit().run(datasets, models, client=client).success
    assert registered == [client]


def test_no_client_is_this_process() -> None:
    assert factory_for(None) is local_evaluator


def test_a_client_that_nobody_knows() -> None:
    with pytest.raises(FitError, match=r"nobody knows how to fit with a builtins.int.*import gammaflow.dag"):
        factory_for(3)


def test_a_dataset_evaluated_elsewhere_gives_the_same_bits() -> None:
    """A factory that wraps the local one stands for workers."""
    calls: list[int] = []

    def elsewhere(problem: Problem, options: Any) -> Any:
        calls.append(len(problem.datasets))
        return local_evaluator(problem, options)

    def models() -> Models:
        return Models([point(), FoVBackgroundModel(dataset_name="one")])

    here, there = Fit().run(ONE, models()), Fit().run(ONE, models(), client=elsewhere)
    assert calls == [1]
    assert here.total_stat == there.total_stat
    assert here.values == there.values
    assert here.errors == there.errors


def test_the_full_check_is_the_sum_over_every_bin() -> None:
    models = [point(), FoVBackgroundModel(dataset_name="one")]
    found = full_check(ONE, models)
    assert found.stat == pytest.approx(stat_sum(ONE, models), rel=1e-12)
    assert found.negative_bins == 0
    models[0].spectral_model.amplitude.value = -3e-8
    assert full_check(ONE, models).negative_bins > 0


def test_a_source_that_takes_away_is_checked_over_every_bin() -> None:
    dataset = make_dataset("one", background=100.0)
    background = dataset.array("background").astype(float)
    signal = npred_signal(dataset, [point()])
    share = 0.5 * float((background[signal > 0] / signal[signal > 0]).min())
    counts = np.random.default_rng(2).poisson(background - share * signal)
    model = point()
    model.spatial_model.freeze()
    model.spectral_model.index.frozen = True
    seen = dataset.with_arrays(counts=counts.astype(np.int32))
    expected = -share * model.spectral_model.amplitude.value
    result = Fit().run(seen, [model, FoVBackgroundModel(dataset_name="one")])
    assert result.success
    value, error = result.values["source.spectral.amplitude"], result.errors["source.spectral.amplitude"]
    assert value < -3 * error
    assert value == pytest.approx(expected, abs=3 * error)
    full = full_check(seen, list(result.models))
    assert full.negative_bins == 0
    assert not result.negative
    assert result.total_stat == pytest.approx(full.stat, rel=1e-10)

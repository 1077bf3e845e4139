"""Fits on workers: the same bits as in one process, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from gammaflow import Analysis
from gammaflow.dag import faults
from gammaflow.dag.callbacks import History, read_events
from gammaflow.dag.clusters import local_cluster
from gammaflow.dag.engine import Timeouts
from gammaflow.dag.events import Event
from gammaflow.dag.fit_datasets import StoredDataset, stored_datasets
from gammaflow.dag.fit_events import FitFinished, FitStarted, FitStep
from gammaflow.dag.fit_run import FitPlan, RunFitResult, fit_run, with_backgrounds
from gammaflow.dag.fit_workers import DaskEvaluator, DaskEvaluators
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.status import status
from gammaflow.errors import DataError, FitError, RunTimeoutError, WorkersLostError
from gammaflow.fit import Fit, FitResult, LocalEvaluator, Problem
from tests.survey_models import FREE, copy_survey, make_survey, start_models

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
QUICK = Timeouts(task=30.0, workers=10.0, answer=20.0)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey of three observations, reduced: not to be changed."""
    folder = make_survey(tmp_path_factory.mktemp("survey"))
    Analysis(folder / "config.yaml", run=folder / "run").execute()
    return folder


@pytest.fixture(scope="module")
def references(survey: Path) -> tuple[StoredDataset, ...]:
    standing = status(survey / "run")
    return stored_datasets(standing.folder, standing.observations)


@pytest.fixture(scope="module")
def undisturbed(survey: Path, references: tuple[StoredDataset, ...]) -> FitResult:
    """The fit in this process."""
    return fit(survey, references, LocalEvaluator)


@pytest.fixture
def once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Faults happen once in all processes."""
    folder = tmp_path / "once"
    folder.mkdir()
    monkeypatch.setenv(faults.ONCE, str(folder))
    return folder


def fit(survey: Path, datasets: object, client: object, callback: Callable | None = None) -> FitResult:
    models = with_backgrounds(start_models(survey), [d for d in datasets if isinstance(d, StoredDataset)])
    return Fit(callback=callback).run(datasets, models, client=client)


def same_bits(found: FitResult, expected: FitResult) -> bool:
    assert found.converged, found.message
    assert expected.covariance is not None
    assert found.covariance is not None
    return (
        found.values == expected.values
        and found.errors == expected.errors
        and found.total_stat == expected.total_stat
        and found.stat_per_dataset == expected.stat_per_dataset
        and [step.stat for step in found.trace] == [step.stat for step in expected.trace]
        and np.array_equal(found.covariance.shared, expected.covariance.shared)
    )


# ------------------------------------------------------------------ nothing happens


def test_the_fit_finds_the_source(undisturbed: FitResult) -> None:
    assert undisturbed.names[:4] == FREE
    assert len(undisturbed.names) == 4 + 3  # a norm for each observation
    truth = dict(zip(FREE, (2.3, 8e-12, 330.1, 0.2), strict=True))
    for name, value in truth.items():
        assert abs(undisturbed.values[name] - value) < 4 * undisturbed.errors[name], name


def test_two_workers_give_the_bits_of_none(
    survey: Path, references: tuple[StoredDataset, ...], undisturbed: FitResult, shared_client: Client
) -> None:
    assert same_bits(fit(survey, references, shared_client), undisturbed)


def test_one_worker_gives_the_bits_of_none(
    survey: Path, references: tuple[StoredDataset, ...], undisturbed: FitResult
) -> None:
    with local_cluster(1, memory_limit="1 GiB", dashboard=False) as client:
        assert same_bits(fit(survey, references, client), undisturbed)


def test_datasets_in_memory_travel_whole(
    survey: Path, references: tuple[StoredDataset, ...], undisturbed: FitResult, shared_client: Client
) -> None:
    datasets = [reference.load() for reference in references]
    models = with_backgrounds(start_models(survey), references)
    assert same_bits(Fit().run(datasets, models, client=shared_client), undisturbed)


def test_minuit_finds_the_same_on_workers(
    survey: Path, references: tuple[StoredDataset, ...], undisturbed: FitResult, shared_client: Client
) -> None:
    models = with_backgrounds(start_models(survey), references)
    found = Fit(backend="minuit").run(references, models, client=shared_client)
    for name, value in undisturbed.values.items():
        assert abs(found.values[name] - value) < 0.05 * undisturbed.errors[name], name


def test_a_trip_is_one_small_task_a_shard(
    survey: Path, references: tuple[StoredDataset, ...], shared_client: Client
) -> None:
    problem = Problem.of(references, with_backgrounds(start_models(survey), references))
    evaluator = DaskEvaluator(problem, None, shared_client, QUICK, retries=0)
    try:
        assert evaluator.shards == 2
        assert [info.dataset for info in evaluator.info()] == [r.name for r in references]
        from gammaflow.fit.coordinates import Coordinates
        from gammaflow.likelihood import Request

        point = Coordinates.of(problem).point(Coordinates.of(problem).start)
        before = evaluator._tasks
        reply = evaluator.evaluate(Request.at(point))
        assert evaluator._tasks - before == 2
        assert reply.datasets == 3
        assert reply.nbytes < 4096
        assert [state.dataset for state in evaluator.nuisances(point)] == [r.name for r in references]
        assert {check.dataset for check in evaluator.check(point)} == {r.name for r in references}
    finally:
        evaluator.close()


def test_bins_below_zero_are_counted_on_workers_too(
    survey: Path, references: tuple[StoredDataset, ...], shared_client: Client
) -> None:
    models = with_backgrounds(start_models(survey), references)
    problem = Problem.of(references, models)
    evaluator = DaskEvaluator(problem, None, shared_client, QUICK, retries=0)
    try:
        models["point-power-law"].spectral_model.amplitude.value *= -10.0
        here, there = LocalEvaluator(problem).full_check(problem), evaluator.full_check(problem)
        assert here == there
        assert all(check.negative_bins > 0 for check in here)
    finally:
        evaluator.close()


def test_what_is_wrong_with_a_dataset_is_told_as_it_is(
    survey: Path, tmp_path: Path, shared_client: Client
) -> None:
    folder = copy_survey(survey, tmp_path)
    Analysis(folder / "config.yaml", run=folder / "run").execute()
    standing = status(folder / "run")
    stored = stored_datasets(standing.folder, standing.observations)
    changed = stored[1].load()
    changed.with_arrays(counts=changed.array("counts") + 1).write(stored[1].path, overwrite=True)
    for client in (LocalEvaluator, shared_client):
        with pytest.raises(DataError, match="not those of its receipt") as caught:
            fit(folder, stored, client)
        assert str(stored[1].path) in str(caught.value)


def test_a_source_outside_every_dataset_is_refused_on_workers(
    survey: Path, references: tuple[StoredDataset, ...], shared_client: Client
) -> None:
    models = with_backgrounds(start_models(survey), references)
    models["point-power-law"].spatial_model.lat_0.value = 40.0
    with pytest.raises(FitError, match="outside every dataset"):
        Fit().run(references, models, client=shared_client)


# ------------------------------------------------------------------ events


def test_a_fit_tells_how_it_goes_and_the_log_keeps_it(survey: Path, shared_client: Client) -> None:
    history = History()
    folder = RunFolder(survey / "run")
    result = fit_run(
        folder,
        start_models(survey),
        FitPlan("joint", name="told"),
        client=shared_client,
        callbacks=[history],
        timeouts=QUICK,
    )
    assert isinstance(result, RunFitResult)
    (started,) = history.of(FitStarted)
    assert (started.name, started.datasets, started.evaluator) == ("told", 3, "on 2 worker threads")
    steps = history.of(FitStep)
    assert [step.trip for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].edm is not None
    assert steps[-1].edm < 1e-8
    (finished,) = history.of(FitFinished)
    assert finished.status == "converged"
    logged = [e for e in read_events(folder.events) if e.get("name") == "told"]
    assert [e["event"] for e in logged] == ["FitStarted", *["FitStep"] * len(steps), "FitFinished"]


def test_a_fit_that_fails_says_so(survey: Path) -> None:
    models = start_models(survey)
    models["point-power-law"].spatial_model.lat_0.value = 40.0
    history = History()
    with pytest.raises(FitError):
        fit_run(RunFolder(survey / "run"), models, FitPlan(name="lost"), callbacks=[history])
    (finished,) = history.of(FitFinished)
    assert finished.status == "failed"
    assert "outside every dataset" in finished.message
    assert not (survey / "run" / "fits" / "lost").exists()


# ------------------------------------------------------------------ workers die

chaos = pytest.mark.chaos


def pids(client: Client) -> list[int]:
    return list(client.run(os.getpid).values())


def killer(client: Client, at_trip: int) -> Callable[[object], None]:
    """Kills a worker after a trip of the fit."""
    victims = pids(client)

    def callback(step: object) -> None:
        if step.trip == at_trip:  # type: ignore[attr-defined]  # a FitProgress
            os.kill(victims[0], signal.SIGKILL)

    return callback


@chaos
@pytest.mark.parametrize("trip", [1, 3])
def test_a_worker_killed_between_two_trips_changes_no_bit(
    survey: Path,
    references: tuple[StoredDataset, ...],
    undisturbed: FitResult,
    fresh_client: Client,
    trip: int,
) -> None:
    before = set(pids(fresh_client))
    found = fit(survey, references, fresh_client, killer(fresh_client, trip))
    assert same_bits(found, undisturbed)
    assert set(pids(fresh_client)) != before, "nobody was killed"


@pytest.fixture
def faulty_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A cluster whose workers have faults: they inherit the environment."""
    monkeypatch.setenv(faults.VARIABLE, request.param)
    with local_cluster(2, memory_limit="1 GiB", dashboard=False) as client:
        monkeypatch.delenv(faults.VARIABLE)
        yield client


@chaos
@pytest.mark.parametrize(
    ("faulty_client", "rebuilt"),
    [
        pytest.param("fit_step:shard-0=kill", 0, id="killed-in-a-step"),
        pytest.param("fit_load:shard-1=kill", 0, id="killed-while-loading"),
        pytest.param("fit_step:shard-0=stale", 1, id="a-bad-moment-of-the-file-system"),
        pytest.param("fit_step:shard-1=hang", 1, id="stuck", marks=pytest.mark.slow),
    ],
    indirect=["faulty_client"],
)
def test_a_fault_in_the_midst_of_a_trip_changes_no_bit(
    once: Path,
    survey: Path,
    references: tuple[StoredDataset, ...],
    undisturbed: FitResult,
    faulty_client: Client,
    rebuilt: int,
) -> None:
    made: list[DaskEvaluator] = []
    evaluators = DaskEvaluators(faulty_client, Timeouts(task=8.0, workers=20.0, answer=20.0), retries=2)

    def factory(problem: Problem, options: object) -> DaskEvaluator:
        made.append(evaluators(problem, None))
        return made[-1]

    assert same_bits(fit(survey, references, factory), undisturbed)
    assert len(list(once.iterdir())) == 1, "the fault did not happen"
    assert sum(evaluator.rebuilt for evaluator in made) == rebuilt


@chaos
@pytest.mark.parametrize("faulty_client", ["fit_step:shard-0=kill"], indirect=True)
def test_workers_that_die_one_after_the_other_end_the_fit_with_a_message(
    survey: Path, references: tuple[StoredDataset, ...], faulty_client: Client
) -> None:
    with pytest.raises(WorkersLostError, match="workers died in turn") as caught:
        fit(survey, references, DaskEvaluators(faulty_client, QUICK, retries=0))
    assert "memory" in str(caught.value)


@chaos
def test_no_worker_ends_the_fit_with_a_message(survey: Path, references: tuple[StoredDataset, ...]) -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
        pytest.raises(RunTimeoutError, match="no worker for 1 s"),
    ):
        fit(survey, references, DaskEvaluators(client, Timeouts(workers=1.0)))


def test_events_are_strict_json() -> None:
    import json

    def refuse(text: str) -> None:
        raise AssertionError(text)

    event: Event = FitStep(name="a", trip=1, stat=None, edm=None, accepted=True)
    assert json.loads(event.to_json(), parse_constant=refuse)["edm"] is None

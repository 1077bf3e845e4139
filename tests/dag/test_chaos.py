"""Processes die, are stopped and get stuck; a second run finishes the job, and the result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from gammaflow.dag.clusters import connect
from gammaflow.dag.dask_engine import DaskEngine
from gammaflow.dag.engine import SerialEngine, Timeouts
from gammaflow.dag.events import TaskFinished
from gammaflow.dag.receipts import read_receipt
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.status import RunState, status
from gammaflow.errors import ClusterError, RunTimeoutError, TooManyFailuresError
from tests.dag.conftest import FakeRun, no_leftovers

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(180)]
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    """The stacked result of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = FakeRun(folder / "run", folder / "log", list(range(1, 21)))
    run.run(SerialEngine()).execute()
    return run.result()


@contextmanager
def driven(run: FakeRun, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.dag.drive", str(run.folder), str(run.log), *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=30)
        for line in children(process.pid):
            os.kill(line, signal.SIGKILL)


def children(session: int) -> list[int]:
    """Processes of a session that are still there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def receipts(run: FakeRun) -> int:
    return len(
        [path for path in (run.folder / "observations").glob("*.json") if not path.name.startswith(".")]
    )


@pytest.mark.parametrize("victim", ["7", "finish-stacked"])
def test_a_worker_killed_in_a_task_costs_nothing_but_the_attempt(fake_run, fresh_client, undisturbed, victim):
    fake_run.codes = {victim: ["kill"]}
    with no_leftovers(fake_run.folder):
        fake_run.run(DaskEngine(fresh_client)).execute()
    assert fake_run.result() == undisturbed
    assert fake_run.invocations()[victim] == 2


@pytest.mark.slow
def test_a_worker_killed_while_it_stacks_a_partial_sum(fake_run, fresh_client, undisturbed):
    first = fake_run.plan().stacks[0].partials[0].name
    fake_run.codes = {f"stack-{first}": ["kill"]}
    fake_run.run(DaskEngine(fresh_client)).execute()
    assert fake_run.result() == undisturbed
    assert fake_run.invocations()[f"stack-{first}"] == 2


@pytest.mark.slow
def test_an_observation_that_always_kills_its_worker_is_named_and_the_others_finish(fake_run, fresh_client):
    fake_run.codes = {"7": ["kill"] * 50}
    with pytest.raises(TooManyFailuresError) as caught:
        fake_run.run(DaskEngine(fresh_client), retries=1).execute()
    assert "observation 7: WorkersLostError: 2 workers died in turn while it ran" in str(caught.value)
    assert len(caught.value.failures) == 1
    assert receipts(fake_run) - len(list((fake_run.folder / "observations").glob("*.failed.json"))) == 19
    assert fake_run.invocations()["7"] == 4  # two deaths for each of two attempts


@pytest.mark.slow
def test_a_worker_killed_from_outside(fake_run, fresh_client, undisturbed):
    fake_run.seconds = 0.05
    pids = list(fresh_client.run(os.getpid).values())
    killed: list[int] = []

    def kill_one(event) -> None:
        if isinstance(event, TaskFinished) and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    run = fake_run.run(DaskEngine(fresh_client))
    run._announce._callbacks.append(kill_one)
    run.execute()
    assert killed
    assert fake_run.result() == undisturbed


def test_a_stuck_task_is_given_up_and_its_worker_restarted(fake_run, fresh_client, timeouts):
    fake_run.codes = {"4": ["hang"]}
    before = set(fresh_client.run(os.getpid).values())
    with pytest.raises(TooManyFailuresError, match="observation 4: RunTimeoutError: took longer than 2 s"):
        fake_run.run(DaskEngine(fresh_client, timeouts)).execute()
    assert receipts(fake_run) == 19 + 1  # the failure record is one more JSON file
    fresh_client.wait_for_workers(2, timeout=30)
    assert set(fresh_client.run(os.getpid).values()) != before
    fake_run.codes = {}
    fake_run.run(DaskEngine(fresh_client, timeouts)).execute()
    assert status(fake_run.folder).state is RunState.DONE


@pytest.mark.parametrize(
    ("workers", "point"),
    [(0, "before_receipt"), pytest.param(2, "after_arrays", marks=pytest.mark.slow)],
)
def test_the_run_killed_between_arrays_and_receipt_is_resumed(
    fake_run, undisturbed, tmp_path, point, workers
):
    """Nothing that was done is done again, and the arrays without receipt are not used."""
    once = tmp_path / "once"
    once.mkdir()
    with driven(fake_run, GAMMAFLOW_FAULT=f"{point}:7=kill", GAMMAFLOW_FAULT_ONCE=str(once)) as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert (fake_run.folder / "observations" / "7.zarr").is_dir()
    assert not (fake_run.folder / "observations" / "7.json").exists()
    assert (fake_run.folder / "run.lock").exists()
    assert status(fake_run.folder).state is RunState.INCOMPLETE
    done = {path.stem for path in (fake_run.folder / "observations").glob("*.json")}
    assert done == {str(number) for number in range(1, 7)}
    with driven(fake_run, "--workers", str(workers)) as process, no_leftovers(fake_run.folder):
        assert process.wait(timeout=60) == 0
    counts = fake_run.invocations()
    assert {name for name, count in counts.items() if count == 2} == {"7"}
    assert fake_run.result() == undisturbed


def test_the_run_killed_while_it_stacks_is_resumed(fake_run, undisturbed, tmp_path):
    with driven(fake_run, GAMMAFLOW_FAULT="after_arrays:stacked=kill") as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    with driven(fake_run) as process:
        assert process.wait(timeout=60) == 0
    assert {name for name, count in fake_run.invocations().items() if count == 2} == {"finish-stacked"}
    assert fake_run.result() == undisturbed


def test_the_whole_run_killed_with_its_cluster_is_resumed(fake_run, undisturbed):
    with driven(fake_run, "--workers", "2", "--seconds", "0.2") as process:
        wait_until(lambda: receipts(fake_run) >= 4)
        process.kill()
        process.wait(timeout=30)
        # Dask's nannies notice that their parent has gone; nothing of the run may stay for long.
        wait_until(lambda: not children(process.pid), 60.0)
    assert status(fake_run.folder).state is RunState.INCOMPLETE
    done = receipts(fake_run)
    assert 4 <= done < 20
    fake_run.forget_invocations()
    fake_run.run(SerialEngine()).execute()
    assert len([name for name in fake_run.invocations() if name.isdigit()]) == 20 - done
    assert fake_run.result() == undisturbed


@pytest.mark.parametrize(
    ("workers", "number"),
    [
        (2, signal.SIGINT),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(0, signal.SIGINT, marks=pytest.mark.slow),
        (0, signal.SIGTERM),
    ],
)
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(fake_run, undisturbed, workers, number):
    with driven(fake_run, "--workers", str(workers), "--seconds", "0.3") as process:
        wait_until(lambda: receipts(fake_run) >= 2)
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: the workers hear it, too
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        wait_until(lambda: not children(process.pid), 30.0)
    assert f"the run was stopped ({number.name})" in errors
    assert "run the same command again to continue" in errors
    assert "Traceback" not in errors
    assert not (fake_run.folder / "run.lock").exists()
    assert status(fake_run.folder).state is RunState.INCOMPLETE
    done = receipts(fake_run)
    assert 2 <= done < 20
    fake_run.forget_invocations()
    with no_leftovers(fake_run.folder):
        fake_run.run(SerialEngine()).execute()
    assert len([name for name in fake_run.invocations() if name.isdigit()]) == 20 - done
    assert fake_run.result() == undisturbed


def test_a_running_run_is_seen_as_running_and_refuses_a_second_one(fake_run):
    with driven(fake_run, "--seconds", "0.3") as first:
        wait_until(lambda: receipts(fake_run) >= 1)
        found = status(fake_run.folder)
        assert found.state is RunState.RUNNING
        with driven(fake_run) as second:
            _, errors = second.communicate(timeout=60)
            assert second.returncode == 1
        assert f"process {first.pid} on" in errors
        first.terminate()
        first.wait(timeout=60)


def test_without_workers_the_run_ends_with_a_message(fake_run):
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster, Client(cluster) as client:
        engine = DaskEngine(client, Timeouts(workers=1.0))
        with pytest.raises(RunTimeoutError, match="there has been no worker for 1 s"):
            fake_run.run(engine).execute()
    assert not (fake_run.folder / "run.lock").exists()


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_a_message(fake_run, undisturbed):
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    try:
        with connect(cluster.scheduler_address) as client:
            fake_run.seconds = 0.1
            engine = DaskEngine(client, Timeouts(workers=60.0, answer=5.0, grace=1.0))
            run = fake_run.run(engine)
            closed: list[bool] = []

            def close(event) -> None:
                if isinstance(event, TaskFinished) and not closed:
                    closed.append(True)
                    cluster.close(timeout=5)

            run._announce._callbacks.append(close)
            with pytest.raises(ClusterError, match=r"the scheduler has gone|not connected"):
                run.execute()
    finally:
        cluster.close(timeout=5)
    fake_run.seconds = 0.0
    fake_run.run(SerialEngine()).execute()
    assert fake_run.result() == undisturbed


def test_nobody_at_the_address_is_a_clear_error():
    with (
        pytest.raises(ClusterError, match="no Dask scheduler answers within 1 s"),
        connect("tcp://127.0.0.1:1", timeout=1.0),
    ):
        pass


def test_reductions_are_queued_by_the_scheduler(fake_run, fresh_client):
    """No restriction rides on them: the scheduler holds them back, and a death takes few along."""
    fake_run.seconds = 0.1
    engine = DaskEngine(fresh_client)
    seen: list[int] = []

    def look(event) -> None:
        if isinstance(event, TaskFinished) and event.stage == "reduce":
            states = fresh_client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.queued))
            held = fresh_client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
            seen.append(states)
            assert held <= engine.window + 2

    run = fake_run.run(engine)
    run._announce._callbacks.append(look)
    run.execute()
    assert max(seen) > 0
    prefixes = fresh_client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))
    assert {"reduce", "stack", "finish"} <= prefixes  # what the dashboard calls the tasks
    assert fresh_client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0


def test_a_task_that_outlives_its_run_writes_nothing(fake_run):
    """Another run holds the folder: the token does not fit."""
    run = fake_run.run(SerialEngine())
    with run._session():
        task = run._reduce_task(run.plan.reductions[0])
    with pytest.raises(Exception, match="the run that asked for this task has ended"):
        task.function(task.spec, None)
    assert read_receipt(RunFolder(fake_run.folder).receipt("reduce", "1")) is None

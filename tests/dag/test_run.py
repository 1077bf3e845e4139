"""What a run promises, whatever engine carries it out."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gammaflow.dag.engine import Engine, SerialEngine, Timeouts
from gammaflow.dag.events import (
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    TaskFailed,
    TaskFinished,
    TaskRetried,
    TaskSubmitted,
)
from gammaflow.dag.receipts import read_failure, read_receipt
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.specs import check_token
from gammaflow.dag.status import RunState, status
from gammaflow.errors import RunError, RunInterruptedError, RunLockedError, StorageError, TooManyFailuresError
from tests.dag.conftest import FakeRun, no_leftovers

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def serial_result(tmp_path_factory) -> dict[str, object]:
    """The receipts' digests and the stacked bytes of an undisturbed serial run."""
    folder = tmp_path_factory.mktemp("serial")
    run = FakeRun(folder / "run", folder / "log", list(range(1, 21)))
    run.run(SerialEngine()).execute()
    return {"digests": digests(run), "result": run.result()}


def digests(run: FakeRun) -> dict[tuple[str, str], dict[str, str]]:
    inventory = RunFolder(run.folder).inventory()
    return {place: dict(receipt.arrays) for place, receipt in inventory.receipts.items()}


def test_every_engine_follows_the_protocol(make_engine):
    assert isinstance(make_engine(), Engine)


def test_results_are_the_same_digest_for_digest(make_engine, fake_run, serial_result):
    summary = fake_run.run(make_engine()).execute()
    assert summary.reduce.done == 20
    assert summary.stacked == ("stacked",)
    assert digests(fake_run) == serial_result["digests"]
    assert fake_run.result() == serial_result["result"]
    assert set(fake_run.invocations().values()) == {1}


def test_a_second_run_has_nothing_to_do(make_engine, fake_run):
    fake_run.run(make_engine()).execute()
    fake_run.forget_invocations()
    before = {
        path: path.stat().st_mtime_ns for path in fake_run.folder.rglob("*.json") if path.name != "plan.json"
    }
    with no_leftovers(fake_run.folder):
        summary = fake_run.run(make_engine()).execute()
    assert summary.tasks == 0
    assert fake_run.invocations() == {}
    assert fake_run.history.submitted() == []
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_window_is_never_exceeded(make_engine, fake_run):
    engine = make_engine()
    fake_run.run(engine).execute()
    in_flight = most = 0
    for event in fake_run.history.events:
        in_flight += isinstance(event, TaskSubmitted) - isinstance(event, TaskFinished)
        most = max(most, in_flight)
    assert 1 <= most <= max(16, 4 * 2)


@pytest.mark.parametrize(
    ("codes", "retries", "calls", "fails"),
    [
        ([], 2, 1, False),
        (["stale"], 2, 2, False),
        (["stale", "stale"], 2, 3, False),
        (["stale", "stale", "stale"], 2, 3, True),
        (["stale"], 0, 1, True),
        (["corrupt"], 2, 1, True),
        (["stale", "corrupt"], 2, 2, True),
    ],
)
def test_transient_errors_are_retried_and_permanent_ones_are_not(
    make_engine, fake_run, codes, retries, calls, fails
):
    fake_run.codes = {"7": codes}
    fake_run.run(make_engine(), retries=retries, allow_failed=1).execute()
    assert fake_run.invocations()["7"] == calls
    assert all(count == 1 for name, count in fake_run.invocations().items() if name != "7")
    receipt = read_receipt(RunFolder(fake_run.folder).receipt("reduce", "7"))
    failure = read_failure(RunFolder(fake_run.folder).failure("reduce", "7"))
    assert (receipt is None, failure is None) == (fails, not fails)
    last = receipt or failure
    assert last is not None
    assert last.attempt == calls
    assert len(fake_run.history.of(TaskRetried)) == calls - 1
    assert [event.name for event in fake_run.history.of(TaskFailed)] == (["7"] if fails else [])


def test_a_failed_observation_stops_the_run_before_stacking_and_the_others_are_kept(make_engine, fake_run):
    fake_run.codes = {"7": ["corrupt"], "12": ["corrupt"]}
    with pytest.raises(TooManyFailuresError) as caught, no_leftovers(fake_run.folder):
        fake_run.run(make_engine()).execute()
    message = str(caught.value)
    assert "2 of 20 observations could not be reduced, 0 are allowed" in message
    assert "observation 7: CorruptFileError: events_7.fits: the file is truncated" in message
    assert "observation 12" in message
    assert [record.name for record in caught.value.failures] == ["7", "12"]
    record = read_failure(RunFolder(fake_run.folder).failure("reduce", "7"))
    assert record is not None
    assert "Traceback" in record.traceback
    assert record.hint == "Copy it again"
    assert not list((fake_run.folder / "stacked").iterdir())
    assert status(fake_run.folder).state is RunState.FAILED

    fake_run.forget_invocations()
    fake_run.codes = {}
    fake_run.run(make_engine()).execute()
    assert {name for name in fake_run.invocations() if name.isdigit()} == {"7", "12"}
    assert not list((fake_run.folder / "observations").glob("*.failed.json"))


def test_allowed_failures_are_left_out_of_the_stack(make_engine, fake_run, tmp_path):
    fake_run.codes = {"7": ["corrupt"]}
    summary = fake_run.run(make_engine(), allow_failed=1).execute()
    assert [record.name for record in summary.reduce.failures] == ["7"]
    without = FakeRun(tmp_path / "without", tmp_path / "log2", [n for n in fake_run.numbers if n != 7])
    without.run(SerialEngine()).execute()
    assert fake_run.result() == without.result()
    assert status(fake_run.folder).state is RunState.DONE


def test_a_changed_ingredient_redoes_what_depends_on_it(make_engine, fake_run):
    fake_run.run(make_engine()).execute()
    fake_run.forget_invocations()
    fake_run.ingredients = {"mask": "b"}
    run = fake_run.run(make_engine())
    assert "20 x mask changed" in run.diff().summary()
    summary = run.execute()
    assert summary.reduce.done == 20
    assert status(fake_run.folder).state is RunState.DONE


def test_an_added_observation_runs_once_and_redoes_few_sums(make_engine, tmp_path):
    numbers = list(range(1, 101))
    run = FakeRun(tmp_path / "run", tmp_path / "log", numbers, fan_in=4)
    run.run(make_engine()).execute()
    sums = len(list((run.folder / "partials").glob("*.json")))
    first = run.result()
    run.forget_invocations()
    run.numbers = [*numbers, 1000]
    run.run(make_engine()).execute()
    called = run.invocations()
    assert [name for name in called if name.isdigit()] == ["1000"]
    assert len([name for name in called if name.startswith("stack")]) <= 12 < sums

    run.forget_invocations()
    run.numbers = numbers
    run.run(make_engine()).execute()
    assert run.result() == first
    assert not [name for name in run.invocations() if name.isdigit()]

    undisturbed = FakeRun(tmp_path / "other", tmp_path / "log2", [*numbers, 1000], fan_in=4)
    undisturbed.run(SerialEngine()).execute()
    run.numbers = [*numbers, 1000]
    run.run(make_engine()).execute()
    assert run.result() == undisturbed.result()


def test_partial_sums_that_nobody_needs_are_removed(make_engine, fake_run):
    run = fake_run.run(make_engine())
    run.execute()
    kept = {path.stem for path in (fake_run.folder / "partials").glob("*.zarr")}
    assert kept == {node.name for stack in run.plan.stacks for node in stack.partials}
    fake_run.numbers = fake_run.numbers[:10]
    run = fake_run.run(make_engine())
    run.execute()
    kept = {path.stem for path in (fake_run.folder / "partials").iterdir()}
    assert kept == {node.name for stack in run.plan.stacks for node in stack.partials}


@pytest.mark.parametrize("damage", ["remove", "truncate", "receipt"])
def test_a_receipt_counts_only_with_the_group_it_names(make_engine, fake_run, damage):
    fake_run.run(make_engine()).execute()
    first = fake_run.result()
    values = fake_run.folder / "observations" / "5.zarr" / "values.npy"
    if damage == "remove":
        values.unlink()
    elif damage == "truncate":
        values.write_bytes(values.read_bytes()[:-8])
    else:
        (fake_run.folder / "observations" / "5.json").write_text('{"format": 1')
    fake_run.forget_invocations()
    fake_run.run(make_engine()).execute()
    assert fake_run.invocations() == {"5": 1}
    assert fake_run.result() == first


def test_no_space_left_stops_the_run_and_the_next_one_finishes(make_engine, fake_run):
    fake_run.codes = {"3": ["enospc"]}
    with pytest.raises(StorageError, match="no space left") as caught:
        fake_run.run(make_engine()).execute()
    assert "Make room" in str(caught.value)
    assert len(fake_run.history.submitted("reduce")) < 20 + 1
    fake_run.run(make_engine()).execute()
    assert status(fake_run.folder).state is RunState.DONE


def test_a_task_that_takes_too_long_is_given_up_and_the_others_go_on(request, fake_run, timeouts):
    engine = SerialEngine(timeouts)
    fake_run.codes = {"4": ["hang"]}
    with pytest.raises(TooManyFailuresError, match=r"observation 4: RunTimeoutError: took longer than 2 s"):
        fake_run.run(engine).execute()
    assert status(fake_run.folder).stage("reduce").done == tuple(str(n) for n in fake_run.numbers if n != 4)


def test_a_stack_that_fails_is_an_error_that_names_it(make_engine, fake_run):
    fake_run.codes = {"finish-stacked": ["corrupt"]}
    with pytest.raises(RunError, match="finish stacked: CorruptFileError"):
        fake_run.run(make_engine()).execute()
    assert status(fake_run.folder).state is RunState.FAILED
    fake_run.run(make_engine()).execute()
    assert status(fake_run.folder).state is RunState.DONE


def test_without_stacking_there_are_only_observations(make_engine, fake_run):
    fake_run.stacked = False
    summary = fake_run.run(make_engine()).execute()
    assert summary.stacked == ()
    assert not list((fake_run.folder / "partials").iterdir())
    assert status(fake_run.folder).state is RunState.DONE


def test_two_runs_do_not_write_at_once(make_engine, fake_run):
    run = fake_run.run(make_engine())
    with run._session(), pytest.raises(RunLockedError, match=r"process \d+ on .* has been writing here"):
        fake_run.run(make_engine()).execute()


def test_events_tell_the_whole_story_in_order_and_in_the_file(make_engine, fake_run):
    fake_run.codes = {"7": ["stale"]}
    fake_run.run(make_engine()).execute()
    events = fake_run.history.events
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].status == "done"
    started = fake_run.history.of(StageStarted)
    assert (started[0].stage, started[0].total, started[0].reused) == ("reduce", 20, 0)
    assert [event.stage for event in started] == ["reduce", "stack"]
    assert [event.failed for event in fake_run.history.of(StageFinished)] == [0, 0]
    finished = [event.name for event in fake_run.history.of(TaskFinished) if event.stage == "reduce"]
    assert sorted(finished, key=int) == [str(n) for n in fake_run.numbers]
    lines = (fake_run.folder / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == [type(event).__name__ for event in events]


def test_status_of_a_finished_run(make_engine, fake_run):
    fake_run.run(make_engine()).execute()
    found = status(fake_run.folder)
    assert found.state is RunState.DONE
    assert len(found.stage("reduce").done) == found.stage("reduce").total == 20
    assert [receipt.name for receipt in found.stacked] == ["stacked"]
    assert json.loads(json.dumps(found.to_dict()))["state"] == "done"


def test_status_of_a_folder_without_a_run(tmp_path):
    with pytest.raises(RunError, match=r"no plan\.json"):
        status(tmp_path)


def test_the_default_timeouts_are_an_hour_a_task():
    assert Timeouts().task == 3600.0


def test_observations_that_are_not_kept_leave_their_numbers(fake_run):
    fake_run.keep_observations = False
    fake_run.run(SerialEngine()).execute()
    first = fake_run.result()
    assert not list((fake_run.folder / "observations").glob("*.zarr"))
    assert status(fake_run.folder).state is RunState.DONE
    assert len(status(fake_run.folder).observations) == 20

    fake_run.forget_invocations()
    assert fake_run.run(SerialEngine()).execute().tasks == 0

    fake_run.numbers = [*fake_run.numbers, 21]
    fake_run.run(SerialEngine()).execute()
    redone = {name for name in fake_run.invocations() if name.isdigit()}
    assert "21" in redone
    assert len(redone) < 15  # only those whose sums have to be made again

    fake_run.numbers = fake_run.numbers[:-1]
    fake_run.keep_observations = True
    diff = fake_run.run(SerialEngine()).diff()
    assert "20 x its dataset was not kept" in diff.summary()
    fake_run.run(SerialEngine()).execute()
    assert fake_run.result() == first
    assert len(list((fake_run.folder / "observations").glob("*.zarr"))) == 20


def test_a_worker_that_does_not_share_the_folder_says_so(fake_run, tmp_path):
    run = fake_run.run(SerialEngine())
    with run._session():
        task = run._reduce_task(run.plan.reductions[0])
    spec = dataclasses.replace(task.spec, folder=tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="cannot be seen from this worker"):
        check_token(spec)


CHANGES = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 30)),
    st.tuples(st.just("remove"), st.integers(1, 30)),
    st.tuples(st.just("mask"), st.sampled_from("ab")),
    st.tuples(st.just("die"), st.integers(1, 30)),
    st.tuples(st.just("fail"), st.integers(1, 30)),
    st.tuples(st.just("damage"), st.integers(1, 30)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES, max_size=6), st.integers(2, 5))
def test_whatever_happened_before_the_result_is_that_of_one_run(tmp_path_factory, changes, fan_in):
    """Added and removed observations, changed masks, deaths, failures and damage, in any order."""
    folder = tmp_path_factory.mktemp("history")
    run = FakeRun(folder / "run", folder / "log", list(range(1, 9)), fan_in)
    run.seed_by_mask = True
    for kind, value in changes:
        match kind:
            case "add":
                run.numbers = sorted({*run.numbers, value})
            case "remove":
                run.numbers = [n for n in run.numbers if n != value] or [1]
            case "mask":
                run.ingredients = {"mask": value}
            case "die":
                run.codes = {str(value): ["ok", "die", "ok", "die"], "finish-stacked": ["die"]}
            case "fail":
                run.codes = {str(value): ["corrupt"]}
            case "damage":
                for path in (run.folder / "observations").glob(f"{value}.zarr/*"):
                    path.write_bytes(b"")
        with contextlib.suppress(RunInterruptedError, TooManyFailuresError):
            run.run(SerialEngine()).execute()
    run.codes = {}
    with no_leftovers(run.folder):
        run.run(SerialEngine()).execute()
    assert run.run(SerialEngine()).execute().tasks == 0
    fresh = FakeRun(folder / "fresh", folder / "log", run.numbers, fan_in)
    fresh.ingredients, fresh.seed_by_mask = run.ingredients, True
    fresh.run(SerialEngine()).execute()
    assert run.result() == fresh.result()
    assert {
        place[1]: r.key
        for place, r in RunFolder(run.folder).inventory().receipts.items()
        if place[0] != "reduce"
    } == {
        place[1]: r.key
        for place, r in RunFolder(fresh.folder).inventory().receipts.items()
        if place[0] != "reduce"
    }

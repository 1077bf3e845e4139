"""The dispatcher: a full window, needs before what needs them, retries, and a stop that lets go gently."""

from __future__ import annotations

import random
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammaflow.dag.callbacks import History
from gammaflow.dag.dispatch import Frontier, Pace, Step, dispatch
from gammaflow.dag.engine import Outcome, Report, SerialEngine, Task, Timeouts, run_task
from gammaflow.dag.events import Announcer, TaskFinished, TaskRetried, TaskSubmitted
from gammaflow.dag.policy import ErrorFacts, ErrorPolicy, Kind

PACE = Pace(tick=0.01, retry_delay=0.0)


def nothing(spec, attempt):
    return spec


def task(name: str) -> Task:
    return Task("reduce", name, "key", nothing, name)


class ShuffledEngine:
    """Holds a window of tasks and ends them in any order; fails as a list of kinds for a name says."""

    name = "shuffled"

    def __init__(self, window: int = 4, fails: dict[str, list[Kind]] | None = None, seed: int = 0) -> None:
        self.window, self.most = window, 0
        self.fails = fails or {}
        self.waiting: list[Task] = []
        self.rng = random.Random(seed)

    @property
    def room(self) -> int:
        return self.window - len(self.waiting)

    @property
    def in_flight(self) -> int:
        return len(self.waiting)

    def stage(self, name: str):
        return nullcontext()

    def submit(self, task: Task) -> None:
        assert self.room > 0
        self.waiting.append(task)
        self.most = max(self.most, len(self.waiting))

    def collect(self, timeout: float) -> list[Outcome]:
        ended = self.waiting.pop(self.rng.randrange(len(self.waiting)))
        kinds = self.fails.get(ended.name, [])
        if ended.attempt <= len(kinds):
            facts = ErrorFacts("E", "m", kind=kinds[ended.attempt - 1])
            return [Outcome(ended, Report(failure=facts))]
        return [Outcome(ended, Report(value=ended.name))]

    def stop(self) -> list[Outcome]:
        self.waiting.clear()
        return []


def carried_out(engine, steps, policy=None) -> tuple[list[Outcome], History]:
    history = History()
    outcomes = list(
        dispatch(engine, Frontier(steps), policy or ErrorPolicy(), Announcer([history]), pace=PACE)
    )
    return outcomes, history


def test_steps_are_read_only_as_fast_as_the_window_moves():
    read = 0

    def steps():
        nonlocal read
        for number in range(100):
            read += 1
            yield Step(task(str(number)))

    engine = ShuffledEngine(window=4)
    for ended, _ in enumerate(dispatch(engine, Frontier(steps()), ErrorPolicy(), Announcer(), pace=PACE)):
        assert read <= ended + 5
    assert engine.most == 4
    assert read == 100


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 40))
def test_every_task_runs_once_and_after_what_it_needs(seed, window, count):
    rng = random.Random(seed)
    steps = [
        Step(task(str(n)), tuple(str(m) for m in rng.sample(range(n), min(n, rng.randrange(3)))))
        for n in range(count)
    ]
    outcomes, history = carried_out(ShuffledEngine(window, seed=seed), steps)
    assert sorted(int(o.task.name) for o in outcomes) == list(range(count))
    needs = {step.task.name: step.needs for step in steps}
    finished: set[str] = set()
    for event in history.events:
        if isinstance(event, TaskSubmitted):
            assert finished >= set(needs[event.name])
        elif isinstance(event, TaskFinished):
            finished.add(event.name)


def test_needs_that_are_not_among_the_steps_are_met():
    outcomes, _ = carried_out(ShuffledEngine(), [Step(task("a"), ("elsewhere",))])
    assert len(outcomes) == 1


def test_what_needs_a_failed_task_does_not_run():
    steps = [Step(task("a")), Step(task("b"), ("a",)), Step(task("c"), ("b",)), Step(task("d"))]
    outcomes, history = carried_out(ShuffledEngine(fails={"a": [Kind.PERMANENT]}), steps)
    assert {outcome.task.name for outcome in outcomes} == {"a", "d"}
    assert set(history.submitted()) == {"a", "d"}


@pytest.mark.parametrize(
    ("kinds", "retries", "attempts", "succeeds"),
    [
        ([], 2, 1, True),
        ([Kind.TRANSIENT], 2, 2, True),
        ([Kind.TRANSIENT] * 2, 2, 3, True),
        ([Kind.TRANSIENT] * 3, 2, 3, False),
        ([Kind.TRANSIENT], 0, 1, False),
        ([Kind.PERMANENT], 5, 1, False),
        ([Kind.TRANSIENT, Kind.PERMANENT], 5, 2, False),
    ],
)
def test_attempts(kinds, retries, attempts, succeeds):
    steps = [Step(task(name)) for name in "abc"]
    outcomes, history = carried_out(ShuffledEngine(fails={"b": kinds}), steps, ErrorPolicy(retries))
    assert len(outcomes) == 3
    ended = next(outcome for outcome in outcomes if outcome.task.name == "b")
    assert ended.task.attempt == attempts
    assert (ended.report.failure is None) == succeeds
    assert [e.attempt for e in history.of(TaskSubmitted) if e.name == "b"] == list(range(1, attempts + 1))
    assert len(history.of(TaskRetried)) == attempts - 1


def test_a_fatal_error_stops_new_tasks_and_waits_for_those_in_flight():
    engine = ShuffledEngine(window=3, fails={"1": [Kind.FATAL], "0": [Kind.TRANSIENT]})
    outcomes, history = carried_out(engine, (Step(task(str(n))) for n in range(100)))
    assert "1" in {outcome.task.name for outcome in outcomes}
    assert len(outcomes) == len({event.name for event in history.of(TaskSubmitted)}) < 100
    assert engine.in_flight == 0


def test_the_clock_ticks_between_two_waits():
    ticks = []
    frontier = Frontier(Step(task(str(n))) for n in range(5))
    list(
        dispatch(
            ShuffledEngine(), frontier, ErrorPolicy(), Announcer(), pace=PACE, on_tick=lambda: ticks.append(1)
        )
    )
    assert len(ticks) == 5


def test_a_task_that_raises_is_described_where_it_ran():
    def broken(spec, attempt):
        raise ZeroDivisionError("of a number")

    report = run_task(Task("reduce", "7", "key", broken, None), "worker-1")
    assert report.failure is not None
    assert (report.failure.error, report.failure.message, report.worker) == (
        "ZeroDivisionError",
        "of a number",
        "worker-1",
    )
    assert "broken" in report.failure.traceback


def test_a_serial_task_cannot_swallow_its_timeout():
    def stubborn(spec, attempt):
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue

    engine = SerialEngine(Timeouts(task=0.2))
    engine.submit(Task("reduce", "7", "key", stubborn, None))
    (outcome,) = engine.collect(1.0)
    assert outcome.report.failure is not None
    assert outcome.report.failure.message == "took longer than 0.2 s"

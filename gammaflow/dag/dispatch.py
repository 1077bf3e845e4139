"""From tasks to outcomes: keep the engine's window full, retry what may pass, report what ended.

Mechanism only: which task may run when is the frontier's business, what an error means is the policy's.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gammaflow.dag.engine import Engine, Outcome, Task
from gammaflow.dag.events import Event, TaskFailed, TaskFinished, TaskRetried, TaskSubmitted
from gammaflow.dag.policy import Decision, ErrorPolicy
from gammaflow.dag.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Step:
    """A task and the tasks of the same stage that must be done before it.

    Parameters
    ----------
    task : Task
        What to run.
    needs : tuple of str
        Names of tasks that come earlier in the same sequence.
    """

    task: Task
    needs: tuple[str, ...] = ()


class Frontier:
    """Which tasks may run: the steps whose needs are met, taken from a lazy sequence.

    Parameters
    ----------
    steps : iterable of Step
        Each after all it needs. Only as much of it is read as is asked for.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = iter(steps)
        self._ready: deque[Task] = deque()
        self._open: set[str] = set()
        self._missing: dict[str, tuple[Task, set[str]]] = {}
        self._waiting_for: dict[str, list[str]] = {}

    def take(self) -> Task | None:
        """A task that may run; None if there is none at this moment."""
        while not self._ready:
            step = next(self._steps, None)
            if step is None:
                return None
            self._open.add(step.task.name)
            missing = {name for name in step.needs if name in self._open}
            if not missing:
                return step.task
            self._missing[step.task.name] = (step.task, missing)
            for name in missing:
                self._waiting_for.setdefault(name, []).append(step.task.name)
        return self._ready.popleft()

    def done(self, name: str) -> None:
        """A task is done: what waited for it alone becomes ready."""
        self._open.discard(name)
        for waiting in self._waiting_for.pop(name, ()):
            task, missing = self._missing[waiting]
            missing.discard(name)
            if not missing:
                del self._missing[waiting]
                self._ready.append(task)

    @property
    def blocked(self) -> tuple[str, ...]:
        """Tasks that wait for others."""
        return tuple(self._missing)


@dataclass(frozen=True, slots=True)
class Pace:
    """Waits of the dispatcher, in s.

    Parameters
    ----------
    tick : float
        Longest wait for an outcome between two looks around.
    retry_delay : float
        Wait before the second attempt; doubled for each one after it.
    """

    tick: float = 0.5
    retry_delay: float = 0.5


def dispatch(
    engine: Engine,
    frontier: Frontier,
    policy: ErrorPolicy,
    announce: Callable[[Event], None],
    *,
    pace: Pace | None = None,
    on_tick: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Run everything a frontier gives; yield the final outcome of each task as it comes.

    Parameters
    ----------
    engine : Engine
        Runs the tasks; never holds more than its window.
    frontier : Frontier
        Gives the tasks.
    policy : ErrorPolicy
        Says which failures are tried again, and which stop the stage.
    announce : callable
        Told of each event.
    pace : Pace, optional
        How long to wait.
    on_tick : callable
        Called between two waits.

    Yields
    ------
    outcome : Outcome
        Of each task's last attempt. After an outcome on which the policy says to stop, no task is
        submitted any more, but those in flight are still waited for.
    """
    pace = pace or Pace()
    retries: list[tuple[float, int, Task]] = []
    order = itertools.count()
    stopped = False
    while True:
        while not stopped and engine.room > 0 and (task := _next(frontier, retries)) is not None:
            engine.submit(task)
            announce(TaskSubmitted(stage=task.stage, name=task.name, attempt=task.attempt))
        if not engine.in_flight:
            if stopped or not retries:
                return
            time.sleep(min(pace.tick, max(0.0, retries[0][0] - time.monotonic())))
            on_tick()
            continue
        for outcome in engine.collect(pace.tick):
            decision = announce_outcome(outcome, policy, announce)
            if decision is Decision.RETRY and not stopped:
                task = dataclasses.replace(outcome.task, attempt=outcome.task.attempt + 1)
                when = time.monotonic() + pace.retry_delay * 2.0 ** (outcome.task.attempt - 1)
                heapq.heappush(retries, (when, next(order), task))
                continue
            stopped = stopped or decision is Decision.STOP
            if decision is None:
                frontier.done(outcome.task.name)
            yield outcome
        on_tick()


def announce_outcome(
    outcome: Outcome, policy: ErrorPolicy, announce: Callable[[Event], None]
) -> Decision | None:
    """Tell what became of a task; the policy's decision, None if it went well."""
    task, report = outcome.task, outcome.report
    if report.failure is None:
        receipt = report.value if isinstance(report.value, Receipt) else None
        announce(
            TaskFinished(
                stage=task.stage,
                name=task.name,
                attempt=task.attempt,
                worker=report.worker,
                seconds=report.seconds,
                size=receipt.size if receipt else 0,
                warnings=receipt.warnings if receipt else (),
            )
        )
        return None
    decision = policy.decide(report.failure, task.attempt)
    kind = TaskRetried if decision is Decision.RETRY else TaskFailed
    announce(
        kind(
            stage=task.stage,
            name=task.name,
            attempt=task.attempt,
            error=report.failure.error,
            message=report.failure.message,
        )
    )
    return decision


def _next(frontier: Frontier, retries: list[tuple[float, int, Task]]) -> Task | None:
    """A retry whose time has come, else a new task."""
    if retries and retries[0][0] <= time.monotonic():
        return heapq.heappop(retries)[2]
    return frontier.take()

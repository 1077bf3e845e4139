"""The engine: something that runs tasks, a window of them at a time.

An engine knows neither plan nor policy. It takes tasks while it has room, and hands back outcomes in the
order in which they come. ``SerialEngine`` runs them here and now; ``DaskEngine`` (its own module) on any
Dask cluster. Every engine passes the same contract tests.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from gammaflow.dag.faults import fault_point
from gammaflow.dag.policy import ErrorFacts
from gammaflow.errors import RunTimeoutError


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a task function is told about the attempt it is part of.

    Parameters
    ----------
    number : int
        From 1.
    worker : str
        Where it runs.
    """

    number: int = 1
    worker: str = "serial"


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work.

    Parameters
    ----------
    stage : str
        What a person sees it as, on the Dask dashboard too.
    name : str
        Unique within its stage.
    key : str
        Content key of its result.
    function : callable
        Of the specification and an `Attempt`; at the top level of a module, so that workers find it by name.
    spec : object
        What it works on; small and picklable.
    attempt : int
        From 1.
    """

    stage: str
    name: str
    key: str
    function: Callable[[Any, Attempt], Any]
    spec: Any
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What comes back from where a task ran: a value or the facts of an error, never both."""

    value: Any = None
    failure: ErrorFacts | None = None
    worker: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task and its report."""

    task: Task
    report: Report


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long is waited for what, in s.

    Parameters
    ----------
    task : float
        For one task, from when it starts to run.
    workers : float
        For the first worker, or for the next one when all have gone.
    stall : float
        For any sign that a task runs, while there are workers.
    answer : float
        For an answer of the scheduler.
    grace : float
        For running tasks to end when the run is stopped.
    """

    task: float = 3600.0
    workers: float = 300.0
    stall: float = 900.0
    answer: float = 60.0
    grace: float = 5.0


@runtime_checkable
class Engine(Protocol):
    """What a run needs of an engine."""

    name: str

    @property
    def room(self) -> int:
        """How many tasks may be submitted now."""

    @property
    def in_flight(self) -> int:
        """How many tasks were submitted and not yet collected."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """The context in which a stage's tasks are submitted."""

    def submit(self, task: Task) -> None:
        """Take a task. Only while there is room."""

    def collect(self, timeout: float) -> list[Outcome]:
        """What has ended: at least one outcome, unless none comes within ``timeout`` seconds.

        Raises
        ------
        RunTimeoutError
            Nothing has run for too long.
        ClusterError
            The scheduler has gone.
        """

    def stop(self) -> list[Outcome]:
        """Drop what has not begun, wait for what runs for a short time: what still ended."""


def run_task(task: Task, worker: str = "serial") -> Report:
    """Run a task here, and describe an error instead of raising it.

    The error is described where its chain of causes is whole; pickling would cut it.
    """
    started = time.perf_counter()
    try:
        fault_point("before_task", task.name)
        value = task.function(task.spec, Attempt(task.attempt, worker))
    except Exception as error:
        return Report(None, ErrorFacts.of(error), worker, time.perf_counter() - started)
    return Report(value, None, worker, time.perf_counter() - started)


def place(task: Task) -> str:
    """What an error calls a task."""
    return f"observation {task.name}" if task.stage == "reduce" else task.name


def overdue(task: Task, seconds: float) -> ErrorFacts:
    """Facts of a task that took longer than allowed."""
    return ErrorFacts(
        RunTimeoutError.__name__,
        f"took longer than {seconds:g} s",
        where=place(task),
        hint="Give it more time with flow.timeout, or leave it out with flow.exclude",
    )


class SerialEngine:
    """Runs each task in this process, when its outcome is asked for.

    Parameters
    ----------
    timeouts : Timeouts
        ``task`` is kept in the main thread of a system with interval timers; elsewhere Python has no way
        to interrupt a function.
    """

    name = "serial"

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self.timeouts = timeouts or Timeouts()
        self._waiting: deque[Task] = deque()

    @property
    def room(self) -> int:
        """One task at a time."""
        return 1 - len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Zero or one."""
        return len(self._waiting)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Nothing special."""
        return nullcontext()

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._waiting.append(task)

    def collect(self, timeout: float) -> list[Outcome]:
        """Run the task that waits."""
        if not self._waiting:
            return []
        task = self._waiting[0]
        started = time.perf_counter()
        try:
            with _alarm(self.timeouts.task):
                report = run_task(task)
        except _Overdue:  # not an Exception, so that no task can swallow it
            report = Report(None, overdue(task, self.timeouts.task), "serial", time.perf_counter() - started)
        self._waiting.popleft()
        return [Outcome(task, report)]

    def stop(self) -> list[Outcome]:
        """Drop the task that waits."""
        self._waiting.clear()
        return []


class _Overdue(BaseException):
    """Raised inside a task that takes too long."""


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise ``_Overdue`` in the block if it takes longer."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Overdue

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)

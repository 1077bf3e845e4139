"""The engine on a Dask cluster: any ``distributed.Client`` will do.

The scheduler holds a window of tasks, a few for each thread, whatever the number of observations; tasks
carry no restriction, so that the scheduler queues them itself and a worker that dies takes at most two
of them along. What comes back is a small report. Every wait ends: tasks that take too long, workers that
never come, a scheduler that has gone.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import distributed
from distributed import Client, Future, KilledWorker, span
from distributed.client import ClosedClientError

from gammaflow.dag.engine import Outcome, Report, Task, Timeouts, overdue, place, run_task
from gammaflow.dag.keys import short
from gammaflow.dag.policy import ErrorFacts, Kind, workers_lost
from gammaflow.errors import ClusterError, RunTimeoutError

_log = logging.getLogger(__name__)
T = TypeVar("T")

TASKS_PER_THREAD = 4
"""Window per thread: one runs, one waits on the worker, two travel."""

SMALLEST_WINDOW = 16
"""So that a small cluster with short tasks does not run dry between two looks."""

_POLL = 5.0
#: How often the scheduler is asked what runs, when a task ends in the moment of the question.
_LOOKS = 3


@dataclass(slots=True)
class _Flight:
    """A task in flight, and when it was first seen to run."""

    task: Task
    future: Future
    running_since: float | None = None
    worker: str = ""


class DaskEngine:
    """Runs tasks on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected; closing it is its owner's business.
    timeouts : Timeouts
        How long is waited for what.
    window : int, optional
        Most tasks in flight. By default four for each thread and at least 16, following the cluster as
        it grows and shrinks.
    """

    name = "dask"

    def __init__(self, client: Client, timeouts: Timeouts | None = None, window: int | None = None) -> None:
        self.client = client
        self._address = f"scheduler {client.scheduler.address if client.scheduler is not None else 'unknown'}"
        self.timeouts = timeouts or Timeouts()
        self._fixed_window = window
        self._window = window or SMALLEST_WINDOW
        self._flights: dict[str, _Flight] = {}
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        # Two runs on one scheduler must never share a task: same content, but another folder.
        self._token = uuid.uuid4().hex[:6]
        now = time.monotonic()
        self._sign_of_life = self._workers_seen = now
        self._next_look = self._next_watch = 0.0
        self._told_to_wait = False
        # Often enough that a task is not allowed much more than its time.
        self._watch_interval = min(max(self.timeouts.task / 10.0, 0.2), 60.0)

    @property
    def window(self) -> int:
        """Most tasks in flight at this moment."""
        return self._window

    @property
    def room(self) -> int:
        """How many tasks may be submitted now."""
        return self._window - len(self._flights)

    @property
    def in_flight(self) -> int:
        """How many tasks were submitted and not yet collected."""
        return len(self._flights)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Group the stage's tasks on the dashboard."""
        self._look_at_workers()
        with span("gammaflow", name):
            yield

    def submit(self, task: Task) -> None:
        """Hand a task to the scheduler."""
        if not self._flights:
            self._sign_of_life = time.monotonic()
        label = task.name if task.name.isdigit() else short(task.key)
        # The prefix before the first part that is not a word is what the dashboard shows.
        key = f"{task.stage}-{label}-{short(task.key)}-{self._token}{task.attempt}"
        try:
            future = self.client.submit(_run_on_worker, task, key=key, pure=False, retries=0)
        except ClosedClientError as error:
            raise self._gone() from error
        self._flights[key] = _Flight(task, future)
        future.add_done_callback(self._ended.put)

    def collect(self, timeout: float) -> list[Outcome]:
        """Outcomes of what has ended, after at most ``timeout`` seconds."""
        ended = self._wait(timeout)
        outcomes = self._settle(ended)
        now = time.monotonic()
        if outcomes:
            self._sign_of_life = now
        if now >= self._next_look:
            self._look_at_workers()
        if now >= self._next_watch and self._flights:
            outcomes += self._watch()
        return outcomes

    def stop(self) -> list[Outcome]:
        """Take back what has not begun, give what runs a moment to end."""
        outcomes: list[Outcome] = []
        try:
            running = self._running()
            waiting = [flight.future for key, flight in self._flights.items() if key not in running]
            self._cancel(waiting)
            end = time.monotonic() + self.timeouts.grace
            while self._flights and (left := end - time.monotonic()) > 0:
                outcomes += self._settle(self._wait(left))
        except (OSError, TimeoutError, ClusterError) as error:
            _log.warning("the cluster did not take back its tasks: %s", error)
        finally:
            self._cancel([flight.future for flight in self._flights.values()])
        return outcomes

    def _wait(self, timeout: float) -> list[Future]:
        """Futures that have ended: what is there after at most ``timeout`` seconds."""
        ended: list[Future] = []
        try:
            ended.append(self._ended.get(timeout=max(timeout, 0.001)))
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            return ended

    def _settle(self, ended: list[Future]) -> list[Outcome]:
        """Outcomes of futures that have ended; one that comes back to life is waited for again."""
        keys = (str(future.key) for future in ended)
        flights = {key: self._flights[key] for key in keys if key in self._flights}
        reports: dict[str, Report] = {}
        finished = [flight.future for flight in flights.values() if flight.future.status == "finished"]
        if finished:
            try:
                values = self._ask(lambda: self.client.gather(finished, errors="skip", asynchronous=True))
            except (TimeoutError, OSError) as error:
                # The worker died with the report: the scheduler runs the task again, and we hear of it.
                _log.warning("%d reports did not arrive (%s); waiting for them again", len(finished), error)
                values = []
            if len(values) == len(finished):
                reports = {str(future.key): value for future, value in zip(finished, values, strict=True)}
        for key, flight in flights.items():
            if key not in reports and flight.future.status in ("error", "cancelled"):
                reports[key] = Report(None, self._facts(flight))
        for key, flight in flights.items():
            if key not in reports:
                flight.future.add_done_callback(self._ended.put)
        return [self._land(key, report) for key, report in reports.items()]

    def _land(self, key: str, report: Report) -> Outcome:
        flight = self._flights.pop(key)
        flight.future.release()
        return Outcome(flight.task, report)

    def _facts(self, flight: _Flight) -> ErrorFacts:
        """What happened to a task whose report never came."""
        where = place(flight.task)
        if flight.future.status != "error":
            return ErrorFacts(
                "TaskLostError",
                f"the scheduler dropped the task (its state is {flight.future.status!r})",
                where=where,
                hint="The scheduler may have been restarted",
                kind=Kind.TRANSIENT,
            )
        error = flight.future.exception(timeout=self.timeouts.answer)
        if isinstance(error, KilledWorker):
            return workers_lost(where, str(error.last_worker.address), error.allowed_failures + 1)
        if type(error).__name__ == "NoValidWorkerError":
            raise RunTimeoutError(
                f"no worker took {where} within the scheduler's no-workers-timeout",
                where=self._address,
                hint="Start workers for this scheduler and run again",
            ) from error
        return ErrorFacts.of(error)

    def _look_at_workers(self) -> None:
        """Follow the cluster's size; give up when there are no workers for too long."""
        if self.client.status == "closed":
            raise self._gone()
        now = time.monotonic()
        self._next_look = now + min(_POLL, self.timeouts.workers / 4.0)
        try:
            threads = sum(self._ask(self._scheduler.ncores).values())
        except (OSError, TimeoutError) as error:
            _log.warning("%s does not answer: %s", self._address, error)
            threads = 0
        if threads:
            self._workers_seen, self._told_to_wait = now, False
            self._window = self._fixed_window or max(TASKS_PER_THREAD * threads, SMALLEST_WINDOW)
        elif not self._told_to_wait:
            self._told_to_wait = True
            _log.warning("%s has no workers; waiting for %g s", self._address, self.timeouts.workers)
        if not threads and now - self._workers_seen > self.timeouts.workers:
            raise RunTimeoutError(
                f"there has been no worker for {self.timeouts.workers:g} s",
                where=self._address,
                hint="Look at the workers' logs; what is done is kept, run again to continue",
            )

    def _watch(self) -> list[Outcome]:
        """Give up tasks that run too long; notice when nothing runs at all."""
        now = time.monotonic()
        self._next_watch = now + self._watch_interval
        try:
            running = self._running()
        except (OSError, TimeoutError) as error:
            _log.warning("%s does not say what runs: %s", self._address, error)
            running = {}
        if running:
            self._sign_of_life = now
        late = []
        for key, flight in self._flights.items():
            worker = running.get(key)
            if worker is None or worker != flight.worker:  # not running, or begun again elsewhere
                flight.running_since, flight.worker = (None, "") if worker is None else (now, worker)
            elif flight.running_since is not None and now - flight.running_since > self.timeouts.task:
                late.append(key)
        if late:
            return self._give_up(late)
        if now - self._sign_of_life > self.timeouts.stall:
            raise RunTimeoutError(
                f"nothing has run for {self.timeouts.stall:g} s, with {len(self._flights)} tasks in flight",
                where=self._address,
                hint="The workers may be paused for lack of memory: see the dashboard; run again to continue",
            )
        return []

    def _give_up(self, late: list[str]) -> list[Outcome]:
        """Cancel tasks and restart the workers they block: a thread cannot be stopped otherwise."""
        blocked = sorted({self._flights[key].worker for key in late})
        outcomes = []
        self._cancel([self._flights[key].future for key in late])
        for key in late:
            flight = self._flights[key]
            seconds = time.monotonic() - (flight.running_since or 0.0)
            report = Report(None, overdue(flight.task, self.timeouts.task), flight.worker, seconds)
            outcomes.append(self._land(key, report))
        try:
            self.client.restart_workers(blocked, timeout=self.timeouts.answer, raise_for_error=False)
        except (ValueError, OSError, TimeoutError) as error:
            _log.warning("the workers %s stay blocked by tasks given up: %s", ", ".join(blocked), error)
        return outcomes

    def _running(self) -> dict[str, str]:
        """Our tasks that a worker runs at this moment, and which worker."""
        stacks: dict[str, dict[str, Any]] = {}
        for _ in range(_LOOKS):
            try:
                stacks = self._ask(self._scheduler.call_stack)
                break
            except KeyError:  # a worker left, or a task ended, while the scheduler was asking around
                continue
        return {key: worker for worker, keys in stacks.items() for key in keys if key in self._flights}

    def _cancel(self, futures: list[Future]) -> None:
        if futures and self.client.status != "closed":
            self._ask(lambda: self.client.cancel(futures, asynchronous=True, force=True))

    def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the client's loop, with a time-out."""

        async def answer() -> T:
            return await question()

        return self.client.sync(answer, callback_timeout=self.timeouts.answer)

    @property
    def _scheduler(self) -> Any:
        """The connection to the scheduler; its questions are coroutines, so that they can have a time-out."""
        if self.client.scheduler is None:
            raise self._gone()
        return self.client.scheduler

    def _gone(self) -> ClusterError:
        return ClusterError(
            "the scheduler has gone",
            where=self._address,
            hint="What is done is kept: start a scheduler and run again to continue",
        )


def _run_on_worker(task: Task) -> Report:
    """Run a task on a Dask worker."""
    return run_task(task, distributed.get_worker().address)

"""Fits on a Dask cluster: shards of condensed datasets live on workers, a step of the fit is one task a shard.

Nothing is pinned to a worker and nothing is told to a worker but through tasks, so that the scheduler itself makes
again what dies with one: a shard is a future of a pure loader, a step is a pure function of a shard and a point. What
the scheduler gives up (workers that die one after the other, a scheduler that forgot) is begun again from the
specifications, a few times. Every wait has an end.
"""

from __future__ import annotations

import concurrent.futures
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from distributed import Client, Future, KilledWorker, span, wait
from numpy.typing import NDArray

from gammaflow.dag.engine import Timeouts
from gammaflow.dag.fit_shards import check_shard, evaluate_shard, load_shard, shards_of
from gammaflow.dag.policy import Kind, classify, workers_lost
from gammaflow.errors import ClusterError, RunTimeoutError, WorkersLostError
from gammaflow.fit import FullCheck, Problem
from gammaflow.likelihood import (
    AnchorCheck,
    CondensedInfo,
    ImageOptions,
    NuisanceState,
    Reply,
    Request,
    Shard,
)
from gammaflow.likelihood.sums import collected, total

_log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
T = TypeVar("T")

_POLL = 2.0


@dataclass(frozen=True)
class DaskEvaluators:
    """Makes evaluators on the workers of a cluster: what `Fit.run` may be given as its client.

    Parameters
    ----------
    client : distributed.Client
        Connected; closing it is its owner's business.
    timeouts : Timeouts
        How long is waited for what; ``task`` is for one step on all shards, or for loading them.
    retries : int
        How often a step that lost its workers is begun again with fresh shards.
    """

    client: Client
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: int = 2

    def __call__(self, problem: Problem, options: ImageOptions | None) -> DaskEvaluator:
        """Load and condense the datasets of a fit."""
        return DaskEvaluator(problem, options, self.client, self.timeouts, self.retries)


class DaskEvaluator:
    """The datasets of a fit, condensed on the workers of a cluster.

    Parameters
    ----------
    problem : Problem
        Its datasets are in memory (they travel whole) or in a run folder that workers see.
    options : ImageOptions or None
    client, timeouts, retries
        See `DaskEvaluators`.

    Raises
    ------
    GammaflowError
        What a dataset could not be loaded or condensed for.
    RunTimeoutError, WorkersLostError, ClusterError
        There are no workers, they die one after the other, or the scheduler has gone.
    """

    def __init__(
        self,
        problem: Problem,
        options: ImageOptions | None,
        client: Client,
        timeouts: Timeouts,
        retries: int,
    ) -> None:
        self._options = options
        self._client, self._timeouts, self._retries = client, timeouts, retries
        self._address = f"scheduler {client.scheduler.address if client.scheduler is not None else 'unknown'}"
        self._tasks = 0
        self.rebuilt = 0
        self._specs = shards_of(problem, options, self._threads())
        self._shards: list[Future] = []
        self._info: tuple[CondensedInfo, ...] = collected(self._each(Shard.info))

    @property
    def shards(self) -> int:
        """How many shards there are; the answers do not depend on it."""
        return len(self._specs)

    def evaluate(self, request: Request) -> Reply:
        """The sum over all datasets, in the same bits as in one process."""
        names = [spec.name for spec in self._specs]
        return total(self._ask(evaluate_shard, self._shard, names, [request] * len(names)))

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """What each dataset finds for its own parameters at one point (Z,), in their order."""
        return collected(self._each(Shard.nuisances, point))

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        """Whether the frozen geometry still serves at one point (Z,)."""
        return tuple(one for found in collected(self._each(Shard.check, point)) for one in found)

    def info(self) -> tuple[CondensedInfo, ...]:
        """What was condensed, dataset by dataset."""
        return self._info

    def full_check(self, problem: Problem) -> tuple[FullCheck, ...]:
        """The sum over every bin with the models as they stand; the datasets are read again for it."""
        specs = shards_of(problem, self._options, len(self._specs))
        return collected(self._ask(check_shard, lambda number: specs[number]))

    def close(self) -> None:
        """Let the workers forget the shards."""
        for shard in self._shards:
            shard.release()
        self._shards = []

    # --- tasks -----------------------------------------------------------------------------------------

    def _each(self, method: Callable[..., T], *arguments: Any) -> list[T]:
        """The answer of each shard to one question."""
        return self._ask(method, self._shard, *([argument] * len(self._specs) for argument in arguments))

    def _shard(self, number: int) -> Future:
        """The future of a shard, made if there is none."""
        if not self._shards:
            self._shards = [
                self._submit(load_shard, "fit-load", i, (spec,)) for i, spec in enumerate(self._specs)
            ]
        return self._shards[number]

    def _ask(
        self, function: Callable[..., T], first: Callable[[int], Any], *others: Sequence[Any]
    ) -> list[T]:
        """One task a shard, and their values in the order of the shards."""
        attempt = 1
        while True:
            futures: list[Future] = []
            try:
                with span("gammaflow", "fit"):
                    futures = [
                        self._submit(function, "fit", i, (first(i), *(column[i] for column in others)))
                        for i in range(len(self._specs))
                    ]
                return self._values(futures)
            except Exception as error:
                if not self._may_go_away(error):
                    raise
                _log.warning("attempt %d of a step of the fit: %s: %s", attempt, type(error).__name__, error)
                blocked = (
                    self._busy_with([*futures, *self._shards]) if isinstance(error, TimeoutError) else []
                )
                self._cancel([*futures, *self._shards])
                self._shards = []
                self._restart(blocked)
                if attempt > self._retries:
                    raise self._given_up(error, attempt) from error
                attempt += 1
                self.rebuilt += 1

    def _submit(self, function: Callable[..., Any], stage: str, number: int, arguments: Any) -> Future:
        self._tasks += 1
        # The key's first words are what the dashboard shows.
        key = f"{stage}-{number}-{self._tasks}-{uuid.uuid4().hex[:12]}"
        return self._client.submit(function, *arguments, key=key, pure=False, retries=0)

    def _values(self, futures: list[Future]) -> list[Any]:
        """Values of all futures; it waits for them as long as there is hope."""
        begin = seen = time.monotonic()
        while True:
            try:
                wait(futures, timeout=min(_POLL, self._timeouts.task))
                break
            except TimeoutError:
                now = time.monotonic()
                if self._workers():
                    seen = now
                if now - seen > self._timeouts.workers:
                    raise RunTimeoutError(
                        f"there has been no worker for {self._timeouts.workers:g} s",
                        where=self._address,
                        hint="Look at the workers' logs, and run the fit again",
                    ) from None
                if now - begin > self._timeouts.task:
                    raise
        for future in futures:
            if future.status == "error":
                raise future.exception(timeout=self._timeouts.answer) from None
        return list(self._sync(lambda: self._client.gather(futures, asynchronous=True)))

    def _may_go_away(self, error: BaseException) -> bool:
        if self._client.status == "closed":
            raise ClusterError(
                "the scheduler has gone",
                where=self._address,
                hint="Start a scheduler and run the fit again",
            ) from error
        if isinstance(error, KilledWorker | concurrent.futures.CancelledError):
            return True
        return not isinstance(error, RunTimeoutError) and classify(error) is Kind.TRANSIENT

    def _given_up(self, error: BaseException, attempts: int) -> Exception:
        """What to tell when the last attempt has failed, too."""
        if isinstance(error, KilledWorker):
            facts = workers_lost("the fit", str(error.last_worker.address), error.allowed_failures + 1)
            return WorkersLostError(facts.message, where=facts.where, hint=facts.hint)
        if isinstance(error, TimeoutError):
            return RunTimeoutError(
                f"a step of the fit was not done in {self._timeouts.task:g} s, {attempts} times",
                where=self._address,
                hint="Give it more time (flow.timeout), or more workers; the dashboard shows what they do",
            )
        return ClusterError(
            f"a step of the fit failed {attempts} times ({type(error).__name__}: {error})",
            where=self._address,
            hint="Look at the workers' and the scheduler's logs, and run the fit again",
        )

    def _cancel(self, futures: Sequence[Future]) -> None:
        try:
            self._sync(lambda: self._client.cancel(list(futures), asynchronous=True, force=True))
        except (OSError, TimeoutError) as error:
            _log.warning("%s did not take back its tasks: %s", self._address, error)

    def _busy_with(self, futures: Sequence[Future]) -> list[str]:
        """Workers that run one of our tasks at this moment."""
        scheduler: Any = self._client.scheduler
        ours = {future.key for future in futures}
        try:
            stacks: dict[str, dict[str, Any]] = self._sync(scheduler.call_stack)
        except (OSError, TimeoutError, KeyError) as error:
            _log.warning("%s does not say what runs: %s", self._address, error)
            return []
        return sorted(worker for worker, keys in stacks.items() if ours & keys.keys())

    def _restart(self, workers: Sequence[str]) -> None:
        """Restart workers that are stuck: a thread cannot be stopped otherwise."""
        if not workers:
            return
        try:
            self._client.restart_workers(list(workers), timeout=self._timeouts.answer, raise_for_error=False)
        except (ValueError, OSError, TimeoutError) as error:
            _log.warning("the workers %s stay stuck: %s", ", ".join(workers), error)

    # --- the cluster -----------------------------------------------------------------------------------

    def _threads(self) -> int:
        """Threads of all workers; the first worker is waited for."""
        end = time.monotonic() + self._timeouts.workers
        while not (threads := self._workers()):
            if time.monotonic() > end:
                raise RunTimeoutError(
                    f"there has been no worker for {self._timeouts.workers:g} s",
                    where=self._address,
                    hint="Start workers for this scheduler and run the fit again",
                )
            time.sleep(0.1)
        return threads

    def _workers(self) -> int:
        """Threads of all workers at this moment; 0 when the scheduler does not answer."""
        scheduler: Any = self._client.scheduler
        if self._client.status == "closed" or scheduler is None:
            raise ClusterError(
                "the scheduler has gone", where=self._address, hint="Start one and run the fit again"
            )
        try:
            return sum(self._sync(scheduler.ncores).values())
        except (OSError, TimeoutError) as error:
            _log.warning("%s does not answer: %s", self._address, error)
            return 0

    def _sync(self, question: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the client's loop, with a time-out."""

        async def answer() -> T:
            return await question()

        return self._client.sync(answer, callback_timeout=self._timeouts.answer)

"""A run: a plan carried out in a run folder by an engine.

This is where the pieces meet; each decision is made elsewhere.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import gammaflow.errors as errors
from gammaflow.dag import atomic
from gammaflow.dag.callbacks.event_log import EventLog
from gammaflow.dag.diff import Action, PlanDiff, compare
from gammaflow.dag.dispatch import Frontier, Pace, Step, announce_outcome, dispatch
from gammaflow.dag.engine import Engine, Outcome, Task
from gammaflow.dag.events import Announcer, Callback, RunFinished, RunStarted, StageFinished, StageStarted
from gammaflow.dag.interrupts import interruptible
from gammaflow.dag.lock import RunLock
from gammaflow.dag.plan import FinishNode, Plan, ReduceNode, StackNode
from gammaflow.dag.policy import Decision, ErrorFacts, ErrorPolicy, Kind
from gammaflow.dag.receipts import FailureRecord, Receipt, read_receipt
from gammaflow.dag.run_folder import Inventory, RunFolder
from gammaflow.dag.specs import ReduceSpec, StackSpec, TaskFunctions
from gammaflow.errors import GammaflowError, RunError, RunInterruptedError, StorageError


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What became of a stage.

    Parameters
    ----------
    stage : str
        ``reduce`` or ``stack``.
    done, reused : int
        Nodes that ran, and nodes that were done before.
    failures : tuple of FailureRecord
        Nodes that could not be done.
    seconds : float
        Wall time.
    """

    stage: str
    done: int = 0
    reused: int = 0
    failures: tuple[FailureRecord, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What became of a run.

    Parameters
    ----------
    folder : Path
        The run folder.
    reduce, stack : StageSummary
        Its stages.
    stacked : tuple of str
        Names of the stacked datasets that are there.
    """

    folder: Path
    reduce: StageSummary
    stack: StageSummary
    stacked: tuple[str, ...] = ()

    @property
    def tasks(self) -> int:
        """How many tasks were run to success."""
        return self.reduce.done + self.stack.done


class Run:
    """A plan carried out in a run folder.

    Parameters
    ----------
    folder : Path or RunFolder
        Where everything is written; made if it is not there.
    plan : Plan
        What is to be there at the end.
    engine : Engine
        Runs the tasks.
    functions : TaskFunctions
        What the tasks do.
    policy : ErrorPolicy, optional
        How much trouble is put up with.
    callbacks : sequence of Callback
        Told of every event, besides ``events.jsonl``.
    files : dict of str to str
        Small files to write into the folder for the record, such as ``config.yaml``.
    pace : Pace, optional
        Waits of the dispatcher.

    Notes
    -----
    Each method holds the folder's lock while it works, raises ``RunLockedError`` if another process does, and
    ``RunInterruptedError`` after Ctrl-C. Calling again continues.
    """

    def __init__(
        self,
        folder: Path | RunFolder,
        plan: Plan,
        engine: Engine,
        functions: TaskFunctions,
        *,
        policy: ErrorPolicy | None = None,
        callbacks: Sequence[Callback] = (),
        files: Mapping[str, str] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.folder = folder if isinstance(folder, RunFolder) else RunFolder(folder)
        self.plan = plan
        self.engine = engine
        self.functions = functions
        self.policy = policy or ErrorPolicy()
        self.pace = pace
        self._files = dict(files or {})
        self._log = EventLog(self.folder.events)
        self._announce = Announcer((self._log, *callbacks))
        self._lock: RunLock | None = None
        self._inventory = Inventory()
        self.policy.allowed(len(plan.reductions))  # better found wrong now than after the last task

    def diff(self) -> PlanDiff:
        """What would run, be reused or be redone; nothing is run or written."""
        return compare(self.plan, self.folder.inventory())

    def execute(self) -> RunSummary:
        """Reduce and stack: everything that is missing.

        Raises
        ------
        TooManyFailuresError
            More observations failed than allowed. The others are kept; nothing is stacked.
        RunError
            The run cannot go on: see its subclasses.
        """
        with self._session():
            reduced = self.reduce()
            stacked = self.stack()
        return RunSummary(
            self.folder.path, reduced, stacked, tuple(stack.root.name for stack in self.plan.stacks)
        )

    def reduce(self) -> StageSummary:
        """Reduce the observations that are not done.

        Raises
        ------
        TooManyFailuresError
            More observations failed than allowed, after all others were tried.
        """
        with self._session():
            diff = compare(self.plan, self._inventory)
            nodes = [verdict.node for verdict in diff.to_do("reduce")]
            steps = (Step(self._reduce_task(node)) for node in nodes if isinstance(node, ReduceNode))
            reused = diff.count("reduce", Action.REUSE)
            summary = self._carry_out("reduce", steps, len(nodes), reused)
            self.policy.check(summary.failures, len(self.plan.reductions))
            return summary

    def stack(self) -> StageSummary:
        """Stack the observations that are reduced.

        Observations that are set aside are left out, if the policy allows that many.

        Raises
        ------
        TooManyFailuresError
            More observations are missing than allowed.
        RunError
            A sum could not be made.
        """
        with self._session():
            inventory = self._inventory
            missing = [verdict.node for verdict in compare(self.plan, inventory).to_do("reduce")]
            failures = [
                inventory.failures.get(
                    (node.stage, node.name),
                    FailureRecord(node.stage, node.name, node.key, "NotReduced", "it was not reduced yet"),
                )
                for node in missing
            ]
            self.policy.check(failures, len(self.plan.reductions))
            plan = self.plan.without(int(node.name) for node in missing)
            if self.plan.stacked and not plan.stacks:
                raise RunError(
                    "no observation is left to stack",
                    where=str(self.folder.path),
                    hint="See the failure records",
                )
            self.plan = plan
            atomic.write(self.folder.plan, plan.to_json())
            diff = compare(plan, inventory)
            todo = [*diff.to_do("stack"), *diff.to_do("finish")]
            steps = (
                Step(self._stack_task(verdict.node), tuple(f"{o.stage}/{o.name}" for o in verdict.node.needs))
                for verdict in todo
                if not isinstance(verdict.node, ReduceNode)
            )
            reused = diff.count("stack", Action.REUSE) + diff.count("finish", Action.REUSE)
            summary = self._carry_out("stack", steps, len(todo), reused)
            if summary.failures:
                _raise_stack_failure(summary.failures)
            partials = frozenset(node.name for stack in plan.stacks for node in stack.partials)
            self.folder.sweep(partials, frozenset(stack.root.name for stack in plan.stacks) or None)
            if not plan.keep_observations:
                self._drop_observations(plan)
            return summary

    def _drop_observations(self, plan: Plan) -> None:
        for node in plan.reductions:
            receipt = read_receipt(self.folder.receipt(node.stage, node.name))
            if receipt is not None and not receipt.dropped:
                self.folder.drop(receipt)

    def _carry_out(self, stage: str, steps: Iterable[Step], total: int, reused: int) -> StageSummary:
        """Run the tasks of a stage to their end."""
        started = time.perf_counter()
        self._announce(StageStarted(stage=stage, total=total, reused=reused))
        failures: dict[tuple[str, str], FailureRecord] = {}
        done: dict[tuple[str, str], Receipt] = {}
        fatal: ErrorFacts | None = None
        assert self._lock is not None
        with self.engine.stage(stage):
            for outcome in dispatch(
                self.engine,
                Frontier(steps),
                self.policy,
                self._announce,
                pace=self.pace,
                on_tick=self._lock.beat,
            ):
                spec = outcome.task.spec
                if outcome.report.failure is None:
                    # Without the digests: there may be a hundred thousand of them.
                    done[spec.stage, spec.name] = Receipt(spec.stage, spec.name, spec.key)
                elif self.policy.decide(outcome.report.failure, outcome.task.attempt) is Decision.STOP:
                    fatal = fatal or outcome.report.failure
                else:
                    failures[spec.stage, spec.name] = self._set_aside(outcome)
        seconds = time.perf_counter() - started
        self._inventory = self._inventory.with_news(done, failures)
        self._announce(StageFinished(stage=stage, done=len(done), failed=len(failures), seconds=seconds))
        if fatal is not None:
            raise rebuilt(fatal)
        listed = sorted(failures.values(), key=lambda record: (record.stage, len(record.name), record.name))
        return StageSummary(stage, len(done), reused, tuple(listed), seconds)

    def _set_aside(self, outcome: Outcome) -> FailureRecord:
        """Write down why a node could not be done."""
        task, facts = outcome.task, outcome.report.failure
        assert facts is not None
        name = task.spec.name
        record = FailureRecord(
            task.spec.stage,
            name,
            task.key,
            facts.error,
            facts.message,
            facts.where,
            facts.hint,
            facts.traceback,
            task.attempt,
            socket.gethostname(),
            outcome.report.worker,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        atomic.write(self.folder.failure(record.stage, name), record.to_json())
        return record

    def _reduce_task(self, node: ReduceNode) -> Task:
        spec = ReduceSpec(
            self.folder.path,
            self._token,
            node.name,
            node.key,
            node.files,
            self.plan.setup,
            node.ingredients,
            node.inputs,
        )
        return Task(node.stage, node.name, node.key, self.functions.reduce, spec)

    def _stack_task(self, node: StackNode | FinishNode) -> Task:
        operands = tuple((operand.stage, operand.name) for operand in node.needs)
        ingredients = node.ingredients if isinstance(node, FinishNode) else {}
        function = self.functions.finish if isinstance(node, FinishNode) else self.functions.stack
        spec = StackSpec(
            self.folder.path,
            self._token,
            node.stage,
            node.name,
            node.key,
            operands,
            self.plan.setup,
            ingredients,
        )
        # A partial sum and a stacked dataset could have one name; within a stage names are unique.
        return Task(node.stage, f"{node.stage}/{node.name}", node.key, function, spec)

    @property
    def _token(self) -> str:
        return self._lock.token if self._lock is not None else ""

    @contextmanager
    def _session(self) -> Iterator[None]:
        """Hold the folder, tell when the run begins and ends; inside another session of this run, nothing."""
        if self._lock is not None:
            yield
            return
        self.folder.create()
        try:
            with RunLock(self.folder.lock) as self._lock, interruptible(), self._told():
                self._prepare()
                yield
        finally:
            self._lock = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell how the run ends, and stop the engine if it does not end well."""
        started = time.perf_counter()
        status, message = "done", ""
        try:
            yield
        except KeyboardInterrupt as signal:
            status, message = "interrupted", str(signal) or "SIGINT"
            self._drain()
            raise RunInterruptedError(
                f"the run was stopped ({message})",
                where=str(self.folder.path),
                hint="What is done is kept: run the same command again to continue",
            ) from None
        except BaseException as error:
            status, message = "failed", f"{type(error).__name__}: {error}"
            self._drain()
            raise
        finally:
            seconds = time.perf_counter() - started
            self._announce(RunFinished(status=status, message=message, seconds=seconds))
            self._log.close()

    def _prepare(self) -> None:
        for name, text in self._files.items():
            atomic.write(self.folder.path / name, text)
        atomic.write(self.folder.plan, self.plan.to_json())
        self.folder.sweep()
        self._inventory = self.folder.inventory()
        self._announce(
            RunStarted(
                folder=str(self.folder.path),
                engine=self.engine.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=version("gammaflow-survey"),
            )
        )

    def _drain(self) -> None:
        """Stop the engine; what still ended is told, so that the log agrees with the receipts."""
        for outcome in self.engine.stop():
            # what was taken back has not failed: the next run does it
            if outcome.report.failure is None or outcome.report.failure.kind is not Kind.TRANSIENT:
                announce_outcome(outcome, ErrorPolicy(retries=0), self._announce)


def rebuilt(facts: ErrorFacts) -> GammaflowError:
    """The error that stops the run, from the facts that a worker sent."""
    kind = getattr(errors, facts.error, None)
    if (
        isinstance(kind, type)
        and issubclass(kind, GammaflowError)
        and not issubclass(kind, errors.SchemaError)
    ):
        return kind(facts.message, where=facts.where, hint=facts.hint)
    if facts.error in ("OSError", "PermissionError"):
        hint = "Make room or choose another run folder; running again continues where this run stopped"
        return StorageError(facts.message, where=facts.where, hint=hint)
    return RunError(f"{facts.error}: {facts.message}", where=facts.where, hint=facts.hint)


def _raise_stack_failure(failures: Sequence[FailureRecord]) -> None:
    lines = "".join(f"\n  - {record.stage} {record.name}: {record.reason}" for record in failures[:20])
    raise RunError(
        f"{len(failures)} sums could not be made:{lines}\n",
        hint="The observations are kept; running again continues. The .failed.json files hold tracebacks",
    )

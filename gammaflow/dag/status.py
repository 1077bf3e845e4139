"""How a run stands, read from its folder alone: for ``gammaflow status``, while it runs or after."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gammaflow.dag.callbacks.event_log import read_events
from gammaflow.dag.lock import is_held
from gammaflow.dag.plan import FORMAT
from gammaflow.dag.receipts import FailureRecord, Receipt
from gammaflow.dag.run_folder import Inventory, RunFolder
from gammaflow.errors import RunError

STAGES = ("reduce", "stack", "finish")


class RunState(enum.StrEnum):
    """A run as a whole."""

    RUNNING = "running"
    """A process holds the folder at this moment."""
    DONE = "done"
    """Everything of the plan is there."""
    FAILED = "failed"
    """Something of the plan could not be done."""
    INCOMPLETE = "incomplete"
    """The run stopped on its way."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How a stage stands.

    Parameters
    ----------
    stage : str
        ``reduce``, ``stack`` or ``finish``.
    total : int
        Nodes of the plan.
    done : tuple of str
        Names of those with a receipt that holds.
    running : tuple of str
        Names of those that were handed to the engine and have not come back.
    failed : tuple of FailureRecord
        Those that could not be done.
    """

    stage: str
    total: int
    done: tuple[str, ...]
    running: tuple[str, ...]
    failed: tuple[FailureRecord, ...]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands."""

    folder: Path
    state: RunState
    stages: tuple[StageStatus, ...]
    observations: tuple[Receipt, ...]
    stacked: tuple[Receipt, ...]

    def stage(self, name: str) -> StageStatus:
        """One of the stages."""
        return next(stage for stage in self.stages if stage.stage == name)

    @property
    def keys(self) -> dict[str, str]:
        """Group, relative to the run folder, to the content key of its receipt, of all datasets."""
        return {receipt.group: receipt.key for receipt in (*self.observations, *self.stacked)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "folder": str(self.folder),
            "state": str(self.state),
            "stages": {
                stage.stage: {
                    "total": stage.total,
                    "done": len(stage.done),
                    "running": list(stage.running),
                    "failed": [
                        {
                            "name": record.name,
                            "error": record.error,
                            "message": record.message,
                            "where": record.where,
                            "hint": record.hint,
                            "attempt": record.attempt,
                        }
                        for record in stage.failed
                    ],
                }
                for stage in self.stages
            },
        }


def status(folder: Path | RunFolder) -> RunStatus:
    """How the run in a folder stands.

    Parameters
    ----------
    folder : Path or RunFolder
        The run folder.

    Raises
    ------
    RunError
        The folder holds no run.
    """
    folder = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    planned, left_out = _planned(folder)
    inventory = folder.inventory()
    running = _running(folder) if is_held(folder.lock) else None
    stages = tuple(_stage(stage, planned[stage], inventory, running or frozenset()) for stage in STAGES)
    state = RunState.RUNNING if running is not None else _state(stages, left_out)
    receipts = {stage: _receipts(planned[stage], stage, inventory) for stage in STAGES}
    return RunStatus(folder.path, state, stages, receipts["reduce"], receipts["finish"])


def _planned(folder: RunFolder) -> tuple[dict[str, dict[str, str]], frozenset[str]]:
    """Key of every planned node, by stage and name; and the observations that were left out of the stacks."""
    try:
        plan = json.loads(folder.plan.read_text(encoding="utf-8"))
        if plan["format"] != FORMAT:
            raise RunError(
                f"the plan is of format {plan['format']}, this version reads {FORMAT}",
                where=str(folder.plan),
                hint="Use the version of gammaflow that made the run",
            )
        planned: dict[str, dict[str, str]] = {stage: {} for stage in STAGES}
        for node in plan["nodes"]:
            planned[node["stage"]][node["name"]] = node["key"]
        left_out = frozenset(str(obs_id) for obs_id in plan["left_out"])
    except FileNotFoundError as error:
        raise RunError(
            "this folder holds no run: there is no plan.json",
            where=str(folder.path),
            hint="Give the folder that was named with --run",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the plan cannot be read ({error})", where=str(folder.plan), hint="Run again: it is written anew"
        ) from error
    return planned, left_out


def _stage(
    stage: str, planned: Mapping[str, str], inventory: Inventory, running: frozenset[tuple[str, str]]
) -> StageStatus:
    done = tuple(receipt.name for receipt in _receipts(planned, stage, inventory))
    standing = frozenset(done)
    failed = tuple(
        inventory.failures[stage, name]
        for name in planned
        if (stage, name) in inventory.failures and name not in standing and (stage, name) not in running
    )
    return StageStatus(
        stage, len(planned), done, tuple(name for name in planned if (stage, name) in running), failed
    )


def _receipts(planned: Mapping[str, str], stage: str, inventory: Inventory) -> tuple[Receipt, ...]:
    found = (inventory.receipts.get((stage, name)) for name in planned)
    return tuple(receipt for receipt in found if receipt is not None and receipt.key == planned[receipt.name])


def _state(stages: tuple[StageStatus, ...], left_out: frozenset[str]) -> RunState:
    """How a run stands that nobody works on."""
    reduce, *stacking = stages
    if any(stage.failed for stage in stacking) or any(
        record.name not in left_out for record in reduce.failed
    ):
        return RunState.FAILED
    reduced = len(left_out.union(reduce.done)) == reduce.total
    # Partial sums below a finished stack may have gone.
    stacked = all(len(stage.done) == stage.total for stage in stacking if stage.stage != "stack")
    return RunState.DONE if reduced and stacked else RunState.INCOMPLETE


def _running(folder: RunFolder) -> frozenset[tuple[str, str]]:
    """Tasks handed to the engine since the run began, and not come back."""
    running: set[tuple[str, str]] = set()
    for event in read_events(folder.events):
        if event["event"] == "RunStarted":
            running.clear()
        elif event["event"] in ("TaskSubmitted", "TaskFinished", "TaskFailed", "TaskRetried"):
            place = (str(event["stage"]), str(event["name"]).rpartition("/")[2])
            if event["event"] == "TaskSubmitted":
                running.add(place)
            else:
                running.discard(place)
    return frozenset(running)

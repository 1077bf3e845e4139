"""What tasks are told: small frozen values that travel to the workers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gammaflow.dag.engine import Attempt
from gammaflow.dag.lock import read_owner
from gammaflow.dag.receipts import Receipt
from gammaflow.dag.run_folder import RunFolder
from gammaflow.data import ObservationFiles
from gammaflow.errors import RunError, StorageError


@dataclass(frozen=True, slots=True)
class ReduceSpec:
    """The reduction of one observation.

    Parameters
    ----------
    folder : Path
        The run folder, as the workers see it.
    token : str
        Of the run's lock.
    name : str
        The observation id.
    key : str
        Content key of the result.
    files : ObservationFiles
        What to read.
    setup : object
        See ``Plan``.
    ingredients, inputs
        For the receipt.
    """

    folder: Path
    token: str
    name: str
    key: str
    files: ObservationFiles
    setup: Any = None
    ingredients: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[tuple[str, int, int], ...] = ()
    stage: str = "reduce"


@dataclass(frozen=True, slots=True)
class StackSpec:
    """One sum: a partial one, or with ``stage`` ``finish`` the last one and the division.

    Parameters
    ----------
    folder : Path
        The run folder, as the workers see it.
    token : str
        Of the run's lock.
    stage : str
        ``stack`` or ``finish``.
    name : str
        Of the result.
    key : str
        Content key of the result.
    operands : tuple of (stage, name)
        What to add, in order.
    setup : object
        See ``Plan``.
    ingredients : dict
        For the receipt.
    """

    folder: Path
    token: str
    stage: str
    name: str
    key: str
    operands: tuple[tuple[str, str], ...]
    setup: Any = None
    ingredients: Mapping[str, str] = field(default_factory=dict)


TaskSpec = ReduceSpec | StackSpec


@dataclass(frozen=True, slots=True)
class TaskFunctions:
    """The functions that do the work; tests and benchmarks put in their own.

    Each takes its specification and an ``Attempt``, writes its result and its receipt, and returns the
    receipt.
    """

    reduce: Callable[[ReduceSpec, Attempt], Receipt]
    stack: Callable[[StackSpec, Attempt], Receipt]
    finish: Callable[[StackSpec, Attempt], Receipt]


def check_token(spec: TaskSpec) -> None:
    """Make sure that the run that asked for this task still holds its folder.

    A task may outlive its run: on a cluster, a function that has begun cannot be stopped. It must not
    write over what the next run does.

    Raises
    ------
    RunError
        Another run holds the folder, or none.
    StorageError
        The folder is not there: this worker does not share the file system.
    """
    if not spec.folder.is_dir():
        raise StorageError(
            "the run folder cannot be seen from this worker",
            where=f"{spec.folder} on {socket.gethostname()}",
            hint="Choose a run folder on a file system that all workers share",
        )
    owner = read_owner(RunFolder(spec.folder).lock)
    if owner is None or owner.token != spec.token:
        raise RunError(
            "the run that asked for this task has ended",
            where=f"{spec.stage} {spec.name}",
            hint="Nothing to do: the run folder's present owner does the task",
        )

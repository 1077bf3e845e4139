"""What happens during a run, as frozen dataclasses.

The engine knows no progress bar and no log: it tells what happens, and callbacks do with it what they like.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Parameters
    ----------
    time : float
        Unix time in s.
    """

    time: float = field(default_factory=time.time)

    def to_json(self) -> str:
        """One line of JSON, with the name of the event first."""
        return json.dumps({"event": type(self).__name__, **dataclasses.asdict(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run begins: its folder, its engine, the process."""

    folder: str
    engine: str
    host: str
    pid: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(Event):
    """A stage begins: how many of its nodes will run and how many are done already."""

    stage: str
    total: int
    reused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSubmitted(Event):
    """A task was handed to the engine."""

    stage: str
    name: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished(Event):
    """A task left its receipt."""

    stage: str
    name: str
    attempt: int
    worker: str
    seconds: float
    size: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRetried(Event):
    """A task met a transient error and will be tried again."""

    stage: str
    name: str
    attempt: int
    error: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(Event):
    """A task was given up; its observation is set aside."""

    stage: str
    name: str
    attempt: int
    error: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished(Event):
    """A stage ended."""

    stage: str
    done: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The run ended: ``done``, ``failed`` or ``interrupted``."""

    status: str
    message: str
    seconds: float


class Callback(Protocol):
    """Whoever wants to know what happens: called with each event, in the thread of the run."""

    def __call__(self, event: Event) -> None:
        """Take note of an event."""


class Announcer:
    """Hands each event to all callbacks.

    A callback that raises is told so in the log and left out from then on: a broken progress bar must not
    cost a night's run.

    Parameters
    ----------
    callbacks : sequence of Callback
        Called in this order.
    """

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self._callbacks = list(callbacks)

    def __call__(self, event: Event) -> None:
        """Hand on an event."""
        for callback in tuple(self._callbacks):
            try:
                callback(event)
            except Exception:
                _log.exception("%r raised on %s and is left out from now on", callback, type(event).__name__)
                self._callbacks.remove(callback)

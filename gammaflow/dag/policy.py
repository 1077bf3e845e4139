"""What to do about an error: try again, set the observation aside, or stop the run.

The decision is a pure function of facts about the error, which are collected on the worker, where the
chain of causes is still whole.
"""

from __future__ import annotations

import enum
import errno
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from gammaflow.dag.receipts import FailureRecord
from gammaflow.errors import (
    ConfigError,
    GammaflowError,
    RunMismatchError,
    StorageError,
    TooManyFailuresError,
    WorkersLostError,
)

_TRANSIENT_ERRNO_NAMES: Final = (
    "EAGAIN EBUSY ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH EINTR EIO EMFILE "
    "ENETDOWN ENETUNREACH ENFILE EREMOTEIO ESTALE ETIMEDOUT"
)
TRANSIENT_ERRNO: Final = frozenset(
    getattr(errno, name) for name in _TRANSIENT_ERRNO_NAMES.split() if hasattr(errno, name)
)
"""What a network file system says when it has a bad moment."""

FATAL_ERRNO: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Nothing can be written any more, by no task."""

# CommClosedError and the like are looked up by name: they come from distributed, which tasks need not import.
_TRANSIENT_NAMES: Final = frozenset(
    {"CommClosedError", "FutureCancelledError", "CancelledError", "TimeoutError"}
)
_SHOWN: Final = 20


class Kind(enum.StrEnum):
    """What an error means for the run."""

    TRANSIENT = "transient"
    """It may go away: a dead worker, a stale file handle."""
    PERMANENT = "permanent"
    """It is in the data, or in the code, and comes again."""
    FATAL = "fatal"
    """It would meet every task alike: no space, a wrong configuration."""


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """An error, as the worker that met it describes it.

    Parameters
    ----------
    error : str
        Class.
    message, where, hint : str
        As in ``GammaflowError``.
    traceback : str
        Formatted, with the causes.
    kind : Kind
        See ``classify``.
    """

    error: str
    message: str
    where: str = ""
    hint: str = ""
    traceback: str = ""
    kind: Kind = Kind.PERMANENT

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Facts of an exception."""
        text = "".join(traceback.format_exception(error))
        if isinstance(error, GammaflowError):
            return cls(type(error).__name__, error.found, error.where, error.hint, text, classify(error))
        message = str(error) or "no message"
        return cls(type(error).__name__, message, traceback=text, kind=classify(error))


def classify(error: BaseException) -> Kind:
    """What an error means for the run, decided along its chain of causes.

    A transient cause makes the whole error transient: a file that seems corrupt because the read failed
    with an I/O error deserves another try.
    """
    chain = list(_chain(error))
    if any(_is_fatal(link) for link in chain):
        return Kind.FATAL
    if any(_is_transient(link) for link in chain):
        return Kind.TRANSIENT
    return Kind.PERMANENT


class Decision(enum.StrEnum):
    """What to do with a task that failed."""

    RETRY = "retry"
    SET_ASIDE = "set aside"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """How much trouble a run puts up with.

    Parameters
    ----------
    retries : int
        How often a task that met a transient error is tried again.
    allow_failed : int or str
        How many observations may be missing from the result: a number, or a share such as ``"2%"``.
    """

    retries: int = 2
    allow_failed: int | str = 0

    def decide(self, facts: ErrorFacts, attempt: int) -> Decision:
        """What to do after the failure of the ``attempt``-th try (from 1)."""
        if facts.kind is Kind.FATAL:
            return Decision.STOP
        if facts.kind is Kind.TRANSIENT and attempt <= self.retries:
            return Decision.RETRY
        return Decision.SET_ASIDE

    def allowed(self, observations: int) -> int:
        """How many of so many observations may fail; a share is rounded down.

        Raises
        ------
        ConfigError
            ``allow_failed`` is neither a number nor a percentage.
        """
        try:
            if isinstance(self.allow_failed, str) and self.allow_failed.strip().endswith("%"):
                # 7 % of 100 is 7.000000000000001 in floats, and could as well be 6.9999
                number = int(round(float(self.allow_failed.strip()[:-1]) * observations / 100.0, 9))
            else:
                number = int(self.allow_failed)
        except ValueError:
            number = -1
        if number < 0:
            raise ConfigError(
                f"{self.allow_failed!r} is not a number of observations",
                where="flow.allow_failed",
                hint='Give a number such as 3, or a share such as "2%"',
            )
        return number

    def check(self, failures: Sequence[FailureRecord], observations: int) -> None:
        """Stop the run if more observations failed than allowed.

        Raises
        ------
        TooManyFailuresError
            It names each observation and the reason; ``failures`` holds the records.
        """
        allowed = self.allowed(observations)
        if len(failures) <= allowed:
            return
        lines = [f"\n  - observation {record.name}: {record.reason}" for record in failures[:_SHOWN]]
        if len(failures) > _SHOWN:
            lines.append(f"\n  - and {len(failures) - _SHOWN} more")
        error = TooManyFailuresError(
            f"{len(failures)} of {observations} observations could not be reduced, "
            f"{allowed} are allowed:{''.join(lines)}\n",
            hint="The other observations are kept. Mend the data and run again, leave observations out with "
            f"flow.exclude, or go on without them with --allow-failed {len(failures)}",
        )
        error.failures = tuple(failures)
        raise error


def workers_lost(where: str, last_worker: str, deaths: int) -> ErrorFacts:
    """Facts of a task under which one worker after the other died."""
    return ErrorFacts(
        WorkersLostError.__name__,
        f"{deaths} workers died in turn while it ran, the last one {last_worker}",
        where=where,
        hint="Most often it is memory: give the workers more (flow.memory_limit); else see the worker's log",
        kind=Kind.TRANSIENT,
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_fatal(error: BaseException) -> bool:
    if isinstance(error, ConfigError | StorageError | RunMismatchError):
        return True
    return isinstance(error, OSError) and error.errno in FATAL_ERRNO


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, MemoryError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNO:
        return True
    return type(error).__name__ in _TRANSIENT_NAMES

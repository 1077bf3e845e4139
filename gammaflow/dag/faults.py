"""Faults on demand, so that tests can kill a task at the worst moment.

The environment variable ``GAMMAFLOW_FAULT`` lists faults, separated by commas: ``point[:name]=action``, e.g.
``after_arrays:23523=kill``. Without it a fault point costs one look into the environment.

Points: ``before_task``, ``after_arrays`` (arrays written, no receipt yet), ``before_receipt``,
``after_receipt``. Actions: ``kill`` (SIGKILL to the process), ``raise`` (an error in the data),
``stale`` (a stale file handle, which is transient), ``enospc`` (no space left), ``hang`` (for an hour).
With ``GAMMAFLOW_FAULT_ONCE`` naming a folder, each fault happens once in all processes together.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Final, NoReturn

from gammaflow.errors import DataError

VARIABLE: Final = "GAMMAFLOW_FAULT"
ONCE: Final = "GAMMAFLOW_FAULT_ONCE"


def fault_point(point: str, name: str) -> None:
    """Let a fault happen here if the environment asks for one.

    Parameters
    ----------
    point : str
        Where in the task.
    name : str
        Of the task: the observation id, or the key of a partial stack.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    for fault in wanted.split(","):
        place, _, action = fault.strip().partition("=")
        where, _, whom = place.partition(":")
        if where == point and whom in ("", name) and _first_time(f"{point}-{name}-{action}"):
            _happen(action, f"{point} of {name}")


def _first_time(token: str) -> bool:
    folder = os.environ.get(ONCE)
    if not folder:
        return True
    try:
        (Path(folder) / token).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _happen(action: str, where: str) -> None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise DataError("a fault was asked for", where=where, hint=f"Unset {VARIABLE}")
        case "stale":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), where)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)
        case "hang":
            _hang()
        case _:
            raise ValueError(
                f"{VARIABLE}: {action!r} is not an action; kill, raise, stale, enospc and hang are"
            )


def _hang() -> NoReturn:
    end = time.monotonic() + 3600.0
    while time.monotonic() < end:  # in steps: Python code may still be interrupted by a signal
        time.sleep(0.1)
    raise TimeoutError("the hour of a hanging fault is over")

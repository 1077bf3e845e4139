"""One writer at a time: the lock of a run folder.

The lock is a small file that names the process. A lock whose process is gone is stale and is taken over:
on the same machine the process table says so, for another machine the file's age does, since a running
process touches its lock now and then.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from gammaflow.dag import atomic
from gammaflow.errors import RunLockedError
from gammaflow.io.folders import TEMPORARY

HEARTBEAT = 30.0
"""Seconds between two touches of the lock."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock.

    Parameters
    ----------
    host : str
        Machine.
    pid : int
        Process.
    born : str
        When that process started, as its kernel counts: a process id alone is used again.
    since : str
        UTC, ISO 8601.
    token : str
        Makes every acquisition unique.
    """

    host: str
    pid: int
    born: str
    since: str
    token: str

    @classmethod
    def this_process(cls) -> Self:
        """The process that asks."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), _born(os.getpid()), now, uuid.uuid4().hex)


class RunLock:
    """The lock of a run folder, as a context manager.

    Parameters
    ----------
    path : Path
        The lock file.
    stale_after : float
        Seconds without a sign of life after which the lock of another machine counts as left behind.

    Raises
    ------
    RunLockedError
        On entering, when another process holds it.
    """

    def __init__(self, path: Path, *, stale_after: float = 10 * HEARTBEAT) -> None:
        self.path = path
        self.stale_after = stale_after
        self._owner: Owner | None = None
        self._touched = 0.0

    def __enter__(self) -> Self:
        owner = Owner.this_process()
        text = json.dumps(asdict(owner)) + "\n"
        while not atomic.create(self.path, text):
            holder = read_owner(self.path)
            if not self.path.exists():
                continue  # released between the two looks
            if holder is not None and not is_stale(self.path, holder, self.stale_after):
                raise RunLockedError(
                    f"process {holder.pid} on {holder.host} has been writing here since {holder.since}",
                    where=str(self.path.parent),
                    hint="Wait for it, or stop it, or choose another run folder",
                )
            self._break(holder)
        self._owner = owner
        self._touched = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if read_owner(self.path) == self._owner:
            self.path.unlink(missing_ok=True)
        self._owner = None

    @property
    def token(self) -> str:
        """What makes this acquisition unique; empty while the lock is not held."""
        return self._owner.token if self._owner else ""

    def beat(self) -> None:
        """Show a sign of life, at most every ``HEARTBEAT`` seconds."""
        now = time.monotonic()
        if now - self._touched > HEARTBEAT:
            self._touched = now
            # Gone if the folder was removed under the run: the next write says so better than we could here.
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.path)

    def _break(self, holder: Owner | None) -> None:
        """Take a stale lock away; of several processes that try, none takes away another's fresh one."""
        taken = self.path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            self.path.rename(taken)
        except FileNotFoundError:
            return
        if read_owner(taken) != holder:  # somebody was faster, and this is the new one's: give it back
            with contextlib.suppress(FileExistsError):
                os.link(taken, self.path)
        taken.unlink(missing_ok=True)


def read_owner(path: Path) -> Owner | None:
    """Who holds the lock; None if nobody does or the file cannot be read."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_stale(path: Path, holder: Owner, stale_after: float) -> bool:
    """Whether the process that made a lock is gone."""
    if holder.host == socket.gethostname():
        return _born(holder.pid) != holder.born
    try:
        return time.time() - path.stat().st_mtime > stale_after
    except FileNotFoundError:
        return True


def is_held(path: Path, stale_after: float = 10 * HEARTBEAT) -> bool:
    """Whether a living process holds the lock."""
    holder = read_owner(path)
    return holder is not None and not is_stale(path, holder, stale_after)


def _born(pid: int) -> str:
    """When a process started, in a form that two looks agree on; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The command's name, in parentheses, may hold blanks; state and start time are the 1st and 20th
        # field after it.
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]  # a zombie writes no more
    except FileNotFoundError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:  # without /proc: only whether the process is there
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "alive"
    return "alive"

"""One writer at a time, and no lock that outlives its process for long."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from gammaflow.dag.lock import Owner, RunLock, is_held, read_owner
from gammaflow.errors import RunLockedError


def leave_lock(path, **changes):
    """A lock as another process would have left it."""
    owner = dataclasses.replace(Owner.this_process(), **changes)
    path.write_text(json.dumps(dataclasses.asdict(owner)))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    return process.pid


def test_a_held_lock_refuses_others_and_names_the_holder(tmp_path):
    path = tmp_path / "run.lock"
    with RunLock(path):
        assert is_held(path)
        message = (
            rf"process {os.getpid()} on {socket.gethostname()} has been writing here since .*Wait for it"
        )
        with pytest.raises(RunLockedError, match=message):
            RunLock(path).__enter__()
        assert is_held(path)
    assert not path.exists()


def test_the_lock_goes_also_after_an_error(tmp_path):
    path = tmp_path / "run.lock"
    with pytest.raises(ZeroDivisionError), RunLock(path):
        1 / 0  # noqa: B018
    assert not path.exists()


@pytest.mark.parametrize("kind", ["dead", "reused pid", "unreadable", "empty", "old on another host"])
def test_a_stale_lock_is_taken_over(tmp_path, kind):
    path = tmp_path / "run.lock"
    match kind:
        case "dead":
            leave_lock(path, pid=dead_pid())
        case "reused pid":
            leave_lock(path, born="17")
        case "unreadable":
            path.write_text("{")
        case "empty":
            path.write_text("")
        case "old on another host":
            leave_lock(path, host="elsewhere")
            os.utime(path, (time.time() - 1000, time.time() - 1000))
    assert not is_held(path)
    with RunLock(path) as lock:
        owner = read_owner(path)
        assert owner is not None
        assert owner.token == lock.token
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_lock_of_another_host_is_respected(tmp_path):
    path = tmp_path / "run.lock"
    leave_lock(path, host="elsewhere")
    with pytest.raises(RunLockedError, match="on elsewhere"):
        RunLock(path).__enter__()


def test_a_zombie_does_not_hold_a_lock(tmp_path):
    path = tmp_path / "run.lock"
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    code = f"from gammaflow.dag.lock import _born; print(_born({process.pid}))"
    born = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    leave_lock(path, pid=process.pid, born=born.stdout.strip())
    assert is_held(path)
    process.kill()
    end = time.monotonic() + 30
    while is_held(path) and time.monotonic() < end:
        time.sleep(0.05)
    try:
        assert not is_held(path)  # though nobody has waited for it yet
    finally:
        process.wait(timeout=30)


def test_two_who_break_a_stale_lock_do_not_both_get_it(tmp_path):
    path = tmp_path / "run.lock"
    leave_lock(path, pid=dead_pid())
    stale = read_owner(path)
    first, late = RunLock(path), RunLock(path)
    with first:
        late._break(stale)  # it looked before the first one took over
        owner = read_owner(path)
        assert owner is not None
        assert owner.token == first.token


def test_a_lock_taken_by_another_is_not_removed_on_leaving(tmp_path):
    path = tmp_path / "run.lock"
    with RunLock(path):
        path.unlink()
        leave_lock(path, host="elsewhere", token="other")
    assert path.exists()


def test_a_sign_of_life_keeps_the_lock_young(tmp_path, monkeypatch):
    path = tmp_path / "run.lock"
    monkeypatch.setattr("gammaflow.dag.lock.HEARTBEAT", 0.0)
    with RunLock(path) as lock:
        os.utime(path, (0, 0))
        lock.beat()
        assert time.time() - path.stat().st_mtime < 60

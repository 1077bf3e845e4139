"""What is tried again, what is set aside, and what stops a run."""

from __future__ import annotations

import errno

import pytest

from gammaflow.dag.policy import Decision, ErrorFacts, ErrorPolicy, Kind, classify, workers_lost
from gammaflow.dag.receipts import FailureRecord
from gammaflow.errors import (
    ConfigError,
    CorruptFileError,
    InvalidResponseError,
    MissingFileError,
    NoOverlapError,
    RunTimeoutError,
    SchemaError,
    StorageError,
    TooManyFailuresError,
)


class CommClosedError(IOError):
    """Named like the one of distributed."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ESTALE, "stale"), Kind.TRANSIENT),
        (OSError(errno.EIO, "i/o"), Kind.TRANSIENT),
        (TimeoutError("slow"), Kind.TRANSIENT),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Kind.TRANSIENT),
        (CommClosedError("closed"), Kind.TRANSIENT),
        (MemoryError(), Kind.TRANSIENT),
        (caused(CorruptFileError("truncated"), OSError(errno.EIO, "i/o")), Kind.TRANSIENT),
        (CorruptFileError("truncated"), Kind.PERMANENT),
        (caused(MissingFileError("gone"), FileNotFoundError(errno.ENOENT, "gone")), Kind.PERMANENT),
        (InvalidResponseError("NaN"), Kind.PERMANENT),
        (NoOverlapError("outside"), Kind.PERMANENT),
        (PermissionError(errno.EACCES, "an input file"), Kind.PERMANENT),
        (RunTimeoutError("too long"), Kind.PERMANENT),
        (SchemaError(["x"]), Kind.PERMANENT),
        (ZeroDivisionError(), Kind.PERMANENT),
        (OSError(errno.ENOSPC, "full"), Kind.FATAL),
        (caused(StorageError("full"), OSError(errno.ENOSPC, "full")), Kind.FATAL),
        (caused(RuntimeError("in zarr"), OSError(errno.ENOSPC, "full")), Kind.FATAL),
        (ConfigError("wrong"), Kind.FATAL),
    ],
)
def test_what_an_error_means_is_read_off_its_chain_of_causes(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(
    ("kind", "attempt", "decision"),
    [
        (Kind.TRANSIENT, 1, Decision.RETRY),
        (Kind.TRANSIENT, 2, Decision.RETRY),
        (Kind.TRANSIENT, 3, Decision.SET_ASIDE),
        (Kind.PERMANENT, 1, Decision.SET_ASIDE),
        (Kind.FATAL, 1, Decision.STOP),
    ],
)
def test_decisions(kind, attempt, decision):
    assert ErrorPolicy(retries=2).decide(ErrorFacts("E", "m", kind=kind), attempt) is decision


def test_facts_keep_what_the_error_says_and_its_causes():
    try:
        try:
            raise OSError(errno.EIO, "i/o error")
        except OSError as cause:
            raise CorruptFileError("cannot be read", where="a.fits", hint="Copy it") from cause
    except CorruptFileError as error:
        facts = ErrorFacts.of(error)
    assert (facts.error, facts.message, facts.where, facts.hint) == (
        "CorruptFileError",
        "cannot be read",
        "a.fits",
        "Copy it",
    )
    assert "i/o error" in facts.traceback
    assert facts.kind is Kind.TRANSIENT


def failures(count: int) -> list[FailureRecord]:
    return [
        FailureRecord("reduce", str(n), "k", "CorruptFileError", "truncated", f"{n}.fits")
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("failed", "allowed", "stops"), [(0, 0, False), (1, 0, True), (3, 3, False), (4, 3, True)]
)
def test_more_failures_than_allowed_stop_the_run(failed, allowed, stops):
    policy = ErrorPolicy(allow_failed=allowed)
    if not stops:
        policy.check(failures(failed), 10)
        return
    with pytest.raises(TooManyFailuresError) as caught:
        policy.check(failures(failed), 10)
    for number in range(failed):
        assert f"observation {number}: CorruptFileError: {number}.fits: truncated" in str(caught.value)
    assert f"--allow-failed {failed}" in str(caught.value)


def test_a_thousand_failures_do_not_fill_the_screen():
    with pytest.raises(TooManyFailuresError) as caught:
        ErrorPolicy().check(failures(1000), 1000)
    assert "and 980 more" in str(caught.value)
    assert len(caught.value.failures) == 1000


def test_dead_workers_are_told_by_the_observation_they_died_on():
    facts = workers_lost("observation 23523", "tcp://10.0.0.1:1234", 2)
    assert facts.where == "observation 23523"
    assert "2 workers died in turn" in facts.message
    assert facts.kind is Kind.TRANSIENT

"""What is made of events: a bar, lines, a file."""

from __future__ import annotations

import io
import json
import logging

import pytest

from gammaflow.dag.callbacks import EventLog, History, Progress, read_events
from gammaflow.dag.events import (
    Announcer,
    RunFinished,
    StageFinished,
    StageStarted,
    TaskFailed,
    TaskFinished,
    TaskRetried,
    TaskSubmitted,
)


def finished(name: str) -> TaskFinished:
    return TaskFinished(stage="reduce", name=name, attempt=1, worker="w", seconds=0.1, size=10)


def story(total: int) -> list:
    events = [StageStarted(stage="reduce", total=total, reused=2)]
    for number in range(total):
        events.append(TaskSubmitted(stage="reduce", name=str(number), attempt=1))
        events.append(finished(str(number)))
    return [*events, StageFinished(stage="reduce", done=total, failed=0, seconds=1.0)]


def test_events_are_frozen_and_say_when():
    event = finished("7")
    with pytest.raises(AttributeError):
        event.name = "8"  # type: ignore[misc]  # that is the point
    assert event.time > 1.7e9


@pytest.mark.parametrize(("total", "lines"), [(1000, 21), (20, 21), (3, 4), (1, 2)])
def test_without_a_terminal_there_is_a_line_every_five_per_cent(total, lines):
    file = io.StringIO()
    progress = Progress(file)
    for event in story(total):
        progress(event)
    printed = file.getvalue().splitlines()
    assert len(printed) == lines
    assert printed[0] == f"reducing: 0/{total} (2 done before)"
    assert printed[-1].startswith(f"reducing: {total}/{total}, ")


def test_failures_and_retries_are_told_at_once():
    file = io.StringIO()
    progress = Progress(file)
    progress(StageStarted(stage="reduce", total=10, reused=0))
    progress(TaskRetried(stage="reduce", name="7", attempt=1, error="OSError", message="stale"))
    progress(
        TaskFailed(stage="reduce", name="8", attempt=1, error="CorruptFileError", message="truncated [/x]")
    )
    text = file.getvalue()
    assert "reduce 7: OSError in attempt 1, trying again" in text
    assert "reduce 8 failed: CorruptFileError: truncated [/x]" in text
    assert "reducing: 1/10, 1 failed" in text


def test_a_stage_with_nothing_to_do_says_so():
    file = io.StringIO()
    Progress(file)(StageStarted(stage="stack", total=0, reused=5))
    assert file.getvalue() == "stacking: nothing to do (5 done before)\n"


def test_on_a_terminal_there_is_a_bar_that_ends(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    progress = Progress(file)
    for event in [*story(3), RunFinished(status="done", message="", seconds=1.0)]:
        progress(event)
    assert "3/3" in file.getvalue()
    assert progress._bars is None


def test_the_event_log_can_be_read_while_it_is_written_and_after_a_crash(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for event in story(3):
        log(event)
        assert json.loads(path.read_text().splitlines()[-1])["event"] == type(event).__name__
    log.close()
    with path.open("a") as file:
        file.write('{"event": "TaskFin')
    assert [event["event"] for event in read_events(path)] == [type(event).__name__ for event in story(3)]
    assert list(read_events(tmp_path / "none.jsonl")) == []


def test_the_log_goes_on_where_it_was(tmp_path):
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        log = EventLog(path)
        log(finished("7"))
        log.close()
    assert len(list(read_events(path))) == 2


def test_a_callback_that_breaks_does_not_break_the_run(caplog):
    def broken(event) -> None:
        raise RuntimeError("no terminal")

    history = History()
    announce = Announcer([broken, history])
    with caplog.at_level(logging.ERROR):
        announce(finished("1"))
        announce(finished("2"))
    assert len(history.events) == 2
    assert len(caplog.records) == 1
    assert "is left out from now on" in caplog.text

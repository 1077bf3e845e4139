"""A progress bar a stage; where there is no terminal, a line every five per cent."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from gammaflow.dag.events import (
    Event,
    RunFinished,
    StageFinished,
    StageStarted,
    TaskFailed,
    TaskFinished,
    TaskRetried,
)

LABELS = {"reduce": "reducing", "stack": "stacking", "finish": "finishing"}
"""What a person reads for each stage."""


class Progress:
    """Shows a run's progress.

    Parameters
    ----------
    file : text stream, optional
        Where to; standard error by default, so that standard output stays for results.
    step : float
        Share of a stage between two lines where there is no terminal.
    """

    def __init__(self, file: TextIO | None = None, step: float = 0.05) -> None:
        self._console = Console(file=file or sys.stderr)
        self._step = step
        self._bars: Bars | None = None
        self._bar: TaskID | None = None
        self._stage = ""
        self._total = self._done = self._failed = 0
        self._next_line = 0.0
        self._begun = 0.0

    def __call__(self, event: Event) -> None:
        """Show what an event means."""
        match event:
            case StageStarted():
                self._start(event)
            case TaskFinished():
                self._advance()
            case TaskFailed():
                self._failed += 1
                self._console.print(
                    f"{event.stage} {event.name} failed: {event.error}: {event.message}", markup=False
                )
                self._advance()
            case TaskRetried():
                self._console.print(
                    f"{event.stage} {event.name}: {event.error} in attempt {event.attempt}, trying again",
                    markup=False,
                )
            case StageFinished() | RunFinished():
                self._stop()

    def _start(self, event: StageStarted) -> None:
        self._stop()
        self._stage, self._total, self._done, self._failed = event.stage, event.total, 0, 0
        label = LABELS.get(event.stage, event.stage)
        reused = f" ({event.reused} done before)" if event.reused else ""
        self._begun, self._next_line = time.monotonic(), self._step
        if not event.total:
            if event.reused:
                self._console.print(f"{label}: nothing to do{reused}", markup=False)
        elif self._console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            self._bar = self._bars.add_task(label, total=event.total, note=reused.strip())
            self._bars.start()
        else:
            self._console.print(f"{label}: 0/{event.total}{reused}", markup=False)

    def _advance(self) -> None:
        self._done += 1
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, advance=1)
            if self._failed:
                self._bars.update(self._bar, note=f"{self._failed} failed")
        elif self._total and self._done / self._total >= self._next_line - 1e-9:
            self._next_line = (int(self._done / self._total / self._step + 1e-9) + 1) * self._step
            failed = f", {self._failed} failed" if self._failed else ""
            seconds = time.monotonic() - self._begun
            label = LABELS.get(self._stage, self._stage)
            self._console.print(f"{label}: {self._done}/{self._total}{failed}, {seconds:.0f} s", markup=False)

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = self._bar = None

"""A fit on one line of the terminal; where there is no terminal, a line now and then."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from gammaflow.dag.events import Event
from gammaflow.dag.fit_events import FitFinished, FitStarted, FitStep


class FitLine:
    """Shows how a fit goes: trip, statistic, estimated distance to the minimum.

    Parameters
    ----------
    file : text stream, optional
        Where to; standard error by default, so that standard output stays for results.
    every : float
        Seconds between two lines where there is no terminal.
    """

    def __init__(self, file: TextIO | None = None, every: float = 5.0) -> None:
        self._console = Console(file=file or sys.stderr)
        self._every = every
        self._next = 0.0
        self._status: Status | None = None

    def __call__(self, event: Event) -> None:
        """Show what an event means."""
        match event:
            case FitStarted():
                number = f"{event.datasets} dataset{'' if event.datasets == 1 else 's'}"
                self._start(f"fitting {number} ({event.name}, {event.backend}, {event.evaluator})")
            case FitStep():
                self._step(
                    f"fitting: trip {event.trip}, statistic {_shown(event.stat, '.4f')}, "
                    f"distance to minimum {_shown(event.edm, '.1e')}"
                )
            case FitFinished():
                self._stop()
                self._console.print(
                    Text(f"fit {event.name}: {event.status} after {event.trips} trips, {event.seconds:.2f} s")
                )

    def _start(self, text: str) -> None:
        self._stop()
        if self._console.is_terminal:
            self._status = self._console.status(Text(text))
            self._status.start()
        else:
            self._console.print(Text(text))
            self._next = time.monotonic() + self._every

    def _step(self, text: str) -> None:
        if self._status is not None:
            self._status.update(Text(text))
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            self._console.print(Text(text))

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _shown(number: float | None, form: str) -> str:
    return "not known yet" if number is None else format(number, form)

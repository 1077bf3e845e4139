"""``events.jsonl``: what happened, one JSON line an event, for people and scripts that come later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gammaflow.dag.events import Event


class EventLog:
    """Appends each event to a file.

    A line goes out in one system call to a descriptor opened for appending, so that lines never mix and
    a reader sees each as soon as it is there; only a crash of the machine can leave a last line unfinished.

    Parameters
    ----------
    path : Path
        The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def __call__(self, event: Event) -> None:
        """Append an event."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._descriptor, (event.to_json() + "\n").encode())

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events in a file, oldest first; an unfinished line is passed over."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and "event" in event:
                    yield event
    except FileNotFoundError:
        return

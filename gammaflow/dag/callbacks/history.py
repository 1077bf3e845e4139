"""A callback that remembers."""

from __future__ import annotations

from typing import TypeVar

from gammaflow.dag.events import Event, TaskSubmitted

E = TypeVar("E", bound=Event)


class History:
    """Keeps every event, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Remember an event."""
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def submitted(self, stage: str | None = None) -> list[str]:
        """Names of the tasks that were handed to the engine, in order."""
        return [event.name for event in self.of(TaskSubmitted) if stage in (None, event.stage)]

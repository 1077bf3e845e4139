"""What can be done with a run's events: show progress, keep a log, remember them."""

from gammaflow.dag.callbacks.event_log import EventLog, read_events
from gammaflow.dag.callbacks.history import History
from gammaflow.dag.callbacks.progress import Progress

__all__ = ["EventLog", "History", "Progress", "read_events"]

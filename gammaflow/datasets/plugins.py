"""What stands above datasets and completes them: file formats, and the prediction of counts.

They are found by the entry points of the group ``gammaflow.datasets``, of this distribution and of any other,
and are imported when one is first needed; each registers itself in `formats` or `prediction`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Final

GROUP: Final = "gammaflow.datasets"


@cache
def load_plugins() -> None:
    """Import every module that completes datasets. Once a process."""
    for entry in entry_points(group=GROUP):
        entry.load()

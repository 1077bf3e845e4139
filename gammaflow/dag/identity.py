"""Which changes of the configuration a run folder puts up with.

The keys handle every change that leaves results comparable: other observations, makers, a safe mask, a
background, anything of the flow. But another data store, another type of dataset or another map is another
run: its results would be mixed with the old ones under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gammaflow.config import AnalysisConfig
from gammaflow.dag.keys import canonical
from gammaflow.dag.run_folder import RunFolder
from gammaflow.errors import ConfigError, RunMismatchError

PARTS = (
    "observations.datastore",
    "datasets.type",
    "datasets.geom.wcs",
    "datasets.geom.axes",
    "datasets.on_region",
)
"""What makes a run another run. ``datasets.on_region`` is the geometry of a spectrum."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value of the configuration: as it is compared, and as a person wrote it."""

    value: object
    text: str


def identity(config: AnalysisConfig) -> dict[str, Leaf]:
    """The leaves of a configuration that must not change within a run folder, by key path."""
    compared = _flatten(config.canonical())
    shown = _flatten(config.to_dict())
    parts = [part for part in PARTS if part != "datasets.on_region" or config.datasets.type == "1d"]
    leaves = {
        path: Leaf(value, str(shown.get(path, value)))
        for path, value in compared.items()
        if any(path == part or path.startswith(f"{part}.") for part in parts)
    }
    datastore = leaves["observations.datastore"]
    leaves["observations.datastore"] = Leaf(_resolved(config), datastore.text)
    return leaves


def check_identity(folder: RunFolder, before: Mapping[str, Leaf], now: Mapping[str, Leaf]) -> None:
    """Refuse a run folder that belongs to another configuration.

    Parameters
    ----------
    folder : RunFolder
        The folder.
    before, now : dict of str to Leaf
        See ``identity``: of the configuration in the folder, and of the one given.

    Raises
    ------
    RunMismatchError
        It names each key path that differs, with both values.
    """
    nothing = Leaf(None, "not set")
    differing = []
    for path in sorted(before.keys() | now.keys()):
        old, new = before.get(path, nothing), now.get(path, nothing)
        if canonical(old.value) != canonical(new.value):
            differing.append(f"\n  - {path}: {old.text} in the run folder, {new.text} in the configuration")
    if differing:
        raise RunMismatchError(
            f"the run folder belongs to another configuration:{''.join(differing)}\n",
            where=str(folder.path),
            hint="Choose another folder with --run, or discard what is there with --overwrite",
        )


def _resolved(config: AnalysisConfig) -> str:
    """Where the data store is; its text if that holds a variable which is not set here."""
    try:
        return str(config.path(config.observations.datastore).resolve())
    except ConfigError:
        return config.observations.datastore


def _flatten(section: Mapping[str, object], path: str = "") -> dict[str, object]:
    leaves: dict[str, object] = {}
    for name, value in section.items():
        below = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and value:
            leaves |= _flatten(value, below)
        else:
            leaves[below] = value
    return leaves

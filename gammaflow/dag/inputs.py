"""What goes into an analysis: a configuration, its data store, and the files of what it selects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gammaflow.config import AnalysisConfig
from gammaflow.data import DataStore, ObservationFiles, ObservationSelection
from gammaflow.errors import ConfigError, MissingFileError, MissingHduError


def as_config(config: AnalysisConfig | Mapping[str, Any] | str | Path) -> AnalysisConfig:
    """A configuration from one, its settings, or the path of its YAML file, checked.

    Raises
    ------
    ConfigError
        It is wrong.
    """
    if isinstance(config, str | Path):
        return AnalysisConfig.read(config)
    made = config if isinstance(config, AnalysisConfig) else AnalysisConfig(**config)
    made.check()
    return made


def named_path(config: AnalysisConfig, path: str | Path | None, key: str) -> Path:
    """The path that is named, or that which the configuration names as ``general.<key>``.

    Raises
    ------
    ConfigError
        Neither does.
    """
    named = path if path is not None else getattr(config.general, key)
    if named is None:
        what = "folder" if key == "datasets_file" else "file"
        raise ConfigError(f"no {what} is named", where=f"general.{key}", hint="Set it, or pass a path")
    return config.path(str(named))


def read_data_store(config: AnalysisConfig) -> DataStore:
    """The data store of a configuration; its index is read, no more.

    Raises
    ------
    ConfigError
        There is none.
    """
    with missing_is_wrong("observations.datastore"):
        return DataStore.read(config.path(config.observations.datastore))


def selected_files(store: DataStore, config: AnalysisConfig) -> tuple[ObservationFiles, ...]:
    """The files of each observation that a configuration selects; nothing is opened."""
    selection = ObservationSelection.from_config(config.with_absolute_paths().observations)
    located = []
    for obs_id in store.select_observations(selection):
        try:
            located.append(store.locate(obs_id, selection.intervals))
        except MissingHduError:
            # Its reduction says so and sets it aside; the others go on.
            located.append(ObservationFiles(obs_id, ()))
    return tuple(located)


@contextmanager
def missing_is_wrong(key: str) -> Iterator[None]:
    """What the configuration names and is not there makes the configuration wrong, not the data."""
    try:
        yield
    except MissingFileError as error:
        raise ConfigError(error.found, where=f"{key}: {error.where}", hint=error.hint) from error

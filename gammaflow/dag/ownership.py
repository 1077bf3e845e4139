"""Whose run folder it is: what an analysis may do to a folder that is there already."""

from __future__ import annotations

from gammaflow.config import AnalysisConfig
from gammaflow.dag.identity import check_identity, identity
from gammaflow.dag.lock import RunLock
from gammaflow.dag.run_folder import RunFolder
from gammaflow.errors import ConfigError


def kept_config(config: AnalysisConfig) -> str:
    """What the run folder keeps of a configuration: it means the same from anywhere."""
    return config.with_absolute_paths().to_yaml()


def check_folder(folder: RunFolder, config: AnalysisConfig) -> None:
    """Refuse a run folder that belongs to another configuration.

    Raises
    ------
    RunMismatchError
        It names each key that differs.
    ConfigError
        The folder holds a configuration that no run has written.
    """
    _check_config_file(folder, config)
    if folder.config.exists():
        before = AnalysisConfig.read(folder.config, check=False)
        check_identity(folder, identity(before), identity(config))


def discard(folder: RunFolder, config: AnalysisConfig) -> None:
    """Remove everything that a run left in the folder, and nothing else.

    Raises
    ------
    ConfigError
        The folder holds a configuration that no run has written.
    RunLockedError
        A run is going on there.
    """
    _check_config_file(folder, config)
    if folder.path.is_dir():
        with RunLock(folder.lock):
            folder.clear()


def _check_config_file(folder: RunFolder, config: AnalysisConfig) -> None:
    """Keep off a ``config.yaml`` that is the user's own: a run writes one into its folder."""
    mine = folder.config
    if mine.exists() and not folder.plan.exists() and mine.read_text() != kept_config(config):
        raise ConfigError(
            "there is a config.yaml in the folder that no run has written",
            where=str(folder.path),
            hint="Give the run a folder of its own",
        )

"""The whole configuration: reading, checking, writing."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import PrivateAttr

from gammaflow.config.flow import FlowConfig
from gammaflow.config.parameters import BACKGROUND_MAKERS, ParametersError, check_parameters
from gammaflow.config.paths import expand_path
from gammaflow.config.section import Section, problems_error
from gammaflow.config.sections import (
    DatasetsConfig,
    ExcessMapConfig,
    FitConfig,
    FluxPointsConfig,
    GeneralConfig,
    LightCurveConfig,
    ObservationsConfig,
    SkyCoordConfig,
)
from gammaflow.errors import ConfigError, GammaflowError

_FILES = (
    ("observations", "datastore"),
    ("observations", "obs_file"),
    ("datasets.background", "exclusion"),
    ("general", "datasets_file"),
    ("general", "models_file"),
)


class AnalysisConfig(Section):
    """The configuration of an analysis: Gammapy's, key for key, and the section ``flow``.

    Every key has a default. What a section holds is checked when it is set; what sections need of each
    other is checked by `check`, and when a file is read.

    Examples
    --------
    >>> config = AnalysisConfig.from_yaml("datasets: {type: 3d}")
    >>> config.datasets.geom.wcs.binsize = "0.05 deg"
    >>> config.datasets.geom.wcs.binsize
    <Angle 0.05 deg>
    """

    general: GeneralConfig = GeneralConfig()
    observations: ObservationsConfig = ObservationsConfig()
    datasets: DatasetsConfig = DatasetsConfig()
    fit: FitConfig = FitConfig()
    flux_points: FluxPointsConfig = FluxPointsConfig()
    excess_map: ExcessMapConfig = ExcessMapConfig()
    light_curve: LightCurveConfig = LightCurveConfig()
    flow: FlowConfig = FlowConfig()

    _folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def read(cls, path: str | Path, check: bool = True) -> AnalysisConfig:
        """Read a YAML file.

        Parameters
        ----------
        path : path
            The file. Relative paths in it may also be relative to its folder, see `path`.
        check : bool
            Also check what sections need of each other, see `check`.

        Raises
        ------
        ConfigError
            Everything that is wrong, with key paths; for a syntax error its line.
        """
        file = expand_path(path)
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise ConfigError(
                f"cannot read it ({reason})", where=str(file), hint="Check the path."
            ) from error
        config = cls.from_yaml(text, where=str(file))
        config._folder = file.resolve().parent
        if check:
            config.check(where=str(file))
        return config

    @classmethod
    def from_yaml(cls, text: str, where: str = "") -> AnalysisConfig:
        """Configuration of a YAML text; a key ``metadata`` is dropped.

        Parameters
        ----------
        text : str
            The YAML; keys that are left out have their default.
        where : str
            What errors name as the place, e.g. the file.
        """
        settings = _load(text, where or "configuration")
        settings.pop("metadata", None)
        try:
            return cls(**settings)
        except ConfigError as error:
            if where:
                error.where = where
            raise

    def to_yaml(self) -> str:
        """The YAML text, every key with its value. ``flow`` is left out where nothing of it is set, for
        Gammapy's sake.
        """
        plain = self.to_dict()
        if self.flow == FlowConfig():
            del plain["flow"]
        return _dump(plain)

    def write(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the YAML to a file.

        Raises
        ------
        ConfigError
            If the file is there and ``overwrite`` is not set.
        """
        file = expand_path(path)
        if file.exists() and not overwrite:
            raise ConfigError(
                "the file exists", where=str(file), hint="Choose another name, or set overwrite=True."
            )
        file.write_text(self.to_yaml())

    def update(self, config: str | AnalysisConfig | Mapping[str, Any]) -> AnalysisConfig:
        """A new configuration with the settings of another put over this one's.

        Parameters
        ----------
        config : str, `AnalysisConfig` or mapping
            YAML, or a configuration of which the values count that are not the default, or nested keys.
        """
        if isinstance(config, str):
            changes = _load(config, "configuration")
            changes.pop("metadata", None)
        elif isinstance(config, AnalysisConfig):
            changes = _difference(config.to_dict(), AnalysisConfig().to_dict())
        elif isinstance(config, Mapping):
            changes = dict(config)
        else:
            raise ConfigError(
                f"cannot update from {type(config).__name__}",
                hint="Give YAML, a mapping or an AnalysisConfig.",
            )
        updated = type(self)(**_merge(self.to_dict(), changes))
        updated._folder = self._folder
        return updated

    def path(self, path: str) -> Path:
        """A path of the configuration with variables put in, see `expand_path`.

        A relative one is looked for from the working directory, as in Gammapy, then from the
        configuration's folder.
        """
        return expand_path(path, self._folder)

    def with_absolute_paths(self) -> AnalysisConfig:
        """A copy that means the same from any folder: relative input paths made absolute, variables left as
        they are.
        """
        copy = self.model_copy(deep=True)
        for section, key in _FILES:
            owner: Any = copy
            for part in section.split("."):
                owner = getattr(owner, part)
            text = getattr(owner, key)
            if text is not None and not text.startswith(("$", "~", "/")) and "://" not in text:
                setattr(owner, key, str(self.path(text).resolve()))
        return copy

    def set_logging(self) -> None:
        """Set up Python's logging as ``general.log`` says; it changes the process."""
        settings = {key: value for key, value in self.general.log.to_dict().items() if value is not None}
        logging.basicConfig(**(settings | {"level": settings["level"].upper()}))

    def check(self, where: str = "") -> None:
        """Check what sections need of each other.

        Raises
        ------
        ConfigError
            With all problems at once.
        """
        problems = self.problems()
        if problems:
            raise problems_error(problems, where)

    def problems(self) -> list[str]:
        """What sections lack of each other, each with its key path; empty if nothing."""
        found = self._selection_problems()
        # datasets that are read from files need no geometry
        if self.general.datasets_file is None:
            found += self._geometry_problems()
        return found + self._background_problems()

    def _selection_problems(self) -> list[str]:
        found = []
        observations = self.observations
        if observations.obs_ids and observations.obs_file is not None:
            found.append("observations.obs_ids and observations.obs_file are both set; give one of them")
        found += _incomplete("observations.obs_cone", observations.obs_cone)
        time = observations.obs_time
        if (time.start is None) != (time.stop is None):
            found.append(f"observations.obs_time lacks {'start' if time.start is None else 'stop'}")
        return found

    def _geometry_problems(self) -> list[str]:
        datasets = self.datasets
        center, key = datasets.geom.wcs.skydir, "datasets.geom.wcs.skydir"
        found = [] if datasets.type == "3d" else _incomplete(key, center)
        if datasets.type == "1d":
            center, key = datasets.on_region, "datasets.on_region"
        if not center.is_set:
            missing = [name for name in type(center).model_fields if getattr(center, name) is None]
            found.append(f"{key}: {datasets.type} datasets need it, and {', '.join(missing)} is not set")
        for build in (datasets.geom.energy_axis, datasets.geom.energy_true_axis):
            try:
                build()
            except GammaflowError as error:
                found.append(str(error).rstrip("."))
        if not found and datasets.type == "3d":
            try:
                datasets.geom.to_geom()
            except GammaflowError as error:
                found.append(f"datasets.geom.wcs: {error}".rstrip("."))
        return found

    def _background_problems(self) -> list[str]:
        found = []
        datasets, background = self.datasets, self.datasets.background
        key = "datasets.background"
        if background.method is None:
            if background.parameters:
                found.append(f"{key}.parameters are set, but {key}.method is not")
            return found
        try:
            check_parameters(BACKGROUND_MAKERS[background.method], background.parameters)
        except ParametersError as error:
            found += [f"{key}.parameters.{name}: {problem}" for name, problem in error.problems]
        wanted = "1d" if background.method == "reflected" else "3d"
        if datasets.type != wanted:
            method = f"{key}.method: {background.method}"
            found.append(f"{method} is for {wanted} datasets, datasets.type is {datasets.type}")
        if background.method == "ring":
            if datasets.geom.axes.energy.nbins != 1:
                nbins = datasets.geom.axes.energy.nbins
                found.append(f"{key}.method: ring needs one energy bin, geom.axes.energy.nbins is {nbins}")
            found += [
                f"{key}.parameters: ring needs {p}"
                for p in ("r_in", "width")
                if p not in background.parameters
            ]
        if background.method == "fov_background":
            missing = {"counts", "background"} - set(datasets.map_selection)
            found += [f"datasets.map_selection: fov_background needs {name}" for name in sorted(missing)]
        return found

    def __str__(self) -> str:
        return _dump(self.to_dict())


def _incomplete(key: str, position: SkyCoordConfig) -> list[str]:
    """A position or circle is given whole or not at all."""
    names = list(type(position).model_fields)
    missing = [name for name in names if getattr(position, name) is None]
    return [f"{key} lacks {', '.join(missing)}"] if 0 < len(missing) < len(names) else []


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key twice, where the later one would win unnoticed."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"key '{key}' stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _load(text: str, where: str) -> dict[str, Any]:
    try:
        settings = yaml.load(text, _Loader)  # a SafeLoader, made stricter
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError(
            f"not valid YAML ({reason})", where=place, hint="Check indentation, colons, quotes."
        ) from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(
            f"a {type(settings).__name__} where keys are needed", where=where, hint="E.g. 'datasets:'."
        )
    wrong = [key for key in settings if not isinstance(key, str)]
    if wrong:
        raise ConfigError(f"key {wrong[0]!r} is not a text", where=where)
    return settings


def _dump(plain: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(plain), sort_keys=False, indent=4, allow_unicode=True, width=100))


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = (
            _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _difference(plain: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as in the default."""
    changed: dict[str, Any] = {}
    for key, value in plain.items():
        other = default.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            below = _difference(value, other)
            if below:
                changed[key] = below
        elif value != other:
            changed[key] = value
    return changed

"""The configuration: Gammapy's `AnalysisConfig` YAML, key for key, plus the section ``flow``."""

from gammaflow.config.analysis import AnalysisConfig
from gammaflow.config.flow import FlowConfig, GroupByConfig
from gammaflow.config.paths import expand_path
from gammaflow.config.section import Section
from gammaflow.config.sections import (
    BackgroundConfig,
    DatasetsConfig,
    EnergyAxesConfig,
    EnergyAxisConfig,
    EnergyRangeConfig,
    ExcessMapConfig,
    FitConfig,
    FluxPointsConfig,
    GeneralConfig,
    GeomConfig,
    LightCurveConfig,
    LogConfig,
    ObservationsConfig,
    SafeMaskConfig,
    SelectionConfig,
    SkyCoordConfig,
    SpatialCircleConfig,
    TimeRangeConfig,
    WcsConfig,
    WidthConfig,
)

__all__ = [
    "AnalysisConfig",
    "BackgroundConfig",
    "DatasetsConfig",
    "EnergyAxesConfig",
    "EnergyAxisConfig",
    "EnergyRangeConfig",
    "ExcessMapConfig",
    "FitConfig",
    "FlowConfig",
    "FluxPointsConfig",
    "GeneralConfig",
    "GeomConfig",
    "GroupByConfig",
    "LightCurveConfig",
    "LogConfig",
    "ObservationsConfig",
    "SafeMaskConfig",
    "Section",
    "SelectionConfig",
    "SkyCoordConfig",
    "SpatialCircleConfig",
    "TimeRangeConfig",
    "WcsConfig",
    "WidthConfig",
    "expand_path",
]

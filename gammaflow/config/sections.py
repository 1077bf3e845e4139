"""The sections of Gammapy's `AnalysisConfig`, key for key, with its defaults."""

from __future__ import annotations

import logging
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from pydantic import Field, ValidationInfo, field_validator, model_validator

from gammaflow.config.parameters import BACKGROUND_MAKERS, canonical_parameters, check_parameters
from gammaflow.config.quantities import AngleType, EnergyType, PathType, PositiveAngleType, TimeType
from gammaflow.config.section import Section, canonical_value
from gammaflow.errors import ConfigError
from gammaflow.maps import MapAxis, WcsGeom

Frame = Literal["icrs", "galactic"]
Count = Annotated[int, Field(ge=1)]


class LogConfig(Section):
    """Where and how log messages are written; the arguments of `logging.basicConfig`."""

    level: str = "info"
    filename: PathType | None = None
    filemode: str | None = None
    format: str | None = None
    datefmt: str | None = None

    @field_validator("level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in logging.getLevelNamesMapping():
            raise ValueError("allowed is debug, info, warning, error or critical")
        return level


class GeneralConfig(Section):
    """Output folder, files, logging."""

    log: LogConfig = LogConfig()
    outdir: PathType = "."
    n_jobs: Count = 1
    datasets_file: PathType | None = None
    models_file: PathType | None = None


class SkyCoordConfig(Section):
    """A sky position."""

    frame: Frame | None = None
    lon: AngleType | None = None
    lat: AngleType | None = None

    @field_validator("lat")
    @classmethod
    def _on_the_sphere(cls, lat: Angle | None) -> Angle | None:
        if lat is not None and abs(lat.to_value(u.deg)) > 90.0:
            raise ValueError("a latitude is between -90 and 90 deg")
        return lat

    @property
    def is_set(self) -> bool:
        """Whether all of it is given."""
        return None not in (self.frame, self.lon, self.lat)

    @property
    def skycoord(self) -> SkyCoord:
        """The position; ConfigError if a part of it is missing."""
        missing = [name for name in ("frame", "lon", "lat") if getattr(self, name) is None]
        if missing:
            raise ConfigError(f"a sky position without {', '.join(missing)}", hint="Give frame, lon and lat.")
        return SkyCoord(self.lon, self.lat, frame=self.frame)


class SpatialCircleConfig(SkyCoordConfig):
    """A circle on the sky."""

    radius: PositiveAngleType | None = None

    @property
    def is_set(self) -> bool:
        """Whether all of it is given."""
        return super().is_set and self.radius is not None


class TimeRangeConfig(Section):
    """A time range, or lists of starts and stops."""

    start: TimeType | None = None
    stop: TimeType | None = None

    @model_validator(mode="after")
    def _in_order(self) -> TimeRangeConfig:
        if self.start is not None and self.stop is not None:
            if self.start.shape != self.stop.shape:
                raise ValueError(f"{self.start.size} starts and {self.stop.size} stops")
            if not np.all(self.start < self.stop):
                raise ValueError("start must be before stop")
        return self


class EnergyRangeConfig(Section):
    """An energy range."""

    min: EnergyType | None = None
    max: EnergyType | None = None

    @model_validator(mode="after")
    def _in_order(self) -> EnergyRangeConfig:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}")
        return self


class EnergyAxisConfig(EnergyRangeConfig):
    """An energy axis of logarithmic bins."""

    nbins: Count | None = None

    @property
    def is_set(self) -> bool:
        """Whether all of it is given."""
        return None not in (self.min, self.max, self.nbins)

    def to_axis(self, name: str = "energy") -> MapAxis:
        """The axis; ConfigError if a part of it is missing."""
        if self.min is None or self.max is None or self.nbins is None:
            missing = [key for key in ("min", "max", "nbins") if getattr(self, key) is None]
            raise ConfigError(f"the {name} axis lacks {', '.join(missing)}", hint="Give min, max and nbins.")
        return MapAxis.from_energy_bounds(self.min, self.max, self.nbins, name=name)


class ObservationsConfig(Section):
    """Which observations, and where they are."""

    datastore: PathType = "$GAMMAPY_DATA/hess-dl3-dr1/"
    obs_ids: list[int] = Field(default=[])
    obs_file: PathType | None = None
    obs_cone: SpatialCircleConfig = SpatialCircleConfig()
    obs_time: TimeRangeConfig = TimeRangeConfig()
    required_irf: list[Literal["events", "gti", "aeff", "bkg", "edisp", "psf", "rad_max"]] = Field(
        default=["aeff", "edisp", "psf", "bkg"]
    )

    unordered: ClassVar[frozenset[str]] = frozenset({"obs_ids", "required_irf"})


class WidthConfig(Section):
    """Size of a map."""

    width: PositiveAngleType = Angle("5 deg")
    height: PositiveAngleType = Angle("5 deg")


class WcsConfig(Section):
    """Position, size and pixels of a map."""

    skydir: SkyCoordConfig = SkyCoordConfig()
    binsize: PositiveAngleType = Angle("0.02 deg")
    width: WidthConfig = WidthConfig()
    binsize_irf: PositiveAngleType = Angle("0.2 deg")


class SelectionConfig(Section):
    """How far from its pointing an observation is used: half the width of its cutout."""

    offset_max: PositiveAngleType = Angle("2.5 deg")


class EnergyAxesConfig(Section):
    """Reconstructed and true energy."""

    energy: EnergyAxisConfig = EnergyAxisConfig(min="1 TeV", max="10 TeV", nbins=5)
    energy_true: EnergyAxisConfig = EnergyAxisConfig(min="0.5 TeV", max="20 TeV", nbins=16)


class GeomConfig(Section):
    """The geometry of the datasets."""

    wcs: WcsConfig = WcsConfig()
    selection: SelectionConfig = SelectionConfig()
    axes: EnergyAxesConfig = EnergyAxesConfig()

    def energy_axis(self) -> MapAxis:
        """Axis of reconstructed energy."""
        return self._axis("energy")

    def energy_true_axis(self) -> MapAxis:
        """Axis of true energy; where none is configured, that of reconstructed energy."""
        axis = self.axes.energy_true
        if axis.min is None and axis.max is None and axis.nbins is None:
            return self.energy_axis().rename("energy_true")
        return self._axis("energy_true")

    def to_geom(self) -> WcsGeom:
        """The map geometry with its energy axis, in plate carree centred on ``wcs.skydir``.

        Raises
        ------
        ConfigError
            If the centre or the axis is incomplete.
        GeometryError
            If the sizes make no map.
        """
        skydir, size = self.wcs.skydir, self.wcs.width
        if skydir.frame is None or skydir.lon is None or skydir.lat is None:
            raise ConfigError(
                "a map needs the position of its centre",
                where="datasets.geom.wcs.skydir",
                hint="Give frame, lon and lat, e.g. {frame: icrs, lon: 83.63 deg, lat: 22.01 deg}.",
            )
        return WcsGeom.create(
            skydir=(skydir.lon.to_value(u.deg), skydir.lat.to_value(u.deg)),
            binsz=self.wcs.binsize,
            width=(size.width, size.height),
            frame=skydir.frame,
            axes=[self.energy_axis()],
        )

    def _axis(self, name: str) -> MapAxis:
        axis: EnergyAxisConfig = getattr(self.axes, name)
        try:
            return axis.to_axis(name)
        except ConfigError as error:
            raise error.at(f"datasets.geom.axes.{name}") from None


class BackgroundConfig(Section):
    """How the background is measured."""

    method: Literal["reflected", "fov_background", "ring"] | None = None
    exclusion: PathType | None = None
    parameters: dict[str, Any] = Field(default={})

    @field_validator("parameters")
    @classmethod
    def _known_parameters(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        method = info.data.get("method")
        return check_parameters(BACKGROUND_MAKERS[method], parameters) if method else parameters

    def _canonical_value(self, name: str, value: Any) -> Any:
        if name == "parameters" and self.method:
            return canonical_value(canonical_parameters(BACKGROUND_MAKERS[self.method], value))
        return super()._canonical_value(name, value)


class SafeMaskConfig(Section):
    """Where the data are trusted."""

    methods: list[Literal["aeff-default", "aeff-max", "edisp-bias", "offset-max", "bkg-peak"]] = Field(
        default=["aeff-default"]
    )
    parameters: dict[str, Any] = Field(default={})

    unordered: ClassVar[frozenset[str]] = frozenset({"methods"})

    @field_validator("parameters")
    @classmethod
    def _known_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        return check_parameters("SafeMaskMaker", parameters)

    def _canonical_value(self, name: str, value: Any) -> Any:
        if name == "parameters":
            return canonical_value(canonical_parameters("SafeMaskMaker", value))
        return super()._canonical_value(name, value)


class DatasetsConfig(Section):
    """What is made of the observations."""

    type: Literal["1d", "3d"] = "1d"
    stack: bool = True
    geom: GeomConfig = GeomConfig()
    map_selection: list[Literal["counts", "exposure", "background", "psf", "edisp"]] = Field(
        default=["counts", "exposure", "background", "psf", "edisp"]
    )
    background: BackgroundConfig = BackgroundConfig()
    safe_mask: SafeMaskConfig = SafeMaskConfig()
    on_region: SpatialCircleConfig = SpatialCircleConfig()
    containment_correction: bool = True

    unordered: ClassVar[frozenset[str]] = frozenset({"map_selection"})


class FitConfig(Section):
    """Which data are fitted."""

    fit_range: EnergyRangeConfig = EnergyRangeConfig()


class FluxPointsConfig(Section):
    """Flux points of a source."""

    energy: EnergyAxisConfig = EnergyAxisConfig()
    source: str = "source"
    parameters: dict[str, Any] = Field(default={"selection_optional": "all"})

    @field_validator("parameters")
    @classmethod
    def _known_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        return check_parameters("FluxPointsEstimator", parameters)


class ExcessMapConfig(Section):
    """Maps of excess and significance."""

    correlation_radius: PositiveAngleType = Angle("0.1 deg")
    parameters: dict[str, Any] = Field(default={})
    energy_edges: EnergyAxisConfig = EnergyAxisConfig()

    @field_validator("parameters")
    @classmethod
    def _known_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        return check_parameters("ExcessMapEstimator", parameters)


class LightCurveConfig(Section):
    """Flux of a source in time."""

    time_intervals: TimeRangeConfig = TimeRangeConfig()
    energy_edges: EnergyAxisConfig = EnergyAxisConfig()
    source: str = "source"
    parameters: dict[str, Any] = Field(default={"selection_optional": "all"})

    @field_validator("parameters")
    @classmethod
    def _known_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        return check_parameters("LightCurveEstimator", parameters)

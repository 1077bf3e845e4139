"""The sources of the simulated survey: spectra, shapes, and the YAML that tells the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammaflow.data.simulation.sphere import displace

Floats = NDArray[np.float64]
Parameter = tuple[str, float, str, bool]  # name, value, unit, frozen

SURVEY_CENTRE = (330.0, 0.0)  # deg, galactic
_FLUX_UNIT = "TeV-1 s-1 cm-2"


class Spectrum(Protocol):
    """Differential flux, and how Gammapy's models YAML writes it."""

    @property
    def tag(self) -> str:
        """Name of the class."""

    def __call__(self, energy: Floats) -> Floats:
        """Flux in TeV-1 s-1 cm-2 at energies in TeV."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order of the YAML."""


@dataclass(frozen=True)
class PowerLaw:
    """``amplitude (E / TeV)^-index``."""

    index: float
    amplitude: float
    tag: ClassVar[str] = "PowerLawSpectralModel"

    def __call__(self, energy: Floats) -> Floats:
        """Flux in TeV-1 s-1 cm-2 at energies in TeV."""
        return self.amplitude * energy**-self.index

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order of the YAML."""
        return (
            ("index", self.index, "", False),
            ("amplitude", self.amplitude, _FLUX_UNIT, False),
            ("reference", 1.0, "TeV", True),
        )


@dataclass(frozen=True)
class CutoffPowerLaw:
    """``amplitude (E / TeV)^-index exp(-lambda E)``."""

    index: float
    amplitude: float
    lambda_: float
    tag: ClassVar[str] = "ExpCutoffPowerLawSpectralModel"

    def __call__(self, energy: Floats) -> Floats:
        """Flux in TeV-1 s-1 cm-2 at energies in TeV."""
        return self.amplitude * energy**-self.index * np.exp(-self.lambda_ * energy)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order of the YAML."""
        return (
            ("index", self.index, "", False),
            ("amplitude", self.amplitude, _FLUX_UNIT, False),
            ("reference", 1.0, "TeV", True),
            ("lambda_", self.lambda_, "TeV-1", False),
            ("alpha", 1.0, "", True),
        )


@dataclass(frozen=True)
class LogParabola:
    """``amplitude (E / TeV)^-(alpha + beta ln(E / TeV))``."""

    alpha: float
    beta: float
    amplitude: float
    tag: ClassVar[str] = "LogParabolaSpectralModel"

    def __call__(self, energy: Floats) -> Floats:
        """Flux in TeV-1 s-1 cm-2 at energies in TeV."""
        return self.amplitude * energy ** -(self.alpha + self.beta * np.log(energy))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order of the YAML."""
        return (
            ("amplitude", self.amplitude, _FLUX_UNIT, False),
            ("reference", 1.0, "TeV", True),
            ("alpha", self.alpha, "", False),
            ("beta", self.beta, "", False),
        )


class Shape(Protocol):
    """Where a source's photons come from, relative to its centre."""

    @property
    def tag(self) -> str:
        """Name of the class."""

    def radii(self, n: int, rng: np.random.Generator) -> Floats:
        """Distances in deg from the centre of ``n`` photons."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those after the position."""


@dataclass(frozen=True)
class Point:
    """A point."""

    tag: ClassVar[str] = "PointSpatialModel"

    def radii(self, n: int, rng: np.random.Generator) -> Floats:
        """Distances in deg from the centre: nothing is drawn."""
        return np.zeros(n)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """None after the position."""
        return ()


@dataclass(frozen=True)
class Gaussian:
    """``exp(-(1 - cos r) / 2 a)`` with ``a = 1 - cos sigma``: 1 - cos r is exponential, exactly."""

    sigma: float
    tag: ClassVar[str] = "GaussianSpatialModel"

    def radii(self, n: int, rng: np.random.Generator) -> Floats:
        """Distances in deg from the centre."""
        # 2 sin(s/2)^2 keeps what 1 - cos s would lose
        versine = -4 * np.sin(np.radians(self.sigma) / 2) ** 2 * np.log1p(-rng.random(n))
        return np.degrees(2 * np.arcsin(np.sqrt(np.minimum(versine / 2, 1.0))))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those after the position."""
        return (("sigma", self.sigma, "deg", False), ("e", 0.0, "", True), ("phi", 0.0, "deg", True))


@dataclass(frozen=True)
class Shell:
    """A shell of inner radius ``radius`` and thickness ``width`` that shines evenly, seen in projection."""

    radius: float
    width: float
    tag: ClassVar[str] = "ShellSpatialModel"

    def radii(self, n: int, rng: np.random.Generator) -> Floats:
        """Distances in deg from the centre: even in the volume, then projected."""
        inner, outer = self.radius**3, (self.radius + self.width) ** 3
        r = np.cbrt(inner + rng.random(n) * (outer - inner))
        cosine = rng.uniform(-1.0, 1.0, n)
        return r * np.sqrt(1 - cosine**2)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those after the position."""
        return (("radius", self.radius, "deg", False), ("width", self.width, "deg", False))


@dataclass(frozen=True)
class Source:
    """One source: galactic position in deg, spectrum and shape."""

    name: str
    lon: float
    lat: float
    spectrum: Spectrum
    shape: Shape

    @cached_property
    def vector(self) -> Floats:
        """ICRS unit vector of the centre, shape ``(3,)``."""
        position = SkyCoord(self.lon, self.lat, unit="deg", frame="galactic").icrs
        return np.asarray(position.cartesian.xyz.value, dtype=np.float64)

    def positions(self, n: int, rng: np.random.Generator) -> Floats:
        """ICRS unit vectors of ``n`` photons, shape ``(3, n)``."""
        centre = np.repeat(self.vector[:, np.newaxis], n, axis=1)
        if isinstance(self.shape, Point):
            return centre
        return displace(centre, self.shape.radii(n, rng), rng)

    def to_dict(self) -> dict[str, Any]:
        """A component of Gammapy's models YAML."""
        position: tuple[Parameter, ...] = (
            ("lon_0", self.lon, "deg", False),
            ("lat_0", self.lat, "deg", False),
        )
        return {
            "name": self.name,
            "type": "SkyModel",
            "spectral": {"type": self.spectrum.tag, "parameters": _entries(self.spectrum.parameters)},
            "spatial": {
                "type": self.shape.tag,
                "frame": "galactic",
                "parameters": _entries((*position, *self.shape.parameters)),
            },
        }


def survey_sky() -> tuple[Source, ...]:
    """Seven sources around the centre of the survey, from 0.1 to 0.6 of the Crab nebula's flux at 1 TeV."""
    lon, lat = SURVEY_CENTRE
    return (
        Source("point-power-law", lon + 0.1, lat + 0.2, PowerLaw(2.3, 8e-12), Point()),
        Source("gauss-cutoff", lon + 1.1, lat - 0.4, CutoffPowerLaw(1.9, 1.6e-11, 0.12), Gaussian(0.2)),
        Source("shell-power-law", lon - 1.2, lat + 0.5, PowerLaw(2.2, 2e-11), Shell(0.35, 0.1)),
        Source("point-log-parabola", lon + 2.3, lat + 0.3, LogParabola(2.2, 0.2, 6e-12), Point()),
        Source("gauss-power-law", lon - 2.6, lat - 0.3, PowerLaw(2.4, 1.2e-11), Gaussian(0.35)),
        Source("point-hard", lon - 0.5, lat - 0.9, CutoffPowerLaw(1.6, 3e-12, 0.03), Point()),
        Source("point-soft", lon + 0.9, lat + 1.1, PowerLaw(2.9, 4e-12), Point()),
    )


def models_dict(sources: Sequence[Source]) -> dict[str, Any]:
    """The sources in the shape of Gammapy's models YAML."""
    return {"components": [source.to_dict() for source in sources]}


def _entries(parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "value": value,
            **({"unit": unit} if unit else {}),
            **({"frozen": True} if frozen else {}),
        }
        for name, value, unit, frozen in parameters
    ]

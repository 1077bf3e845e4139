"""`SpatialModel`: values on the sky, and the Fourier transform with its derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import ModelError, UnsupportedError
from gammaflow.maps.frames import FRAMES
from gammaflow.modeling.differentiation import central_gradient, scale_of, second_differences
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.model import Model
from gammaflow.modeling.parameter import Parameter

PER_SR = u.Unit("sr-1")
DEG2_PER_SR = (180 / math.pi) ** 2
POSITION = ("lon_0", "lat_0")


@dataclass(frozen=True)
class Transform:
    """Fourier transform of a shape around its centre, and its derivatives by the shape's parameters.

    Parameters
    ----------
    parameters : tuple of str
        By what was differentiated, n names.
    value : (Q,)
        Transform, 1 at frequency 0 (the values, where they were asked for).
    gradient : (n, Q)
        First derivatives, by the parameters' values in their own units.
    hessian : (n, n, Q)
        Second derivatives; of no size when they were not asked for.
    """

    parameters: tuple[str, ...]
    value: NDArray[np.float64]
    gradient: NDArray[np.float64]
    hessian: NDArray[np.float64]


class SpatialModel(Model):
    """Base of the spatial models: the distribution of the flux on the sky, integral 1.

    A model of one's own needs ``evaluate(lon, lat, <parameters by name>)`` in sr-1 on float64 arrays in deg,
    with ``lon_0`` and ``lat_0`` as centre, and an ``evaluation_radius``::

        class Ring(SpatialModel):
            tag = ("RingSpatialModel", "ring")
            lon_0 = Parameter("lon_0", "0 deg")
            lat_0 = Parameter("lat_0", "0 deg")
            radius = Parameter("radius", "0.3 deg")

            @staticmethod
            def evaluate(lon, lat, lon_0, lat_0, radius):
                ...

            @property
            def evaluation_radius(self):
                return 2 * self.radius.quantity

    Predicted counts then sample it; a model with a closed transform gives `transform` as well.

    Parameters
    ----------
    frame : {"icrs", "galactic", "fk5"}
        Frame of ``lon_0`` and ``lat_0``.
    **parameters
        Values by name.
    """

    kind = "spatial"

    has_transform: ClassVar[bool] = False
    """Whether `transform` is closed; otherwise the model is sampled."""

    is_energy_dependent: bool = False
    """Whether the shape depends on the energy."""

    evaluate: Callable[..., Any]

    def __init__(self, frame: str = "icrs", **parameters: Any) -> None:
        super().__init__(**parameters)
        if frame not in FRAMES:
            raise ModelError(
                f"frame {frame!r} is not known",
                where=type(self).__name__,
                hint=f"Use one of {', '.join(FRAMES)}",
            )
        self.frame = frame

    # --- values ------------------------------------------------------------------------------------

    @property
    def unit(self) -> u.UnitBase:
        """Unit of `values`."""
        return PER_SR

    def __call__(self, lon: u.Quantity, lat: u.Quantity, energy: u.Quantity | None = None) -> u.Quantity:
        """Value at positions in the model's frame, sr-1.

        Parameters
        ----------
        lon, lat : Quantity
            Any shapes that broadcast.
        energy : Quantity, optional
            For a model that depends on it.
        """
        at = None if energy is None else u.Quantity(energy).to_value("TeV")
        values = self.values(u.Quantity(lon).to_value("deg"), u.Quantity(lat).to_value("deg"), at)
        return u.Quantity(values, self.unit)

    def values(self, lon: ArrayLike, lat: ArrayLike, energy: ArrayLike | None = None) -> NDArray[np.float64]:
        """Values at positions.

        Parameters
        ----------
        lon, lat : array
            deg, in the model's frame.
        energy : array, optional
            TeV, for a model that depends on it.

        Returns
        -------
        array
            sr-1.
        """
        where = np.broadcast_arrays(np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64))
        own: dict[str, Any] = {name: p.internal for name, p in self._pars.items()}
        if self.is_energy_dependent:
            if energy is None:
                raise ModelError("no energy for a model that depends on it", where=type(self).__name__)
            own["energy"] = np.asarray(energy, dtype=np.float64)
        return np.asarray(self.evaluate(*where, **own), dtype=np.float64)

    def values_in_bins(
        self, lon: ArrayLike, lat: ArrayLike, edges: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Values that stand for energy bins: those at the logarithmic centres.

        Parameters
        ----------
        lon, lat : array (...)
            deg, in the model's frame.
        edges : array (K + 1,)
            TeV.

        Returns
        -------
        array (K, ...)
        """
        return np.stack([self.values(lon, lat, center) for center in np.sqrt(edges[1:] * edges[:-1])])

    def values_and_derivatives(
        self,
        lon: ArrayLike,
        lat: ArrayLike,
        parameters: Sequence[str] | None = None,
        order: int = 2,
        energy: ArrayLike | None = None,
    ) -> Transform:
        """Values and their derivatives by shape parameters, by differences: for models that are sampled.

        Parameters
        ----------
        lon, lat : array (...)
            deg, in the model's frame.
        parameters : sequence of str, optional
            By which shape parameters to differentiate, by default `free_shape_parameters`.
        order : {0, 1, 2}
            Up to which derivatives.
        energy : array, optional
            TeV, for a model that depends on it.

        Returns
        -------
        Transform
            Its arrays have the shape of the values in place of (Q,).
        """
        names = self._asked(parameters)
        pars = [self._pars[name] for name in names]
        where = [np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)]
        at = {} if energy is None else {"energy": np.asarray(energy, dtype=np.float64)}
        own = {name: p.internal for name, p in self._pars.items()}

        def values(point: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(self.evaluate(*where, **{**own, **dict(zip(names, point, strict=True)), **at}))

        point = np.array([p.internal for p in pars])
        factors = np.array([p.internal_factor for p in pars])
        scales = np.array([scale_of(p) for p in pars]) * factors
        bounds = np.array([p.bounds for p in pars]).reshape(-1, 2) * factors[:, None]
        value = self.values(lon, lat, energy)
        shape = (len(names),) + (1,) * value.ndim
        first = np.zeros((0, *value.shape))
        second = np.zeros((0, 0, *value.shape))
        if order > 0 and names:
            first = central_gradient(values, point, scales, bounds) * factors.reshape(shape)
        if order > 1 and names:
            second = second_differences(values, point, scales, bounds)
            second = second * factors.reshape(shape) * factors.reshape(len(names), 1, *shape[1:])
        return Transform(names if order > 0 else (), value, first, second)

    # --- where it is -------------------------------------------------------------------------------

    @property
    def position_lonlat(self) -> tuple[float, float]:
        """Centre (lon, lat) in deg in the model's frame."""
        self._need_position()
        return (self._pars["lon_0"].internal, self._pars["lat_0"].internal)

    @property
    def position(self) -> SkyCoord | None:
        """Centre, None for a model without one."""
        if "lon_0" not in self._pars:
            return None
        return SkyCoord(*self.position_lonlat, unit="deg", frame=self.frame)

    @position.setter
    def position(self, position: SkyCoord) -> None:
        self._need_position()
        here = position.transform_to(self.frame)
        for name, angle in zip(POSITION, (here.spherical.lon, here.spherical.lat), strict=True):
            self._pars[name].value = float(angle.to_value(self._pars[name].unit))

    def _need_position(self) -> None:
        if "lon_0" not in self._pars or "lat_0" not in self._pars:
            raise ModelError("has no position", where=type(self).__name__)

    @property
    def evaluation_radius(self) -> u.Quantity | None:
        """Distance from the centre beyond which the model is taken as zero, None where it is so nowhere."""
        raise UnsupportedError(
            "says nothing about its size",
            where=type(self).__name__,
            hint="Give the class an evaluation_radius",
        )

    @property
    def extent(self) -> float:
        """`evaluation_radius` in deg, infinite for a model without."""
        radius = self.evaluation_radius
        return math.inf if radius is None else float(radius.to_value("deg"))

    # --- Fourier -----------------------------------------------------------------------------------

    @property
    def shape_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that shape it: all but those of the position."""
        return tuple(name for name in self._pars if name not in POSITION)

    @property
    def free_shape_parameters(self) -> tuple[str, ...]:
        """Those that are not frozen."""
        return tuple(name for name in self.shape_parameters if not self._pars[name].frozen)

    def transform(
        self,
        u_east: NDArray[np.float64],
        u_north: NDArray[np.float64],
        parameters: Sequence[str] | None = None,
        order: int = 2,
    ) -> Transform:
        """``Mhat(u) = integral of M(s) exp(-2 pi i u.s) d2s`` on the tangent plane around the centre.

        Parameters
        ----------
        u_east, u_north : (Q,)
            Frequencies in cycles/deg towards east and north of the model's frame.
        parameters : sequence of str, optional
            By which shape parameters to differentiate, by default `free_shape_parameters`.
        order : {0, 1, 2}
            Up to which derivatives.

        Returns
        -------
        Transform

        Raises
        ------
        UnsupportedError
            When the model has no closed transform (``has_transform``).
        """
        raise UnsupportedError("has no closed Fourier transform", where=type(self).__name__, hint="Sample it")

    def envelope(self, q: NDArray[np.float64], shrink: float = 1.0) -> NDArray[np.float64]:
        """Bound on ``|Mhat|`` at radial frequencies, also for sizes down to ``shrink`` times its own.

        Parameters
        ----------
        q : (Q,)
            cycles/deg.
        shrink : float

        Returns
        -------
        (Q,)
        """
        return np.ones_like(q)

    def _asked(self, parameters: Sequence[str] | None) -> tuple[str, ...]:
        names = self.free_shape_parameters if parameters is None else tuple(parameters)
        for name in names:
            if name not in self.shape_parameters:
                raise ModelError(
                    f"no shape parameter {name!r}",
                    where=type(self).__name__,
                    hint=f"It has {', '.join(self.shape_parameters) or 'none'}",
                )
        return names

    def _in_own_units(
        self,
        names: tuple[str, ...],
        value: NDArray[np.float64],
        gradient: dict[str, NDArray[np.float64]],
        hessian: dict[tuple[str, str], NDArray[np.float64]],
        order: int,
    ) -> Transform:
        """The transform from derivatives by values inside; pairs in ``hessian`` are in either order."""
        n = len(names)
        known = [self._pars[name].internal_factor if name in self._pars else 1.0 for name in names]
        factors = np.array(known).reshape(n, 1)
        rows = np.zeros((n if order > 0 else 0, value.size))
        square = np.zeros((n, n, value.size) if order > 1 else (0, 0, value.size))
        for i, name in enumerate(names):
            if order > 0:
                rows[i] = gradient[name] * factors[i]
            if order > 1:
                for j, other in enumerate(names[: i + 1]):
                    entry = hessian.get((name, other), hessian.get((other, name)))
                    if entry is not None:
                        square[i, j] = square[j, i] = entry * factors[i] * factors[j]
        return Transform(names if order > 0 else (), value, rows, square)

    # --- files -------------------------------------------------------------------------------------

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        data = super().to_dict(full_output)["spatial"]
        return {"spatial": {"type": data["type"], "frame": self.frame, "parameters": data["parameters"]}}

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> Any:
        check_keys(entry, ("type", "frame", "parameters"))
        return cls(frame=entry.get("frame", "icrs"), **cls._read_parameters(entry))


def center_parameters() -> tuple[Parameter, Parameter]:
    """The two parameters of a position, ``lon_0`` and ``lat_0``."""
    return Parameter("lon_0", "0 deg"), Parameter("lat_0", "0 deg", min=-90, max=90)

"""What the geometries of all datasets have in common: axes of energy, pixels, and a place in a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets.box import Box
from gammaflow.errors import GeometryError
from gammaflow.maps import MapAxis


class DatasetGeometry(ABC):
    """Where the arrays of a dataset live. Immutable, hashable, picklable.

    A spectrum is a map of one pixel, its region: what adds up datasets sees all arrays as cubes of
    `cube_shapes`, what holds them keeps the `shapes`.
    """

    #: What an empty sum of datasets on such a geometry is.
    default_type: ClassVar[str]
    energy_axis_true: MapAxis
    migra_axis: MapAxis | None

    @property
    @abstractmethod
    def energy_axis(self) -> MapAxis:
        """Reconstructed energy."""

    @property
    @abstractmethod
    def parent(self) -> DatasetGeometry:
        """The whole geometry that this one was cut out of; itself when it was not."""

    @property
    @abstractmethod
    def whole_box(self) -> Box:
        """The box of all pixels."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every variable of a dataset on this geometry, by name."""

    @property
    @abstractmethod
    def cube_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same with two dimensions for the pixels at the end, also where there is only one pixel."""

    @property
    @abstractmethod
    def grids(self) -> dict[str, dict[str, Any]]:
        """What says where the pixels are: attributes of the scalar variables ``wcs`` and ``wcs_irf``."""

    @abstractmethod
    def box_in(self, parent: Any) -> Box:
        """The box of pixels that this geometry occupies in ``parent``; GeometryError when it is no part."""

    @abstractmethod
    def irf_centers_in_map(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pixel (y, x) of the map under the centre of each pixel of the response grid."""

    @abstractmethod
    def with_axes(self, energy: MapAxis, energy_true: MapAxis | None = None) -> DatasetGeometry:
        """The same pixels with other axes of energy."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What an equal geometry can be made of, JSON-able."""

    @property
    def edisp_axis(self) -> MapAxis:
        """Second axis of the energy dispersion: ``migra``, or ``energy`` when it is a kernel."""
        return self.migra_axis if self.migra_axis is not None else self.energy_axis

    def named_axes(self) -> tuple[tuple[str, MapAxis | None], ...]:
        """The axes that a dataset can have, in order, with their names."""
        return (
            ("energy", self.energy_axis),
            ("energy_true", self.energy_axis_true),
            ("rad", getattr(self, "rad_axis", None)),
            ("migra", self.migra_axis),
        )

    def require_same_axes(self, other: DatasetGeometry) -> None:
        """GeometryError, naming the number that differs, unless both have the same axes."""
        if type(self) is not type(other):
            raise GeometryError(
                f"a {type(self).__name__} and a {type(other).__name__}",
                hint="Maps and spectra cannot be added to each other",
            )
        for (name, mine), (_, theirs) in zip(self.named_axes(), other.named_axes(), strict=True):
            _require_same_axis(name, mine, theirs)

    def axes_to_dict(self) -> dict[str, Any]:
        """The axes by name, JSON-able."""
        return {name: None if axis is None else axis.to_dict() for name, axis in self.named_axes()}


def axes_from_dict(data: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    """The axes that `DatasetGeometry.axes_to_dict` described.

    Raises
    ------
    GeometryError
        When a required one is not there.
    """
    axes = {n: data.get(n) and MapAxis.from_dict(data[n]) for n in ("energy", "energy_true", "rad", "migra")}
    missing = [name for name in required if axes[name] is None]
    if missing:
        raise GeometryError(
            f"the axis {missing[0]!r} is null", where="geometry of a dataset", hint="Only migra may be null"
        )
    return axes


def check_axis_names(energy_true: MapAxis, rad: MapAxis | None, migra: MapAxis | None, where: str) -> None:
    """Refuse an axis in the place of another."""
    wrong = [
        axis.name
        for axis, name in ((energy_true, "energy_true"), (rad, "rad"), (migra, "migra"))
        if axis is not None and axis.name != name
    ]
    if wrong:
        raise GeometryError(
            f"axes named {wrong} stand in the place of energy_true, rad or migra",
            where=where,
            hint="Name the axis when making it, e.g. MapAxis.from_energy_bounds(..., name='energy_true')",
        )


def array_shapes(
    n_energy: int,
    n_true: int,
    n_rad: int | None,
    n_edisp: int,
    image: tuple[int, ...],
    irf: tuple[int, ...],
) -> dict[str, tuple[int, ...]]:
    """Shape of every variable by name, for so many bins and pixels; without psf where ``n_rad`` is None."""
    reco, exposure_irf = (n_energy, *image), (n_true, *irf)
    names = ("counts", "counts_off", "background", "acceptance", "acceptance_off", "mask_safe", "mask_fit")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, reco)
    shapes["exposure"] = (n_true, *image)
    if n_rad is not None:
        shapes |= {"psf": (n_true, n_rad, *irf), "psf_exposure": exposure_irf}
    return shapes | {"edisp": (n_true, n_edisp, *irf), "edisp_exposure": exposure_irf}


def _require_same_axis(name: str, mine: MapAxis | None, other: MapAxis | None) -> None:
    hint = "Only datasets on the same axes can be combined"
    if (mine is None) != (other is None):
        found = "one has this axis, the other has not"
        raise GeometryError(found, where=f"axis {name!r}", hint=hint)
    if mine is not None and other is not None:
        difference = mine.difference(other)
        if difference is not None:
            raise GeometryError(difference, hint=hint)

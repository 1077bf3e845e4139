"""A rectangle of pixels, on the map and on the coarser grid of the responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def on_irf_grid(variable: str) -> bool:
    """Whether a variable lives on the response grid rather than on the map."""
    return variable.startswith(("psf", "edisp"))


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels of a dataset's map and one of its response grid, half open.

    ``y, x`` bound the map's pixels, ``y_irf, x_irf`` those of the response grid, each as (first, last + 1)
    counted in the parent geometry.
    """

    y: tuple[int, int]
    x: tuple[int, int]
    y_irf: tuple[int, int]
    x_irf: tuple[int, int]

    @classmethod
    def from_slices(cls, image: tuple[slice, slice], irf: tuple[slice, slice]) -> Box:
        """From the slices of a map and of a response grid in their parents."""
        bounds = [(int(s.start), int(s.stop)) for s in (*image, *irf)]
        return cls(*bounds)

    def to_list(self) -> list[list[int]]:
        """As JSON holds it; `from_list` is the inverse."""
        return [list(side) for side in (self.y, self.x, self.y_irf, self.x_irf)]

    @classmethod
    def from_list(cls, sides: Sequence[Sequence[int]]) -> Box:
        """What `to_list` made."""
        return cls(*((int(first), int(last)) for first, last in sides))

    @classmethod
    def nowhere(cls) -> Box:
        """The box without pixels."""
        return cls((0, 0), (0, 0), (0, 0), (0, 0))

    @property
    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.n_pixels == 0

    @property
    def n_pixels(self) -> int:
        """Pixels of the map."""
        return self.shape_image[0] * self.shape_image[1]

    @classmethod
    def union(cls, boxes: Sequence[Box]) -> Box:
        """The smallest box that holds all of ``boxes``."""
        boxes = [box for box in boxes if not box.is_empty]
        if not boxes:
            return cls.nowhere()
        sides = ("y", "x", "y_irf", "x_irf")
        return cls(
            *((min(getattr(b, s)[0] for b in boxes), max(getattr(b, s)[1] for b in boxes)) for s in sides)
        )

    def slices_in(self, other: Box) -> Box:
        """This box counted from the first pixels of ``other``, which must hold it."""
        sides = ("y", "x", "y_irf", "x_irf")
        return Box(
            *(
                (getattr(self, s)[0] - getattr(other, s)[0], getattr(self, s)[1] - getattr(other, s)[0])
                for s in sides
            )
        )

    def moved(self, other: Box) -> Box:
        """The inverse of `slices_in`: this box, counted from the first pixels of ``other``, in its parent."""
        sides = ("y", "x", "y_irf", "x_irf")
        return Box(
            *(
                (getattr(self, s)[0] + getattr(other, s)[0], getattr(self, s)[1] + getattr(other, s)[0])
                for s in sides
            )
        )

    def of(self, variable: str) -> tuple[Any, ...]:
        """Index of this box in the array of a variable, e.g. ``counts`` or ``psf``."""
        return (..., *(self.irf if on_irf_grid(variable) else self.image))

    @property
    def image(self) -> tuple[slice, slice]:
        """Slices (y, x) of the map."""
        return slice(*self.y), slice(*self.x)

    @property
    def irf(self) -> tuple[slice, slice]:
        """Slices (y_irf, x_irf) of the response grid."""
        return slice(*self.y_irf), slice(*self.x_irf)

    @property
    def shape_image(self) -> tuple[int, int]:
        """Pixels (ny, nx) of the map."""
        return self.y[1] - self.y[0], self.x[1] - self.x[0]

    @property
    def shape_irf(self) -> tuple[int, int]:
        """Pixels (ny_irf, nx_irf) of the response grid."""
        return self.y_irf[1] - self.y_irf[0], self.x_irf[1] - self.x_irf[0]

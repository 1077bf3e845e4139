"""A mask of pixels that knows where on the sky they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gammaflow.maps.geom import WcsGeom


class SkyMask(np.ndarray[Any, np.dtype[np.bool_]]):
    """Booleans (ny, nx) with the image that they are on.

    The operators ``~``, ``&``, ``|`` and ``^`` keep it. Whatever else is made of a mask knows no image, as its values
    may be in other places.

    Attributes
    ----------
    geom : WcsGeom or None
        The image.
    """

    geom: WcsGeom | None

    @classmethod
    def of(cls, mask: NDArray[np.bool_], geom: WcsGeom | None) -> SkyMask:
        """A mask on an image; the values are shared."""
        made = np.asarray(mask).view(cls)
        made.geom = geom
        return made

    def __array_finalize__(self, source: object) -> None:
        self.geom = None

    def __invert__(self) -> SkyMask:
        return self.of(~np.asarray(self), self.geom)

    def __and__(self, other: Any) -> Any:
        return self._joined(np.asarray(self) & np.asarray(other), other)

    def __or__(self, other: Any) -> Any:
        return self._joined(np.asarray(self) | np.asarray(other), other)

    def __xor__(self, other: Any) -> Any:
        return self._joined(np.asarray(self) ^ np.asarray(other), other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def _joined(self, values: NDArray[Any], other: Any) -> Any:
        """A mask on the image, if both are on it as far as is known."""
        elsewhere = getattr(other, "geom", None) not in (None, self.geom)
        if self.geom is None or elsewhere or values.shape != self.geom.shape_image or values.dtype != bool:
            return values
        return self.of(values, self.geom)

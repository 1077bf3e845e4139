"""How the plane of a map lies on the sky.

`SkyProjection` knows everything of a FITS WCS but where the pixels begin and end. Plate carree (CAR), the
default of the field, is computed here with one rotation and one row and column of trigonometry; every other
projection is left to wcslib.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import PRJ_CODES, WCS, FITSFixedWarning, WcsError
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import GeometryError
from gammaflow.maps.frames import FRAMES, frame_matrix, lonlat_to_vectors, rotate, vectors_to_lonlat
from gammaflow.maps.geometry_cache import GEOMETRY_CACHE

_CTYPES = {"icrs": ("RA", "DEC"), "fk5": ("RA", "DEC"), "galactic": ("GLON", "GLAT")}
_RADESYS = {"icrs": "ICRS", "fk5": "FK5"}
# |sine of latitude| above which arcsin loses digits
_STEEP = 0.9


@dataclass(frozen=True)
class SkyProjection:
    """A FITS celestial projection without its pixel grid.

    Plane coordinates ``(i, j)`` count pixels from the reference point, along longitude and latitude.

    Parameters
    ----------
    frame : {"icrs", "galactic", "fk5"}
        Sky frame of the coordinates.
    code : str
        FITS projection code, e.g. ``CAR``, ``TAN``, ``AIT``.
    crval : tuple of float
        Longitude and latitude of the reference point, deg.
    cdelt : tuple of float
        Pixel size in longitude (negative: it grows to the left) and latitude, deg.
    cards : tuple of (str, float)
        Further FITS cards that shape the projection: LONPOLE, LATPOLE, PCi_j, PVi_m, where they are not the
        default.
    """

    frame: str
    code: str
    crval: tuple[float, float]
    cdelt: tuple[float, float]
    cards: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        frame_matrix(self.frame)  # an unknown one is refused there
        if self.code not in PRJ_CODES:
            raise GeometryError(
                f"projection {self.code!r} is unknown", hint=f"FITS knows {', '.join(sorted(PRJ_CODES))}."
            )
        if not (np.isfinite(self.crval).all() and abs(self.crval[1]) <= 90.0):
            raise GeometryError(
                f"reference point {self.crval} is not on the sky", hint="Latitudes end at 90 deg."
            )
        if not (np.isfinite(self.cdelt).all() and all(self.cdelt)):
            raise GeometryError(f"pixel size {self.cdelt} deg", hint="Give a size above zero.")
        if not self.is_native:
            self._set_up()

    @property
    def is_native(self) -> bool:
        """Whether the projection is computed here, and not by wcslib."""
        return self.code == "CAR" and not self.cards

    @cached_property
    def pixel_scales(self) -> tuple[float, float]:
        """Pixel size along both axes at the reference point, deg."""
        if not self.cards:
            return abs(self.cdelt[0]), abs(self.cdelt[1])
        scales = proj_plane_pixel_scales(self.wcs(0.0, 0.0))
        return float(scales[0]), float(scales[1])

    @cached_property
    def native_matrix(self) -> NDArray[np.float64]:
        """Rotation from ICRS to the native system, (3, 3): its x axis points to the reference point, z to
        the north.

        For a reference point at the north pole wcslib counts native longitudes from the opposite side; so
        do we.
        """
        lon, lat = np.radians(self.crval)
        if self.crval[1] >= 90.0 - 1e-10:
            lon += np.pi
        cos_lon, sin_lon, cos_lat, sin_lat = np.cos(lon), np.sin(lon), np.cos(lat), np.sin(lat)
        native = np.array(
            [
                [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
                [-sin_lon, cos_lon, 0.0],
                [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            ]
        )
        return native @ frame_matrix(self.frame)

    def grid_to_vectors(self, i: NDArray[np.float64], j: NDArray[np.float64]) -> NDArray[np.float64]:
        """ICRS unit vectors (3, nj, ni) of the points with plane coordinates ``i`` (ni,) and ``j`` (nj,)."""
        if not self.is_native:
            return self.to_vectors(*np.broadcast_arrays(i[np.newaxis, :], j[:, np.newaxis]))
        lon, lat = self._native_lonlat(i, j)
        cos_lon, sin_lon, cos_lat, sin_lat = np.cos(lon), np.sin(lon), np.cos(lat), np.sin(lat)
        out = np.empty((3, j.size, i.size))
        for k in range(3):
            mx, my, mz = self.native_matrix[:, k]
            out[k] = cos_lat[:, np.newaxis] * (mx * cos_lon + my * sin_lon) + (mz * sin_lat)[:, np.newaxis]
        return out

    def to_vectors(self, i: ArrayLike, j: ArrayLike) -> NDArray[np.float64]:
        """ICRS unit vectors (3, ...) of plane coordinates; NaN where the plane is off the sky."""
        i, j = np.broadcast_arrays(np.asarray(i, dtype=np.float64), np.asarray(j, dtype=np.float64))
        if self.is_native:
            lon, lat = self._native_lonlat(i, j)
            cos_lat = np.cos(lat)
            native = np.stack([cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)])
            return rotate(self.native_matrix.T, native)
        with GEOMETRY_CACHE.lock:
            lon, lat = self._plain_wcs.wcs_pix2world(i.ravel(), j.ravel(), 0)
        vectors = rotate(frame_matrix(self.frame).T, lonlat_to_vectors(lon, lat))
        return vectors.reshape(3, *i.shape)

    def to_plane(self, vectors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Plane coordinates ``(i, j)`` of ICRS unit vectors (3, ...); NaN where the projection has no such
        point.
        """
        vectors = np.asarray(vectors, dtype=np.float64)
        if not self.is_native:
            lon, lat = vectors_to_lonlat(rotate(frame_matrix(self.frame), vectors))
            with GEOMETRY_CACHE.lock:
                i, j = self._plain_wcs.wcs_world2pix(lon.ravel(), lat.ravel(), 0)
            return i.reshape(lon.shape), j.reshape(lon.shape)
        qx, qy, qz = rotate(self.native_matrix, vectors)
        lon = np.degrees(np.arctan2(qy, qx))
        lat = np.degrees(np.arcsin(np.clip(qz, -1.0, 1.0)))
        steep = np.abs(qz) > _STEEP
        if steep.any():
            lat = np.where(steep, np.degrees(np.arctan2(qz, np.hypot(qx, qy))), lat)
        # the seam is one meridian, which belongs to the side of +180
        lon = np.where(lon <= -180.0, 180.0, lon)
        return lon / self.cdelt[0], lat / self.cdelt[1]

    def cell_areas(self, j: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exact solid angle in sr of the plate-carree cells in rows ``j`` (nj,): b (sin lat2 - sin lat1).

        The difference of sines is taken as a product, 2 cos(lat) sin(b / 2), so that small pixels lose no
        digits. A row whose centre lies beyond a pole has none; a row across it ends there.
        """
        lower = np.clip((j - 0.5) * self.cdelt[1], -90.0, 90.0)
        upper = np.clip((j + 0.5) * self.cdelt[1], -90.0, 90.0)
        center, half = np.radians(0.5 * (lower + upper)), np.radians(0.5 * np.abs(upper - lower))
        area = np.radians(abs(self.cdelt[0])) * 2.0 * np.cos(center) * np.sin(half)
        return np.where(np.abs(j * self.cdelt[1]) > 90.0, 0.0, area)

    def wcs(self, crpix_x: float, crpix_y: float) -> WCS:
        """The astropy WCS whose reference pixel, counted from one, is given."""
        header = fits.Header()
        header.update(self.header_cards())
        header["CRPIX1"], header["CRPIX2"] = crpix_x, crpix_y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header)
            wcs.wcs.set()
        return wcs

    def header_cards(self) -> dict[str, str | int | float]:
        """The FITS cards of the projection, without CRPIX and NAXISi."""
        lon, lat = _CTYPES[self.frame]
        cards: dict[str, str | int | float] = {
            "WCSAXES": 2,
            "CTYPE1": f"{lon:-<5}{self.code}",
            "CTYPE2": f"{lat:-<5}{self.code}",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CDELT1": self.cdelt[0],
            "CDELT2": self.cdelt[1],
            "CRVAL1": self.crval[0],
            "CRVAL2": self.crval[1],
        }
        if self.frame in _RADESYS:
            cards["RADESYS"] = _RADESYS[self.frame]
        cards.update(self.cards)
        return cards

    @classmethod
    def from_wcs(cls, wcs: WCS, where: str = "") -> SkyProjection:
        """Projection of an astropy WCS with two celestial axes.

        Raises
        ------
        GeometryError
            If the WCS is not celestial, has another frame, distortions, or latitude first.
        """
        prm = wcs.wcs
        frame = _frame_of(wcs, where)
        if wcs.sip is not None or wcs.cpdis1 is not None or wcs.cpdis2 is not None or wcs.det2im1 is not None:
            raise GeometryError("the WCS has distortions (SIP or look-up tables)", where=where)
        pc, steps = np.asarray(prm.get_pc()), np.asarray(prm.get_cdelt())
        if pc[0, 1] == 0 and pc[1, 0] == 0:
            steps, pc = steps * np.diag(pc), np.eye(2)
        cards = [
            (f"PC{a + 1}_{b + 1}", float(pc[a, b]))
            for a in (0, 1)
            for b in (0, 1)
            if pc[a, b] != float(a == b)
        ]
        cards += [(f"PV{a}_{m}", float(value)) for a, m, value in prm.get_pv()]
        code = str(prm.ctype[0])[-3:]
        crval, cdelt = (float(prm.crval[0]), float(prm.crval[1])), (float(steps[0]), float(steps[1]))
        if not cards:
            plain = cls(frame, code, crval, cdelt)
            if _same_poles(plain, wcs):
                return plain
        cards += [("LONPOLE", float(prm.lonpole)), ("LATPOLE", float(prm.latpole))]
        return cls(frame, code, crval, cdelt, tuple(cards))

    @classmethod
    def from_header(
        cls, header: Mapping[str, Any] | fits.Header, where: str = ""
    ) -> tuple[SkyProjection, tuple[float, float], tuple[int, int]]:
        """Projection, reference pixel (x, y) and size (nx, ny) of a FITS image header.

        Raises
        ------
        GeometryError
            If the header has no image size, or no celestial WCS of a supported kind.
        """
        cards = header if isinstance(header, fits.Header) else fits.Header(dict(header))
        missing = [key for key in ("NAXIS1", "NAXIS2", "CTYPE1", "CTYPE2") if key not in cards]
        if missing:
            hint = "A map is an image with a WCS."
            raise GeometryError(f"the FITS header lacks {', '.join(missing)}", where=where, hint=hint)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            try:
                wcs = WCS(cards).celestial
                wcs.wcs.set()
            except Exception as error:  # wcslib's errors have no common base
                reason = " ".join(str(error).split())
                raise GeometryError(f"the FITS header holds no usable WCS ({reason})", where=where) from error
        if wcs.naxis != 2:
            raise GeometryError("the FITS header holds no celestial WCS", where=where)
        crpix = (float(wcs.wcs.crpix[0]), float(wcs.wcs.crpix[1]))
        return cls.from_wcs(wcs, where), crpix, (int(cards["NAXIS1"]), int(cards["NAXIS2"]))

    @cached_property
    def _plain_wcs(self) -> WCS:
        """The WCS whose reference pixel is (0, 0), counted from zero."""
        return self.wcs(1.0, 1.0)

    def _set_up(self) -> None:
        """Let wcslib refuse a projection that lacks parameters, now and not at the first use."""
        try:
            with GEOMETRY_CACHE.lock:
                self._plain_wcs.wcs_pix2world(0.0, 0.0, 0)
        except (WcsError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise GeometryError(
                f"projection {self.code} cannot be set up ({reason})",
                hint="Some projections need PVi_m parameters, which only a FITS header can give.",
            ) from error

    def _native_lonlat(
        self, i: NDArray[np.float64], j: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Native longitude and latitude in rad, NaN beyond the poles."""
        lat = j * self.cdelt[1]
        return np.radians(i * self.cdelt[0]), np.radians(np.where(np.abs(lat) > 90.0, np.nan, lat))

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)


def _frame_of(wcs: WCS, where: str) -> str:
    kinds = [str(ctype)[:4].rstrip("-") for ctype in wcs.wcs.ctype]
    system = str(wcs.wcs.radesys).strip().upper() or "ICRS"
    if kinds == ["GLON", "GLAT"]:
        return "galactic"
    if kinds == ["RA", "DEC"] and system in ("ICRS", "FK5"):
        equinox = wcs.wcs.equinox
        if system == "ICRS":
            return "icrs"
        if not np.isfinite(equinox) or equinox == 2000.0:
            return "fk5"
        raise GeometryError(
            f"FK5 of equinox {equinox:g}", where=where, hint="Only the equinox 2000 is handled."
        )
    raise GeometryError(
        f"WCS axes {list(wcs.wcs.ctype)} with RADESYS {system!r}",
        where=where,
        hint=f"A map has longitude first, then latitude, in one of {', '.join(FRAMES)}.",
    )


def _same_poles(plain: SkyProjection, wcs: WCS) -> bool:
    """Whether the header's LONPOLE and LATPOLE are those that follow from the rest; compared on two sky
    points.
    """
    points = np.array([[3.0, -7.0], [5.0, 11.0]]) + wcs.wcs.crpix[np.newaxis, :]
    lon, lat = wcs.wcs_pix2world(points, 1).T
    i, j = (points - wcs.wcs.crpix[np.newaxis, :]).T
    expected = vectors_to_lonlat(rotate(frame_matrix(plain.frame), plain.to_vectors(i, j)))
    off = lonlat_to_vectors(lon, lat) - lonlat_to_vectors(*expected)
    return bool(np.abs(off).max() < 1e-11)

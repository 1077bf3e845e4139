"""One map on the sky: axes in degrees, a colour bar with its unit, a stretch that shows faint things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr
from matplotlib.colors import AsinhNorm, LogNorm, Normalize, PowerNorm, TwoSlopeNorm
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import GeometryError
from gammaflow.maps import WcsGeom

if TYPE_CHECKING:
    from astropy.visualization.wcsaxes import WCSAxes
    from matplotlib.figure import Figure, SubFigure

Stretch = Literal["linear", "sqrt", "log", "asinh", "zero-centred"]

OUTSIDE = "0.88"  # colour of pixels without a value
COLOUR_BAR = 0.035  # width of the colour bar, in widths of the axes
AXIS_LABELS = {
    "galactic": ("Galactic longitude", "Galactic latitude"),
    "icrs": ("Right ascension (ICRS)", "Declination (ICRS)"),
    "fk5": ("Right ascension (J2000)", "Declination (J2000)"),
}


def plot_map(
    image: xr.DataArray | ArrayLike,
    geom: WcsGeom | None = None,
    *,
    ax: WCSAxes | None = None,
    figure: Figure | SubFigure | None = None,
    position: int | tuple[int, int, int] = 111,
    title: str = "",
    label: str | None = None,
    stretch: Stretch = "sqrt",
    cmap: str = "inferno",
    vmin: float | None = None,
    vmax: float | None = None,
    colour_bar: bool = True,
) -> WCSAxes:
    """Draw a map of the sky; longitude increases to the left.

    Parameters
    ----------
    image : xarray.DataArray or array_like, shape (ny, nx) or (n, ny, nx)
        Values. A cube is summed over its first axis; pixels that are not finite stay grey.
    geom : WcsGeom, optional
        Where the pixels are; only its image plane is used. A DataArray of a dataset knows it by itself.
    ax : WCSAxes, optional
        Axes to draw on; they must have been made with ``projection=geom.wcs``.
    figure : Figure or SubFigure, optional
        Where to make the axes when ``ax`` is not given; a new figure by default.
    position : int or tuple
        Which subplot of the figure, as ``Figure.add_subplot`` takes it.
    title, label : str
        Over the axes, and along the colour bar. The label of a DataArray is its name and its units.
    stretch : {"sqrt", "linear", "log", "asinh", "zero-centred"}
        From value to colour. "zero-centred" puts the middle of the colour map at zero.
    cmap : str
        Name of a matplotlib colour map.
    vmin, vmax : float, optional
        Values at the ends of the colour map; by default the smallest (0 for "sqrt") and the largest
        value. Values beyond a given end are told by the pointed end of the colour bar.
    colour_bar : bool
        Whether to draw one.

    Returns
    -------
    WCSAxes
        The axes; the figure is its ``figure``.

    Raises
    ------
    GeometryError
        If the image does not have the shape of the geometry, or no geometry is known.
    """
    if geom is None:
        geom = geometry_of(image)
    values = np.asarray(image, dtype=np.float64)
    if values.ndim == 3:
        values = values.sum(axis=0)
    if values.shape != tuple(geom.shape_image):
        raise GeometryError(
            f"an image of shape {values.shape} does not fit the geometry's {tuple(geom.shape_image)}",
            where="plot_map",
            hint="Pass the geometry of the same dataset: plot_map(image, dataset.geom)",
        )
    if label is None:
        label = _label_of(image)
    if ax is None:
        if figure is None:
            from matplotlib.figure import Figure  # not pyplot: nothing is registered, nothing leaks

            figure = Figure(figsize=_figure_size(geom), layout="constrained")
        where = (position,) if isinstance(position, int) else position
        ax = figure.add_subplot(*where, projection=geom.to_image().wcs)

    norm = make_norm(values, stretch, vmin, vmax)
    ax.set_facecolor(OUTSIDE)
    drawn = ax.imshow(
        np.where(np.isfinite(values), values, np.nan),
        origin="lower",
        interpolation="nearest",
        cmap=cmap,
        norm=norm,
    )
    _dress(ax, geom.frame)
    ax.set_title(title, fontsize="medium")
    if colour_bar:
        finite = values[np.isfinite(values)]
        below = finite.size > 0 and norm.vmin is not None and bool(finite.min() < norm.vmin)
        above = finite.size > 0 and norm.vmax is not None and bool(finite.max() > norm.vmax)
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        bar = ax.figure.colorbar(
            drawn,
            ax=ax,
            fraction=COLOUR_BAR,
            aspect=_aspect_of_bar(geom),
            pad=0.02,
            extend=extend[below, above],
            extendfrac=0.03,
        )
        if stretch == "zero-centred":
            bar.ax.set_yscale("linear")  # one count takes as much room above zero as below
        bar.set_label(label, fontsize="small")
        bar.ax.yaxis.get_offset_text().set(size="small", horizontalalignment="left")
        bar.ax.tick_params(labelsize="small")
    return ax


def geometry_of(image: xr.DataArray | ArrayLike) -> WcsGeom:
    """The geometry that a DataArray of a dataset carries in its coordinate ``wcs``.

    Raises
    ------
    GeometryError
        If it carries none.
    """
    if isinstance(image, xr.DataArray):
        name = str(image.attrs.get("grid_mapping", "wcs"))
        if name in image.coords:
            return WcsGeom.from_header({k: v for k, v in image.coords[name].attrs.items() if k.isupper()})
    raise GeometryError(
        f"a {type(image).__name__} does not say where its pixels are",
        where="plot_map",
        hint="Pass the geometry too: plot_map(image, dataset.geom)",
    )


def make_norm(
    values: NDArray[np.float64], stretch: Stretch, vmin: float | None, vmax: float | None
) -> Normalize:
    """From value to colour: limits taken from the finite values where they are not given."""
    finite = values[np.isfinite(values)]
    low = float(finite.min()) if finite.size else 0.0
    high = float(finite.max()) if finite.size else 1.0
    if stretch == "zero-centred":
        low = min(low if vmin is None else vmin, -1e-6)
        high = max(high if vmax is None else vmax, 1e-6)
        return TwoSlopeNorm(vcenter=0.0, vmin=low, vmax=high)
    if stretch == "log":
        positive = finite[finite > 0]
        low = (float(positive.min()) if positive.size else 0.1) if vmin is None else vmin
        return LogNorm(low, max(high if vmax is None else vmax, low * 1.01))
    if stretch == "sqrt":
        low = 0.0
    low = low if vmin is None else vmin
    high = high if vmax is None else vmax
    if high <= low:
        high = low + 1.0  # an empty map still has a colour bar
    if stretch == "sqrt":
        return PowerNorm(0.5, vmin=low, vmax=high, clip=False)
    if stretch == "asinh":
        return AsinhNorm(linear_width=max((high - low) / 50.0, 1e-300), vmin=low, vmax=high)
    if stretch == "linear":
        return Normalize(low, high)
    raise ValueError(f"stretch {stretch!r} is not one of sqrt, linear, log, asinh, zero-centred")


def _dress(ax: WCSAxes, frame: str) -> None:
    """Names, degrees and a light grid; longitudes of a map around zero run through it (359, 0, 1)."""
    lon, lat = ax.coords[0], ax.coords[1]
    names = AXIS_LABELS.get(frame, ("Longitude", "Latitude"))
    for axis, name in zip((lon, lat), names, strict=True):
        axis.set_axislabel(name, fontsize="small", minpad=0.6)
        axis.set_format_unit("deg", decimal=True)
        axis.set_ticklabel(size="small", exclude_overlapping=True)
        axis.set_ticks(number=6)
    ax.coords.grid(color="white", alpha=0.25, linewidth=0.4)


def _label_of(image: xr.DataArray | ArrayLike) -> str:
    if not isinstance(image, xr.DataArray):
        return ""
    name = str(image.name or "").replace("_", " ")
    units = str(image.attrs.get("units", ""))
    return f"{name} [{units}]" if units else name


def _figure_size(geom: WcsGeom) -> tuple[float, float]:
    """Inches: as wide as reads well, as high as the map needs with its labels."""
    ny, nx = geom.shape_image
    return 6.4, float(np.clip(5.0 * ny / nx + 0.9, 2.6, 8.0))


def _aspect_of_bar(geom: WcsGeom) -> float:
    """Height over width of the colour bar, so that it is as high as the axes beside it."""
    ny, nx = geom.shape_image
    return float(np.clip(ny / nx / COLOUR_BAR * 0.97, 4.0, 60.0))

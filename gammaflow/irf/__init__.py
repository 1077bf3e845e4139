"""Instrument response functions: effective area, energy dispersion, point spread function, background."""

from __future__ import annotations

from astropy.io import fits

from gammaflow.errors import UnsupportedError
from gammaflow.irf.axis import IrfAxis
from gammaflow.irf.background import Background2D, Background3D, BackgroundIrf
from gammaflow.irf.effective_area import EffectiveAreaTable2D
from gammaflow.irf.energy_dispersion import EnergyDispersion2D
from gammaflow.irf.psf import PSF3D, PsfIrf
from gammaflow.irf.psf_parametric import EnergyDependentMultiGaussPSF, ParametricPSF, PSFKing
from gammaflow.irf.rad_max import RadMax2D
from gammaflow.irf.response import Irf

__all__ = [
    "PSF3D",
    "Background2D",
    "Background3D",
    "BackgroundIrf",
    "EffectiveAreaTable2D",
    "EnergyDependentMultiGaussPSF",
    "EnergyDispersion2D",
    "Irf",
    "IrfAxis",
    "PSFKing",
    "ParametricPSF",
    "PsfIrf",
    "RadMax2D",
    "hdu_class_of",
    "read_irf",
]

_CLASSES: dict[str, type[Irf]] = {
    cls.tag: cls
    for cls in (
        EffectiveAreaTable2D,
        EnergyDispersion2D,
        PSF3D,
        EnergyDependentMultiGaussPSF,
        PSFKing,
        Background2D,
        Background3D,
        RadMax2D,
    )
}
_TYPES = {
    "EFF_AREA": "aeff",
    "RPSF": "psf",
    "PSF": "psf",
    "EDISP": "edisp",
    "BKG": "bkg",
    "RAD_MAX": "rad_max",
}


def hdu_class_of(header: fits.Header) -> str | None:
    """Class of the response that a header announces (``aeff_2d``, ...), or None if it is none.

    Takes the names of the format, and those of CTA-1DC, which leave out the type (``HDUCLAS4 = '3GAUSS'``).
    """
    kind = _TYPES.get(str(header.get("HDUCLAS2", "")).strip().upper())
    if str(header.get("HDUCLAS1", "")).strip().upper() != "RESPONSE" or kind is None:
        return None
    name = str(header.get("HDUCLAS4", "")).strip().lower()
    return next((tag for tag in (name, f"{kind}_{name}") if tag in _CLASSES), None)


def read_irf(hdu: fits.BinTableHDU, hdu_class: str | None = None, where: str = "") -> Irf:
    """Read an instrument response from a GADF table.

    Parameters
    ----------
    hdu : BinTableHDU
        The table.
    hdu_class : str, optional
        ``aeff_2d``, ``edisp_2d``, ``psf_table``, ``psf_3gauss``, ``psf_king``, ``bkg_2d``, ``bkg_3d`` or
        ``rad_max_2d``, as an HDU index names it; taken from the header if not given.
    where : str
        File and HDU, for messages.

    Returns
    -------
    irf : Irf

    Raises
    ------
    UnsupportedError
        If there is no such class.
    """
    tag = hdu_class or hdu_class_of(hdu.header)
    if tag not in _CLASSES:
        known = ", ".join(_CLASSES)
        raise UnsupportedError(f"response class {tag!r}", where=where, hint=f"Known are {known}")
    return _CLASSES[tag].from_hdu(hdu, where)

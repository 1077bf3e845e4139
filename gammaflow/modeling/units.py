"""The units that models compute in: TeV, m, s, deg, and sr for solid angles.

A model's parameters carry whatever unit the user gave. Inside, all of them are turned into one coherent
system, so that a formula which is right dimensionally is right numerically, and no unit is looked at again.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from astropy import units as u

FLUX_DENSITY = u.Unit("TeV-1 s-1 m-2")
"""Unit inside of dN/dE of a spectral model."""


@lru_cache(maxsize=512)
def _internal(text: str) -> tuple[u.UnitBase, float]:
    unit = u.Unit(text)
    powers: Counter[str] = Counter()
    for base, power in zip(unit.bases, unit.powers, strict=True):
        if base == u.sr:
            powers["sr"] += power
            continue
        si = base.decompose()
        for si_base, si_power in zip(si.bases, si.powers, strict=True):
            powers[si_base.name] += si_power * power
    # mass comes into this field through energy only: 1 kg = 1 J s2 m-2
    mass = powers.pop("kg", 0)
    powers["TeV"] += mass
    powers["m"] -= 2 * mass
    powers["s"] += 2 * mass
    powers["deg"] += powers.pop("rad", 0)
    inside = u.dimensionless_unscaled
    for name, power in powers.items():
        if power:
            inside = inside * u.Unit(name) ** power
    return inside, float(unit.to(inside))


def internal_unit(unit: u.UnitBase) -> u.UnitBase:
    """The unit that a quantity of this unit has inside: made of TeV, m, s, deg and sr.

    Parameters
    ----------
    unit : astropy.units.UnitBase
        Any unit.

    Returns
    -------
    astropy.units.UnitBase
    """
    return _internal(unit.to_string())[0]


@lru_cache(maxsize=512)
def internal_factor(unit: u.UnitBase) -> float:
    """What a value in ``unit`` is multiplied with to be in `internal_unit`."""
    return _internal(unit.to_string())[1]

"""Header cards: what astropy says of them, card by card, without building its header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from gammaflow.data.fits_file import FitsFile
from gammaflow.data.header_cards import HeaderCards


def header() -> fits.Header:
    made = fits.Header()
    made["EXTNAME"] = "EVENTS"
    made["NAXIS"] = 2
    made["DEADC"] = (0.95, "a comment / with a slash")
    made["TSTART"] = 1.0179e8
    made["FLAG"] = True
    made["QUOTED"] = "it's"
    made["EMPTY"] = ""
    made["NOTHING"] = None
    made["LONG"] = "a text that goes on and on, " * 8
    made["HIERARCH ESO TEL ALT"] = 71.5
    made["COMMENT"] = "nobody asks for this"
    made["HISTORY"] = "nor for this"
    made.append(("TWICE", 1), end=True)
    made.append(("TWICE", 2), end=True)
    return made


def test_values_are_those_of_astropy() -> None:
    theirs = fits.Header.fromstring(header().tostring())
    ours = HeaderCards(header().tostring(padding=False))
    for name in theirs:
        if name in ("COMMENT", "HISTORY"):
            assert name not in ours
            continue
        assert name in ours
        assert name.lower() in ours
        assert ours[name] == theirs[name]
        assert type(ours[name]) is type(theirs[name])
    assert ours["TWICE"] == 1
    assert ours.get("MISSING", 7) == 7
    with pytest.raises(KeyError, match="MISSING"):
        ours["MISSING"]
    assert list(ours) == [n for n in dict.fromkeys(theirs) if n not in ("COMMENT", "HISTORY")]


def test_all_cards_can_be_listed() -> None:
    listed = [(card.keyword, card.value) for card in HeaderCards(header().tostring(padding=False)).cards]
    theirs = [(card.keyword, card.value) for card in fits.Header.fromstring(header().tostring()).cards]
    assert listed == theirs


def test_a_card_that_means_nothing_is_told_when_it_is_asked_for() -> None:
    good = "DEADC   =                 0.95"
    text = header().tostring(padding=False).replace(good, "DEADC   = ??nonsense".ljust(len(good)))
    cards = HeaderCards(text)
    assert cards["TSTART"] == 1.0179e8
    with pytest.raises(fits.VerifyError):
        cards["DEADC"]


def test_the_public_data_read_as_with_astropy(gammapy_data: Path) -> None:
    paths = [
        *sorted((gammapy_data / "hess-dl3-dr1" / "data").glob("*.fits.gz"))[:3],
        *sorted((gammapy_data / "cta-1dc").rglob("*.fits.gz"))[:2],
    ]
    assert paths
    for path in paths:
        with fits.open(path) as hdus:
            theirs = {hdu.name: hdu.header for hdu in hdus[1:]}
        for table in FitsFile.read(path).tables():
            known = {k: v for k, v in theirs[table.name].items() if k not in ("COMMENT", "HISTORY", "")}
            assert len(known) > 10
            for name, value in known.items():
                np.testing.assert_equal(table.header[name], value)

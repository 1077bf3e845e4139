"""The header cards of a FITS extension, each parsed when it is looked at, and the same text only once a process.

Most cards of an observation's files are those of the observation before. astropy parses a card, which is what takes
the time; here its answer is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from astropy.io import fits

CARD: Final = 80
"""Characters of a card."""
_COMMENTARY: Final = ("COMMENT", "HISTORY", "")


class HeaderCards(Mapping[str, Any]):
    """Values by keyword; of several cards of a keyword the first counts. Comments are left out.

    Parameters
    ----------
    text : str
        The header up to the card END.

    Raises
    ------
    astropy.io.fits.VerifyError
        When a value is asked for and its card means nothing.
    """

    __slots__ = ("_images", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._images: dict[str, str] = {}
        for image in self._whole_cards():
            keyword = image[:8].rstrip().upper()
            if keyword == "HIERARCH" and "=" in image:
                keyword = image[8 : image.index("=")].strip().upper()
            if keyword not in _COMMENTARY:
                self._images.setdefault(keyword, image)

    def __getitem__(self, keyword: str) -> Any:
        image = self._images.get(keyword.upper())
        if image is None:
            raise KeyError(f"Keyword {keyword!r} not found.")
        return _value(image)

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and keyword.upper() in self._images

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def cards(self) -> Iterator[fits.Card]:
        """All cards, those with comments too, as astropy's."""
        return map(fits.Card.fromstring, self._whole_cards())

    def _whole_cards(self) -> list[str]:
        """Texts of the cards; one that is continued has the text of its continuations behind it."""
        whole: list[str] = []
        for place in range(0, len(self._text), CARD):
            image = self._text[place : place + CARD]
            if image.startswith("CONTINUE") and whole:
                whole[-1] += image
            elif image.rstrip() != "END":
                whole.append(image)
        return whole


@lru_cache(maxsize=8192)
def _value(image: str) -> Any:
    """What a card says, None if nothing; such values cannot be changed, so that they may be handed out again."""
    value = fits.Card.fromstring(image).value
    return None if isinstance(value, fits.card.Undefined) else value

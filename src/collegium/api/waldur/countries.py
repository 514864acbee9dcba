"""Country names by ISO 3166-1 code, as menus show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_ISO_NAMES: Final = {
    "AG": "Antigua and Barbuda",
    "BA": "Bosnia and Herzegovina",
    "BL": "Saint Barthélemy",
    "BQ": "Bonaire, Sint Eustatius and Saba",
    "CD": "Democratic Republic of the Congo",
    "CG": "Congo",
    "CI": "Côte d'Ivoire",
    "CV": "Cabo Verde",
    "GS": "South Georgia and the South Sandwich Islands",
    "HK": "Hong Kong",
    "HM": "Heard Island and McDonald Islands",
    "KN": "Saint Kitts and Nevis",
    "LC": "Saint Lucia",
    "MF": "Saint Martin (French part)",
    "MM": "Myanmar",
    "MO": "Macao",
    "PM": "Saint Pierre and Miquelon",
    "PN": "Pitcairn",
    "PS": "Palestine",
    "SH": "Saint Helena, Ascension and Tristan da Cunha",
    "SJ": "Svalbard and Jan Mayen",
    "ST": "Sao Tome and Principe",
    "SX": "Sint Maarten (Dutch part)",
    "TC": "Turks and Caicos Islands",
    "TF": "French Southern Territories",
    "TT": "Trinidad and Tobago",
    "UM": "United States Minor Outlying Islands",
    "VA": "Holy See",
    "VC": "Saint Vincent and the Grenadines",
    "VI": "United States Virgin Islands",
    "WF": "Wallis and Futuna",
}
"""Names of this API that differ from those of the Unicode CLDR, by two-letter code."""


def names(codes: Iterable[str]) -> dict[str, str]:
    """Return the English names of countries by code; a code without a name is its own name.

    Args:
        codes: two-letter codes.
    """
    from babel import Locale  # noqa: PLC0415 - takes memory, and only one list needs it

    known = {**Locale("en").territories, **_ISO_NAMES}
    return {code: known.get(code, code) for code in codes}

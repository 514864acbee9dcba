"""What is wrong with a file or a row, in words, for the API, the pages and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_REASONS: Final[Mapping[str, str]] = {
    # Files
    "import.empty": "The file has no rows.",
    "import.no_addresses": "No column with e-mail addresses was recognised. Name one of the "
    "columns Email, or say which column has the addresses.",
    "import.rows": "The file has too many rows: at most {max}.",
    "import.size": "The file is too large: at most {max} bytes.",
    "import.unreadable": "The file cannot be read. Save it as CSV (UTF-8) or as XLSX.",
    "import.old_excel": "This is an old Excel file. Save it as XLSX or as CSV (UTF-8).",
    "import.unpacked": "The spreadsheet is too large. Save the sheet as CSV (UTF-8).",
    "import.quotes": "A quotation mark in line {line} is not closed, or stands inside a quoted "
    "text. Double it there.",
    "import.mapping": "The columns cannot be found or are named twice: {value}.",
    # Rows
    "import.repeated": "This address is in the file more than once.",
    "import.member": "Already has this role.",
    "import.invited": "Already invited to this role.",
    "import.several_addresses": "There is more than one address.",
    "import.no_role": "No role is given.",
    "import.unknown_role": "There is no such role here.",
    "import.ambiguous_date": "This date can be read in two ways. Write it like 2026-12-31.",
    "import.past": "This date is in the past.",
    "import.language": "Write the code of a language, such as en or de.",
    # Values
    "blank": "There is no e-mail address.",
    "invisible": "This contains only invisible characters.",
    "text": "This is not a text.",
    "too_long": "This is longer than {max} characters.",
    "null_character": "This contains characters that are not allowed.",
    "surrogate": "This contains characters that are not allowed.",
    "controls": "This contains characters that are not allowed.",
    "link": "A name cannot contain a web address.",
    "email": "This is not an e-mail address.",
    "scripts": "This address mixes letters of several scripts.",
    "date": "This is not a date. Write it like 2026-12-31.",
    # Rules
    "permission.missing": "You may not invite people here.",
    "role.above_ceiling": "This role has permissions that you do not have here.",
    "role.inactive": "This role is not in use.",
    "role.not_available": "This role belongs to another organisation.",
    "role.concealed": "This organisation does not use this role.",
    "role.other_kind": "This role belongs to another kind of team.",
    "organisation.unavailable": "The organisation is blocked or archived.",
    "mail_budget.spent": "This address has got too many e-mails today.",
}


def reason(problem: Mapping[str, Any]) -> str:
    """Return the sentence for a problem; empty if there is none.

    Args:
        problem: as ``RowProblem.stored`` returns it.
    """
    if not problem:
        return ""
    text = _REASONS.get(problem["code"], "This cannot be done at the moment.")
    return text.format_map(problem["facts"])


def reason_of(code: str, facts: Mapping[str, Any]) -> str:
    """Return the sentence for a problem of a file."""
    return reason({"code": code, "facts": facts})

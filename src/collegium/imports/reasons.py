"""What is wrong with a file or a row, in words, for the API, the pages and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collegium.text.languages import gettext as _
from collegium.text.languages import mark

_REASONS: Final[Mapping[str, str]] = {
    # Files
    "import.empty": mark("The file has no rows."),
    "import.no_addresses": mark(
        "No column with e-mail addresses was recognised. Name one of the "
        "columns Email, or say which column has the addresses."
    ),
    "import.rows": mark("The file has too many rows: at most {max}."),
    "import.size": mark("The file is too large: at most {max} bytes."),
    "import.unreadable": mark("The file cannot be read. Save it as CSV (UTF-8) or as XLSX."),
    "import.old_excel": mark("This is an old Excel file. Save it as XLSX or as CSV (UTF-8)."),
    "import.unpacked": mark("The spreadsheet is too large. Save the sheet as CSV (UTF-8)."),
    "import.quotes": mark(
        "A quotation mark in line {line} is not closed, or stands inside a quoted "
        "text. Double it there."
    ),
    "import.mapping": mark("The columns cannot be found or are named twice: {value}."),
    # Rows
    "import.repeated": mark("This address is in the file more than once."),
    "import.member": mark("Already has this role."),
    "import.invited": mark("Already invited to this role."),
    "import.several_addresses": mark("There is more than one address."),
    "import.no_role": mark("No role is given."),
    "import.unknown_role": mark("There is no such role here."),
    "import.ambiguous_date": mark("This date can be read in two ways. Write it like 2026-12-31."),
    "import.past": mark("This date is in the past."),
    "import.language": mark("Write the code of a language, such as en or de."),
    # Values
    "blank": mark("There is no e-mail address."),
    "invisible": mark("This contains only invisible characters."),
    "text": mark("This is not a text."),
    "too_long": mark("This is longer than {max} characters."),
    "null_character": mark("This contains characters that are not allowed."),
    "surrogate": mark("This contains characters that are not allowed."),
    "controls": mark("This contains characters that are not allowed."),
    "link": mark("A name cannot contain a web address."),
    "email": mark("This is not an e-mail address."),
    "scripts": mark("This address mixes letters of several scripts."),
    "date": mark("This is not a date. Write it like 2026-12-31."),
    # Rules
    "permission.missing": mark("You may not invite people here."),
    "scope.unknown": mark("You may not invite people here."),
    "organisation.unknown": mark("You may not invite people here."),
    "project.unknown": mark("You may not invite people here."),
    "import.unknown": mark("The import was deleted, or you may not invite people there any more."),
    "role.above_ceiling": mark("This role has permissions that you do not have here."),
    "role.inactive": mark("This role is not in use."),
    "role.not_available": mark("This role belongs to another organisation."),
    "role.concealed": mark("This organisation does not use this role."),
    "role.other_kind": mark("This role belongs to another kind of team."),
    "organisation.unavailable": mark("The organisation is blocked or archived."),
    "invitation.role_ended": mark("This date is in the past."),
    "invitation.ends_before_start": mark(
        "The role would end before the project starts, on {start}."
    ),
    "mail_budget.spent": mark("This address has got too many e-mails today."),
}

_OTHER: Final = mark("This cannot be done at the moment.")


def reason(problem: Mapping[str, Any]) -> str:
    """Return the sentence for a problem, in the current language; empty if there is none.

    Args:
        problem: as ``RowProblem.stored`` returns it.
    """
    if not problem:
        return ""
    text = _REASONS.get(problem["code"], _OTHER)
    return _(text).format_map(problem["facts"])


def reason_of(code: str, facts: Mapping[str, Any]) -> str:
    """Return the sentence for a problem of a file."""
    return reason({"code": code, "facts": facts})

"""Fields that say who may have a role: of organisations, projects and group invitations."""

from __future__ import annotations

from typing import Final

from collegium.api.waldur.fields import Form
from collegium.invite_links.rules import PATTERN_MAX, PATTERNS_MAX, check_patterns
from collegium.refusals import Invalid
from collegium.values import StringList

AFFILIATIONS: Final = StringList(max=255, max_items=200)
EMAIL_PATTERNS: Final = StringList(max=PATTERN_MAX, max_items=PATTERNS_MAX)
IDENTITY_SOURCES: Final = StringList(max=50, max_items=50)


def check_form(form: Form) -> None:
    """Add an error for patterns that are no regular expressions."""
    try:
        check_patterns(form.values.get("email_patterns", ()))
    except Invalid as refusal:
        form.refuse(refusal)

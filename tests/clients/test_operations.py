"""Every operation of the newer Waldur client about membership is used, or absent for a reason."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from tests.clients.operations import DRIVEN

ROOT: Final = Path(__file__).parents[2]
FIELDS: Final = "## Absent fields and parameters"
"""The section that ``test_fields`` reads."""
FOLDERS: Final = (
    "customer_permissions_reviews",
    "customers",
    "hooks",
    "hooks_email",
    "hooks_web",
    "keys",
    "project_permissions_reviews",
    "projects",
    "roles",
    "user_agreements",
    "user_group_invitations",
    "user_invitations",
    "user_permission_requests",
    "user_permissions",
    "users",
)


def test_operation_is_used_by_the_client_or_listed_with_its_reason() -> None:
    (package,) = ROOT.glob(".venv-waldur-8.1.3/lib/python3*/site-packages/waldur_api_client/api")
    operations = {
        f"{folder}.{module.stem}"
        for folder in FOLDERS
        for module in (package / folder).glob("[!_]*.py")
    }
    assert len(operations) > 180
    used = {name for names in DRIVEN.values() for name in names}
    assert used <= operations, "DRIVEN names an operation that the client does not have"
    page = (ROOT / "docs" / "waldur.md").read_text().partition(FIELDS)[0]
    tables = re.findall(r"(?m)^\|(.*)\| .+ \|$", page)
    patterns = set(re.findall(r"`([a-z0-9_*]+)`", " ".join(tables)))
    absent = {
        name
        for name in operations
        if any(fnmatchcase(name.partition(".")[2], pattern) for pattern in patterns)
    }
    assert not operations - used - absent, "use them in a script, or say in waldur.md why not"
    assert not used & absent, "the page says that they are absent"

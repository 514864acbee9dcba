"""Every operation of the newer Waldur client that signs somebody in is served, or has a reason."""

from __future__ import annotations

import re
from pathlib import Path

from collegium.api.waldur import routes as waldur
from collegium.web import routes as web

ROOT = Path(__file__).parents[2]
FOLDERS = ("api_auth", "auth_valimo", "identity_bridge")
URL = re.compile(r'"method": "(\w+)",\s+"url": "([^"]+)"')
NAMED = re.compile(r"/(eduteams|keycloak|tara)/")


def test_operation_that_is_absent_is_documented_with_its_reason() -> None:
    (package,) = ROOT.glob(".venv-waldur-8.1.3/lib/python3*/site-packages/waldur_api_client/api")
    served = {
        (method.lower(), path)
        for path, table in (waldur.ROUTES | web.DESCRIBED).items()
        for method in table
    }
    absent = set()
    for folder in FOLDERS:
        for module in (package / folder).glob("[!_]*.py"):
            found = URL.search(module.read_text())
            assert found, module
            if (found[1], NAMED.sub("/{provider}/", found[2])) not in served:
                absent.add(module.stem)
    page = (ROOT / "docs" / "waldur.md").read_text()
    section = page.partition("\n## Sign-in\n")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\|(.*)\| .+ \|$", section)
    names = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert absent == names

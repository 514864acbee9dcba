"""``collegium provider`` adds, lists and checks OpenID providers; ``doctor`` checks the active."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collegium import doctor
from collegium.cli import main
from collegium.scopes.actions import change_account
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from tests.claim_rules.scene import add_rule
from tests.conftest import KEY
from tests.sign_in.identity_scene import add_provider, change_provider, counts, link, person
from tests.support.openid.hostile import HostileProvider
from tests.support.world import World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(make_settings: Callable[..., Settings], hostile: HostileProvider) -> Settings:
    return make_settings(outgoing_internal_hosts=hostile.host)


@pytest.fixture
def environ(settings: Settings) -> dict[str, str]:
    return {
        "COLLEGIUM_DATABASE_URL": settings.database_url,
        "COLLEGIUM_SECRET_KEY": KEY,
        "COLLEGIUM_MAIL_URL": settings.mail_url,
        "COLLEGIUM_OUTGOING_INTERNAL_HOSTS": ",".join(settings.outgoing_internal_hosts),
    }


Run = Callable[..., Result]


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(main, ["provider", *arguments], input=stdin, env=environ)

    return run


def add(run: Run, hostile: HostileProvider, name: str = "campus", *more: str) -> Result:
    options = ("--label", "Campus", "--url", hostile.issuer, "--client-id", "collegium")
    return run("add", name, *options, "--client-secret-stdin", *more, stdin="very secret\n")


def test_provider_is_added_and_listed(run: Run, world: World, hostile: HostileProvider) -> None:
    done = add(run, hostile)
    assert (done.exit_code, done.stdout) == (
        0,
        "http://127.0.0.1:8000/api-auth/campus/complete/\n",
    ), done.output
    with world.database.read() as tx:
        row = provider_queries.get_active(tx, "campus")
    assert provider_actions.client_secret(world.vault, row) == "very secret"
    assert (row.issuer, row.registration) == (hostile.issuer, "invited")
    assert row.attribute_mapping["first_name"] == "given_name"
    assert run("list").stdout == f"campus\tCampus\t{hostile.issuer}\n"


def test_person_is_unlinked(run: Run, world: World) -> None:
    provider = add_provider(world)
    ada = world.person("ada")
    link(world, ada.actor, provider, person())
    refused = run("unlink", "campus", "ada")
    assert (refused.exit_code, counts(world)) == (2, (2, 1))
    assert "must recognise them by an address or a claim. --force" in refused.output
    with world.database.write() as tx:
        change_account(tx, ada.id, {"is_staff": True})
    assert "Give them another way first" in run("unlink", "campus", "ada").output
    assert "recognised again" in run("unlink", "campus", "ada", "--force").stdout
    assert counts(world) == (2, 0)
    link(world, ada.actor, provider, person("again"))
    with world.database.write() as tx:
        change_account(tx, ada.id, {"password": "a hash"})
    assert run("unlink", "campus", "ada").exit_code == 0
    for wrong, code in ((("campus", "ada"), 1), (("campus", "eve"), 2), (("other", "ada"), 2)):
        assert run("unlink", *wrong).exit_code == code


def test_wrong_provider_is_refused_in_one_line(
    run: Run, world: World, hostile: HostileProvider
) -> None:
    assert add(run, hostile, "default").exit_code == 2
    add(run, hostile)
    for done, sentence in (
        (add(run, hostile), "a provider with this name exists"),
        (add(run, hostile, "other", "--url", "http://example.org"), "--url must be an https URL"),
        (add(run, hostile, "other", "--url", "https://127.0.0.1:9/"), "the provider names a URL"),
        (run("check", "nothing"), "there is no provider named nothing"),
    ):
        assert done.exit_code == 2, done.output
        assert sentence in done.output
        assert "very secret" not in done.output
    with world.database.read() as tx:
        assert [row.name for row in provider_queries.all_providers(tx)] == ["campus"]


def test_check_and_doctor_say_what_is_wrong(
    run: Run, world: World, hostile: HostileProvider, environ: dict[str, str]
) -> None:
    def found() -> list[tuple[bool, str]]:
        return [
            (finding.well, finding.text)
            for finding in doctor.examine(environ)
            if finding.what == "provider campus"
        ]

    add(run, hostile)
    done = run("check")
    assert (done.exit_code, done.output) == (
        0,
        f"ok   campus: responds as {hostile.issuer}; usable keys: 1\n",
    )
    assert found() == [(True, f"responds as {hostile.issuer}; usable keys: 1")]
    change_provider(world, client_secret_encrypted=Vault(KEY[::-1]).encrypt("very secret"))
    text = "has a client secret that another secret key has encrypted. Enter it again"
    assert found() == [(False, text)]
    change_provider(world, client_secret_encrypted=None)
    warned: dict[str, dict[str, Any]] = {
        "speaks for no institution": {},
        "speaks for every institution with eduperson_scoped_affiliation. That": {
            "vouched_claims": ["eduperson_scoped_affiliation@*"]
        },
    }
    for text, values in warned.items():
        mapping = {"affiliations": "eduperson_scoped_affiliation"}
        change_provider(world, attribute_mapping=mapping, **values)
        assert sum(text in warning for _, warning in found()) == 1
        assert f"warn campus: {text}" in run("check").output
    change_provider(world, trusted_domains=["example.org"], vouched_claims=["groups"])
    assert len(found()) == 1
    # A rule compares it, and the provider says that it has it.
    change_provider(world, trusted_domains=[], attribute_mapping={})
    add_rule(
        world,
        world.organisation(),
        "CUSTOMER.OWNER",
        claims={"eduperson_scoped_affiliation": ["staff@example.org"]},
    )
    assert len(found()) == 1
    hostile.metadata = {"claims_supported": ["eduperson_scoped_affiliation"]}
    assert "speaks for no institution" in found()[1][1]
    hostile.metadata = {"issuer": "https://evil.example"}
    done = run("check", "campus")
    assert done.exit_code == 1
    assert done.output.startswith("BAD  campus: names itself differently")
    assert "evil" not in done.output
    assert [is_well for is_well, _ in found()] == [False]

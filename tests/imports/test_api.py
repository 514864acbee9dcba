"""The API of imports, from the upload to the undo, on both databases."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pytest

from tests.imports.scene import MALFORMED, REPEATED, csv_file, work
from tests.support.site import Site
from tests.support.world import Person, Place, World

URL = "/api/imports/"


def post_file(
    site: Site, person: Person, place: Place, content: bytes, **fields: str
) -> httpx.Response:
    parts = {"scope": place.path, **fields}
    return site.post(
        URL,
        person,
        files=[
            *((name, (None, text.encode(), "text/plain")) for name, text in parts.items()),
            ("file", ("people.csv", content, "text/csv")),
        ],
    )


def post_text(site: Site, person: Person, place: Place, text: str, **fields: Any) -> httpx.Response:
    return site.post(URL, person, json={"scope": place.path, "text": text, **fields})


def states(answer: httpx.Response) -> dict[str, int]:
    return {name: count for name, count in answer.json()["rows"].items() if count}


def test_rows_say_what_is_wrong(site: Site, owner: Person, project: Place) -> None:
    url = f"{URL}{post_file(site, owner, project, csv_file(60)).json()['uuid']}/"
    rows = site.get(f"{url}rows/?state=malformed,repeated&page_size=20", owner)
    assert rows.headers["x-result-count"] == str(MALFORMED + REPEATED)
    assert [(row["number"], row["field"], row["reason"]) for row in rows.json()][:5] == [
        (6, "", "This address is in the file more than once."),
        (8, "", "This address is in the file more than once."),
        (10, "", "This address is in the file more than once."),
        (11, "email", "There is no e-mail address."),
        (21, "email", "This is not an e-mail address."),
    ]
    assert site.get(f"{url}rows/?state=strange", owner).status_code == 400


def test_result_is_a_file_without_formulas_that_can_be_imported_again(
    site: Site, owner: Person, project: Place
) -> None:
    text = 'email,role,message\na@uni.example,Project manager,"=HYPERLINK(""http://evil"")"\n'
    uuid = post_text(site, owner, project, text).json()["uuid"]
    result = site.get(f"{URL}{uuid}/result/", owner)
    assert result.headers["content-type"].startswith("text/csv")
    assert result.content.startswith("\ufeff".encode())
    (row,) = csv.DictReader(io.StringIO(result.content.decode("utf-8-sig")))
    assert (row["row"], row["state"], row["email"]) == ("2", "ready", "a@uni.example")
    assert row["message"] == '\'=HYPERLINK("http://evil")'
    again = post_file(site, owner, project, result.content)
    assert states(again) == {"ready": 1}


def test_a_pasted_list_and_a_given_role_are_enough(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    role = world.role("PROJECT.MEMBER").uuid
    answer = post_text(
        site, owner, project, "Ann Lee <ann@uni.example>\nbob@uni.example\nnobody\n", role=role
    )
    assert states(answer) == {"ready": 2, "malformed": 1}
    without = post_text(site, owner, project, "ann@uni.example")
    (row,) = site.get(f"{URL}{without.json()['uuid']}/rows/", owner).json()
    assert (row["state"], row["code"]) == ("malformed", "import.no_role")
    other = post_text(site, owner, project, "a@b.example", role=world.role("CUSTOMER.OWNER").uuid)
    assert other.status_code == 400


def test_columns_can_be_given(site: Site, owner: Person, project: Place) -> None:
    text = "ann@uni.example;Ann Lee;Project manager\nbob@uni.example;Bob;admin\n"
    columns = {"email": 1, "name": 2, "role": 3}
    answer = post_text(site, owner, project, text, columns=columns)
    assert states(answer) == {"ready": 2}
    named = "Kontakt;Wer\nann@uni.example;Ann\n"
    role = {"role": site.get("/api/roles/?name=PROJECT.MEMBER", owner).json()[0]["uuid"]}
    # Without it, this is read as a pasted list.
    answer = post_text(site, owner, project, named, **role)
    assert states(answer) == {"ready": 1, "malformed": 1}
    answer = post_file(
        site, owner, project, named.encode(), columns=json.dumps({"email": "kontakt"}), **role
    )
    assert states(answer) == {"ready": 1}
    for wrong in (
        {"email": 9},
        {"e-mail": 1},
        {"name": 1},
        {"email": 1, "name": 1},
        {"email": "x"},
    ):
        answer = post_text(site, owner, project, text, columns=wrong)
        assert (answer.status_code, list(answer.json())) == (400, ["columns"]), wrong


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_names_of_columns_are_cut(site: Site, owner: Person, project: Place) -> None:
    answer = post_text(site, owner, project, f"{'x' * 100_000},email\n1,ann@uni.example\n")
    name = answer.json()["columns"][0]["name"]
    assert name == "x" * 200


def test_chosen_rows_cancel_and_undo(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    url = f"{URL}{post_file(site, owner, project, csv_file(60)).json()['uuid']}/"
    wrong = site.post(f"{url}start/", owner, json={"rows": [2, 11]})
    assert (wrong.status_code, wrong.json()) == (400, {"rows": ["These rows are not ready: 11."]})
    assert site.post(f"{url}start/", owner, json={"rows": [2, 3]}).status_code == 200
    assert site.post(f"{url}undo/", owner).status_code == 409
    assert site.post(f"{url}cancel/", owner).json()["state"] == "canceled"
    assert site.post(f"{url}start/", owner, json={"rows": [2, 3]}).status_code == 200
    work(world)
    assert site.post(f"{url}cancel/", owner).status_code == 409
    assert site.post(f"{url}undo/", owner).json()["state"] == "undoing"
    work(world)
    assert site.get(url, owner).json()["rows"]["withdrawn"] == 2
    sentences = [
        each["message"]
        for each in site.get("/api/events/?feature=invitations", owner).json()
        if "import" in each["event_type"]
    ]
    assert len(sentences) == 4


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_bad_uploads_are_refused_with_a_reason(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    assert site.post(URL, owner, json={"scope": project.path}).json() == {
        "file": ["Send a file or a text."]
    }
    assert list(post_file(site, owner, project, b"\0\1\2").json()) == ["file"]
    large = post_text(site, owner, project, "x" * (world.settings.import_max_size + 1))
    assert large.status_code in {400, 413}
    # Larger than other bodies may be.
    rows = "".join(f"person{number}@uni.example,{'x' * 1900}\n" for number in range(1200))
    answer = post_text(site, owner, project, f"email,message\n{rows}")
    assert len(rows) > 2**21
    assert (answer.status_code, answer.json()["total"]) == (201, 1200)
    many = "email\n" + "a@uni.example\n" * (world.settings.import_max_rows + 1)
    answer = post_text(site, owner, project, many)
    assert answer.json() == {"text": ["The file has too many rows: at most 20000."]}

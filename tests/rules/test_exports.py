"""Files that are downloaded; programs read their columns by name."""

from __future__ import annotations

from collegium.exports.rules import COLUMNS, MEDIA

# Other programs read these names and addresses.
FILES = {
    "members": "name email role since until added_by",
    "invitations": "email name role state expires invited_by invited",
    "history": "time event scope actor impersonator person details",
}


def test_files_have_the_documented_columns() -> None:
    assert {subject.value: " ".join(names) for subject, names in COLUMNS.items()} == FILES


def test_formats_have_their_media_types() -> None:
    found = {form.value: media for form, media in MEDIA.items()}
    assert found == {"csv": "text/csv", "json": "application/json"}

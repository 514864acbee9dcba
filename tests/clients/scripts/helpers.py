"""Used by the scripts of the Waldur client."""

from waldur_api_client.errors import UnexpectedStatus


def refused(status, call, *args, **kwargs):
    """Expect that a call raises an error with this status."""
    try:
        call(*args, **kwargs)
    except UnexpectedStatus as error:
        assert error.status_code == status, error
    else:
        raise AssertionError(f"{call.__module__} was not refused: {kwargs}")


def value(thing):
    """Return the text of an enum of the client, or the text itself: versions differ."""
    return getattr(thing, "value", thing)

"""How settings are written: one reader for each type of value, and the error text of each type.

Only ``settings``, which holds the table of settings, and the command line use this module.
"""

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from collegium import hosts
from collegium.hosts import Network
from collegium.text import languages
from collegium.text.email_addresses import address_error
from collegium.values import BOOLEANS

KEY_LENGTH = 32  # characters; a shorter SECRET_KEY can be guessed
_COUNT_MAX = 1_000_000  # upper bound of every setting that limits a number
_SIZE_MAX = 100_000_000  # bytes; files are kept in memory
LONGEST = 100 * 365 * 86400  # seconds; later dates exceed the calendar of Python

_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
"""Valid path of BASE_URL: plain segments, none of which is ``.`` or ``..``."""


class UnfitError(ValueError):
    """A setting has a wrong value. The message says what to write instead, without any secret."""


@dataclass(frozen=True)
class SettingType:
    """How a setting is written.

    Args:
        read: Converts the text. The message of its exception is dropped, because it may quote a
            password; only that of ``UnfitError`` is shown.
        expected: What to write, as the error message says it.
    """

    read: Callable[[str], object]
    expected: str


@dataclass(frozen=True)
class ProfileChanges:
    """Which changes of a profile are notified, and to which addresses."""

    fields: tuple[str, ...] = ("email", "phone_number", "job_title")
    enable_operator_owner_notifications: bool = False
    operator_notification_emails: tuple[str, ...] = ()


def _need(condition: object) -> None:
    if not condition:
        raise ValueError


def _line(text: str) -> str:
    _need(text.isprintable())
    return text


def _colour(text: str) -> str:
    _need(re.fullmatch("#[0-9a-f]{6}", text.lower()) is not None)
    return text.lower()


def _language(text: str) -> str:
    _need(text in languages.available())
    return text


def _flag(text: str) -> bool:
    return BOOLEANS[text.lower()]


def duration(text: str) -> int:
    """Return the seconds of a duration such as 3600, 90m or 7d.

    Raises:
        ValueError: The text is not a duration, or it is zero or longer than ``LONGEST``.
        LookupError: The unit is unknown.
    """
    unit = text[-1:].lower() if text[-1:].isalpha() else "s"
    number = text[:-1] if text[-1:].isalpha() else text
    _need(re.fullmatch("[0-9]{1,10}", number))
    seconds = int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    _need(0 < seconds <= LONGEST)
    return seconds


def _words(text: str) -> tuple[str, ...]:
    if not text.lstrip().startswith("["):
        return tuple(word.strip() for word in text.split(",") if word.strip())
    words = json.loads(text)
    _need(all(isinstance(word, str) and word for word in words))
    return tuple(words)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(_network(word) for word in _words(text))


def _network(text: str) -> Network:
    try:
        return hosts.network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        alone = hosts.comparable_ip_address(text)
        hint = f": write {alone}" if alone else ""
        raise UnfitError(f"{text[:60]!r} is neither{hint}") from None
    raise UnfitError(f"{text!r} is an address in a network: write {meant}")


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(_host(word) for word in _words(text))


def _host(text: str) -> str:
    if text == "*":
        return text
    parsed = hosts.host(f"[{text}]" if text.count(":") > 1 and "[" not in text else text)
    if parsed is not None and parsed.port is None and not text.endswith(":"):
        return parsed.name
    if "*" in text or text.startswith("."):
        raise UnfitError(f"{text[:60]!r} matches no host: write each name, or only * for any")
    meant = hosts.origin(text if "://" in text else f"http://{text}")
    hint = (
        f": write {urlsplit(meant).netloc.partition(':')[0]}" if meant and "[" not in meant else ""
    )
    raise UnfitError(
        f"{text[:60]!r} matches no host: write names without scheme, port and path{hint}"
    )


def _origins(text: str) -> tuple[str, ...]:
    return tuple(_origin(word) for word in _words(text))


def _origin(text: str) -> str:
    found = hosts.origin(text)
    if found is None:
        raise UnfitError(
            f"{text[:60]!r} is no origin: write each one, such as https://portal.example.org"
        )
    parts = urlsplit(text)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise UnfitError(f"{text[:60]!r} is more than an origin: write {found}")
    return found


def _internal_hosts(text: str) -> tuple[str, ...]:
    return tuple(_internal_host(word) for word in _words(text))


def _internal_host(text: str) -> str:
    parsed = hosts.host(f"[{text}]" if text.count(":") > 1 and "[" not in text else text)
    if parsed is None or text.endswith(":"):
        raise UnfitError(f"{text[:60]!r} is no host: write names without scheme and path")
    return parsed.name if parsed.port is None else f"{parsed.name}:{parsed.port}"


def _endpoint(text: str) -> str:
    url = urlsplit(_line(text))
    _need(url.scheme in {"http", "https"} and url.hostname and not url.fragment)
    _need(url.username is None and url.port != 0 and " " not in text)
    return text


def _web_url(text: str) -> str:
    _need(not urlsplit(_line(text)).query)
    return _endpoint(text).rstrip("/")


def _own_url(text: str) -> str:
    """Return BASE_URL with its host in comparable form and its path, if any.

    Raises:
        UnfitError: The host is invalid, or the path has characters that are not allowed.
        ValueError: The text is not a web URL.
    """
    parts = urlsplit(_web_url(text))
    found = hosts.origin(f"{parts.scheme}://{parts.netloc}")
    if found is None:
        raise UnfitError(f"{text[:60]!r} has no host name that a browser can open")
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path):
        raise UnfitError(
            f"its path can have letters, digits, '-', '.', '_' and '~', not {path[:60]!r}"
        )
    return found + path


def _database_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme == "sqlite":
        _need(not url.netloc + url.query and len(url.path) > 1 and ":memory:" not in text)
        return url.scheme + text[len(url.scheme) :]
    _need(url.scheme in {"postgresql", "postgres"} and url.path.strip("/") and url.port != 0)
    return "postgresql" + text[len(url.scheme) :]


def _mail_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme == "file":
        _need(url.path and not url.netloc + url.query)
    else:
        _need(url.scheme in {"smtp", "smtps"} and url.hostname and url.port != 0)
        _need(url.query in {"", "starttls=0", "starttls=1"})
    return url.scheme + text[len(url.scheme) :]


def _mailbox(text: str) -> str:
    _need(not address_error(parseaddr(_line(text))[1]))
    return text


def _secret_key(text: str) -> str:
    _need(len(text) >= KEY_LENGTH)
    return text


def _folder(text: str) -> Path:
    _need(Path(text).is_dir())
    return Path(text)


PICTURE_TYPES: Final = {
    ".gif": "image/gif",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
"""Ending of the name of a picture to its media type."""

_PICTURE_MAX: Final = 1024 * 1024


def _picture(text: str) -> Path:
    path = Path(text)
    _need(path.is_file() and path.suffix.lower() in PICTURE_TYPES)
    if path.stat().st_size > _PICTURE_MAX:
        raise UnfitError(f"{path.name!r} has more than {_PICTURE_MAX // 1024} KiB")
    path.read_bytes()  # a file that cannot be read is an error now
    return path


def _countries(text: str) -> tuple[str, ...]:
    codes = tuple(word.upper() for word in _words(text))
    _need(all(re.fullmatch("[A-Z]{2}", code) for code in codes))
    return codes


def _profile_changes(text: str) -> ProfileChanges:
    values = {key.lower(): value for key, value in json.loads(text).items()}
    _need(isinstance(values.get("enable_operator_owner_notifications", False), bool))
    lists = {"fields", "operator_notification_emails"} & values.keys()
    _need(all(isinstance(values[key], list) for key in lists))
    changes = {key: _words(json.dumps(values[key])) for key in lists}
    _need(not any(map(address_error, changes.get("operator_notification_emails", ()))))
    return ProfileChanges(**values | changes)


def _always(text: str) -> bool:
    _need(_flag(text))
    return True


def _count(text: str) -> int:
    _need(re.fullmatch("[0-9]{1,7}", text))
    _need(0 < int(text) <= _COUNT_MAX)
    return int(text)


def _size(text: str) -> int:
    _need(re.fullmatch("[0-9]{1,9}", text))
    _need(0 < int(text) <= _SIZE_MAX)
    return int(text)


def _or_none(kind: SettingType) -> SettingType:
    def read(text: str) -> object:
        return None if text.lower() in {"0", "none", "null", "false"} else kind.read(text)

    return SettingType(read, f"{kind.expected}, or none")


def _one_of(*choices: str) -> SettingType:
    return SettingType(
        lambda text: choices[choices.index(text.lower())],
        " or ".join(choices),
    )


_DURATION = SettingType(duration, "a duration such as 3600, 30s, 90m, 1h, 7d or 2w")
_WEB_URL = SettingType(_web_url, "a web address such as https://members.example.org")

# The annotations that the table in ``settings`` uses: the type of the value, and its
# ``SettingType``.
Flag = Annotated[bool, SettingType(_flag, "true or false")]
OnlyTrue = Annotated[bool, SettingType(_always, "true (transactions cannot be turned off)")]
Text = Annotated[str, SettingType(str, "text")]
Line = Annotated[str, SettingType(_line, "text on one line")]
Colour = Annotated[str | None, _or_none(SettingType(_colour, "a colour: #1d5aa6"))]
Language = Annotated[str, SettingType(_language, f"one of {', '.join(languages.available())}")]
Words = Annotated[tuple[str, ...], SettingType(_words, 'a list: a,b,c or ["a", "b", "c"]')]
Countries = Annotated[tuple[str, ...], SettingType(_countries, "two-letter codes: EE,FI,NO")]
Networks = Annotated[
    tuple[Network, ...], SettingType(_networks, "addresses and networks: 10.0.0.5,192.168.1.0/24")
]
Count = Annotated[int, SettingType(_count, f"a whole number from 1 to {_COUNT_MAX}")]
Size = Annotated[int, SettingType(_size, f"a number of bytes from 1 to {_SIZE_MAX}")]
Duration = Annotated[int, _DURATION]
MaybeDuration = Annotated[int | None, _or_none(_DURATION)]
_OWN_URL = SettingType(_own_url, _WEB_URL.expected)
WebUrl = Annotated[str, _WEB_URL]
OwnUrl = Annotated[str, _OWN_URL]
MaybeOwnUrl = Annotated[str | None, _or_none(_OWN_URL)]
Hosts = Annotated[
    tuple[str, ...], SettingType(_hosts, "host names: members.example.org,10.0.0.5; or * for any")
]
Origins = Annotated[
    tuple[str, ...],
    SettingType(_origins, "origins: https://portal.example.org,http://localhost:8001"),
]
InternalHosts = Annotated[
    tuple[str, ...],
    SettingType(_internal_hosts, "hosts, perhaps with a port: login.lan,10.0.0.5:8443"),
]
# URLs that the Waldur API publishes as "" when there are none.
Link = Annotated[
    str, SettingType(lambda text: text and _web_url(text), f"{_WEB_URL.expected}, or nothing")
]
# A URL that is requested exactly as written: a slash or a query at its end may matter.
Endpoint = Annotated[
    str,
    SettingType(lambda text: text and _endpoint(text), f"{_WEB_URL.expected}/hook?a=1, or nothing"),
]
DatabaseUrl = Annotated[
    str,
    SettingType(
        _database_url, "sqlite:///var/collegium.db or postgresql://user:password@host/name"
    ),
]
MailUrl = Annotated[
    str,
    SettingType(_mail_url, "file:var/mail, smtp://host:port or smtps://user:password@host:port"),
]
Mailbox = Annotated[str, SettingType(_mailbox, "an address such as Members <members@example.org>")]
SecretKey = Annotated[
    str | None, SettingType(_secret_key, f"at least {KEY_LENGTH} random characters")
]
Folder = Annotated[Path | None, _or_none(SettingType(_folder, "a folder that exists"))]
Picture = Annotated[
    Path | None,
    _or_none(SettingType(_picture, f"a file that exists, with {', '.join(PICTURE_TYPES)}")),
]
LogLevel = Annotated[str, _one_of("debug", "info", "warning", "error")]
TwoFactorRequired = Annotated[str, _one_of("nobody", "staff", "everybody")]
LogFormat = Annotated[str, _one_of("text", "json")]
ProfileChangesJson = Annotated[
    ProfileChanges,
    SettingType(
        _profile_changes,
        'a JSON object with any of "FIELDS" (list), "ENABLE_OPERATOR_OWNER_NOTIFICATIONS"'
        ' (true or false) and "OPERATOR_NOTIFICATION_EMAILS" (list)',
    ),
]

"""The service behind nginx, Apache and Caddy, with the snippets that ``docs/operating.md`` prints.

Where a proxy is not installed its tests are skipped, and say so; ``script/test`` says it as well.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.hostile.raw import connect
from tests.support.serving import PATIENCE, Service, free_port

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
NAME = "members.example.org"
CALLER = "127.0.0.9"
"""Where the caller sits; the proxy calls the service from 127.0.0.1."""

APACHE_MODULES = Path("/usr/lib/apache2/modules")
PROGRAMS = {"nginx": "nginx", "apache": "apache2", "caddy": "caddy"}


def found(kind: str) -> str | None:
    """Return the program of a proxy, if it is installed."""
    return shutil.which(PROGRAMS[kind], path=f"{os.environ['PATH']}:/usr/sbin")


def printed(kind: str, number: int) -> str:
    """Return a block of the page: 0 the whole site, 1 what stands below a path."""
    section = PAGE.read_text().split("\n## Behind a proxy\n")[1].split("\n## ")[0]
    return str(re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)[number])


def site(kind: str, *, below: bool, keeps: bool) -> str:
    """Return what an operator would write, following the page.

    Args:
        below: whether the service lives below a path.
        keeps: whether the proxy passes that path on.
    """
    text = printed(kind, 0)
    if not below:
        return text
    part = printed(kind, 1)
    if kind == "nginx":
        part = part if keeps else part.replace(":8000;", ":8000/;")
        text, changes = re.subn(
            r"    location / \{.*?\n    \}\n", lambda _: part, text, flags=re.DOTALL
        )
    elif kind == "apache":
        part = part.replace(":8000/ ", ":8000/members/ ") if keeps else part
        text, changes = re.subn(r" *ProxyPass .*\n", lambda _: part, text)
    else:
        part = part.replace("handle_path", "handle") if keeps else part
        text, changes = re.subn(
            r"    reverse_proxy .*?\n    \}\n", lambda _: part, text, flags=re.DOTALL
        )
    assert changes == 1
    return text


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "members.pem", folder / "members.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


def command(kind: str, program: str, text: str, folder: Path, port: int) -> list[str]:
    """Write the configuration around a site; return what starts the proxy in the foreground."""
    pem, secret = certificate(folder)
    text = text.replace("/etc/ssl/members.pem", str(pem))
    text = text.replace("/etc/ssl/members.key", str(secret))
    file = folder / "proxy.conf"
    if kind == "nginx":
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        places = "".join(
            f"{what}_temp_path {folder / what};\n"
            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Its workers collect bodies in this folder, which is ours alone.
        user = "user root;\n" if os.geteuid() == 0 else ""
        file.write_text(
            f"{user}daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{places}{text}\n}}\n"
        )
        return [program, "-p", str(folder), "-c", str(file), "-e", "stderr"]
    if kind == "apache":
        text = text.replace("<VirtualHost *:443>", f"<VirtualHost *:{port}>")
        modules = "".join(
            f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n"
            for name in (
                "mpm_event",
                "authz_core",
                "socache_shmcb",
                "ssl",
                "headers",
                "proxy",
                "proxy_http",
                "reqtimeout",
            )
        )
        file.write_text(
            f"ServerRoot {folder}\nPidFile {folder}/pid\nErrorLog /dev/stderr\n"
            f"User nobody\nGroup nogroup\nDefaultRuntimeDir {folder}\nMutex posixsem\n"
            f"Listen 127.0.0.1:{port}\nServerName {NAME}\n{modules}{text}"
        )
        return [program, "-f", str(file), "-D", "FOREGROUND"]
    text = text.replace(
        f"\n{NAME} {{", f"\nhttps://{NAME}:{port} {{\n    bind 127.0.0.1\n    tls {pem} {secret}"
    )
    text = text.replace("{\n", "{\n    admin off\n    auto_https disable_redirects\n", 1)
    file.write_text(text)
    return [program, "run", "--adapter", "caddyfile", "--config", str(file)]


class Behind:
    """A service behind a proxy, called as a browser or a client calls it."""

    def __init__(self, service: Service, port: int, root: str) -> None:
        self.service = service
        self.root = root
        self.base = f"https://{NAME}:{port}{root}"
        self._port = port
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(verify=_trusting(), local_address=CALLER), timeout=20
        )
        self.cookies: dict[str, str] = {}

    def call(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        """Call an address as it stands in a page or in an answer: with the path, from the host."""
        headers = {"Host": f"{NAME}:{self._port}"} | options.pop("headers", {})
        if token:
            headers["Authorization"] = f"Token {token}"
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={it}" for name, it in self.cookies.items())
        answer = self._client.request(
            method,
            f"https://127.0.0.1:{self._port}{path}",
            headers=headers,
            extensions={"sni_hostname": NAME},
            **options,
        )
        self._client.cookies.clear()
        for line in answer.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return answer

    def open(self, path: str) -> httpx.Response:
        return self.call("GET", self.root + path)

    def close(self) -> None:
        self._client.close()


def _trusting() -> Any:
    import ssl  # noqa: PLC0415 - here alone

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Behind]]:
    """Start a service behind a proxy; skip where that one is not installed."""
    ends: list[Callable[[], object]] = []

    def begin(kind: str, *, below: bool = False, keeps: bool = True) -> Behind:
        program = found(kind)
        if program is None:
            pytest.skip(f"NOT TESTED behind {kind}: install it (Debian: {PROGRAMS[kind]})")
        folder = tmp_path / "proxy"
        folder.mkdir()
        tmp_path.chmod(0o755)
        port, root = free_port(), "/members" if below else ""
        service = Service(
            tmp_path,
            {
                "base_url": f"https://{NAME.title()}:{port}{root}",
                "trusted_proxies": "127.0.0.1",
                "mail_url": f"file:{tmp_path}/mail",
            },
        )
        text = site(kind, below=below, keeps=keeps)
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
        words = command(kind, program, text, folder, port)
        log = (folder / "log").open("wb")
        ends.append(log.close)
        # Caddy keeps things below its home.
        home = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        process = subprocess.Popen(words, stdout=log, stderr=log, env=home)
        ends.append(lambda: process.wait(timeout=10))
        ends.append(process.terminate)
        service.start()
        ends.append(service.stop)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                connect(port).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
        behind = Behind(service, port, root)
        ends.append(behind.close)
        return behind

    yield begin
    for one in reversed(ends):
        one()


every = pytest.mark.parametrize("kind", list(PROGRAMS))


@every
def test_caller_behind_a_proxy_cannot_choose_who_they_are(
    begin: Callable[..., Behind], kind: str
) -> None:
    behind = begin(kind)
    token = behind.service.staff()
    lie = "203.0.113.9"
    for headers in (
        {},
        {"X-Forwarded-For": lie},
        {"X_Forwarded_For": lie},
        {"X-Forwarded_For": lie},
        {"x_forwarded-for": f"{lie}, {lie}"},
        {"Forwarded": f"for={lie};host=evil.example;proto=http"},
        {"X-Real-IP": lie},
        {"X-Forwarded-Host": "evil.example"},
        {"X_Forwarded_Host": "evil.example"},
        {"X-Forwarded-Proto": "http"},
        {"X_Forwarded_Proto": "http"},
        {"X-Forwarded-Port": "1"},
    ):
        answer = behind.call("GET", "/api/users/me/", token, headers=headers)
        assert answer.status_code == 200, (headers, answer.text)
        me = answer.json()
        assert me["ip_address"] == CALLER, headers
        assert me["url"] == f"{behind.base.lower()}/api/users/{me['uuid']}/", headers


@every
@pytest.mark.parametrize(("below", "keeps"), [(False, True), (True, True), (True, False)])
def test_service_behind_a_proxy_serves_pages_and_api(
    begin: Callable[..., Behind], kind: str, *, below: bool, keeps: bool
) -> None:
    behind = begin(kind, below=below, keeps=keeps)
    done = behind.service.run(
        "staff", "boss", "--email", "boss@example.org", "--password", "quiet-harbour-9"
    )
    token = done.stdout.strip()
    _sign_in(behind)
    _walk(behind)
    _use_the_api(behind, token)
    _bound(behind)


def _sign_in(behind: Behind) -> None:
    page = behind.open("/sign_in/")
    assert page.status_code == 200, page.text
    name = "__Secure-collegium_" if behind.root else "__Host-collegium_"
    assert [one.startswith(name) for one in behind.cookies] == [True]
    path = f"Path={behind.root or '/'}"
    assert path in page.headers["set-cookie"].split("; ")
    csrf = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert csrf
    action = f"{behind.root}/sign_in/"
    data = {"csrf": csrf[1], "username": "boss", "password": "quiet-harbour-9"}
    origin = behind.base.lower().removesuffix(behind.root)
    browser = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    sent = behind.call("POST", action, data=data, headers=browser)
    assert sent.status_code == 303, sent.text
    assert sent.headers["location"].startswith(f"{behind.root}/")


def _walk(behind: Behind) -> None:
    """Open every page that a link leads to; all of them are below the path, and are there."""
    todo = [f"{behind.root}/account/", f"{behind.root}/schema/"]
    seen: set[str] = set()
    while todo and len(seen) < 40:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = behind.call("GET", path)
        while answer.status_code == 303:
            answer = behind.call("GET", answer.headers["location"])
        assert answer.status_code == 200, (path, answer.text[:500])
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        for attribute in ("href", "action", "src"):
            for link in map(unescape, re.findall(rf'{attribute}="([^"]*)"', answer.text)):
                if link.startswith(("#", "?", "mailto:", "data:", "http")):
                    continue
                assert link.startswith(f"{behind.root}/"), (path, link)
                if attribute == "href":
                    todo.append(link.partition("#")[0])
    assert len(seen) > 10


def _use_the_api(behind: Behind, token: str) -> None:
    base = behind.base.lower()

    def call(method: str, url: str, **options: Any) -> httpx.Response:
        assert url.startswith(f"{base}/api/"), url
        path = url.removeprefix(base.removesuffix(behind.root))
        return behind.call(method, path, token, **options)

    assert behind.open("/healthz").text == "ok\n"
    made = call("POST", f"{base}/api/customers/", json={"name": "Initech"}).json()
    assert call("GET", made["url"]).json()["name"] == "Initech"
    project = call("POST", f"{base}/api/projects/", json={"name": "Atlas", "customer": made["url"]})
    assert project.status_code == 201, project.text
    role = next(
        one for one in call("GET", f"{base}/api/roles/").json() if one["name"] == "PROJECT.MANAGER"
    )
    invited = call(
        "POST",
        f"{base}/api/user-invitations/",
        json={"email": "ada@example.org", "role": role["uuid"], "scope": project.json()["url"]},
    )
    assert invited.status_code == 201, invited.text
    found = call("GET", f"{base}/api/user-invitations/?scope={project.json()['url']}")
    assert len(found.json()) == 1
    for url in re.findall(r"<([^>]+)>", found.headers["link"]):
        assert call("GET", url).status_code == 200
    described = behind.open("/schema/openapi.json").json()
    assert described.get("servers", [{"url": ""}])[0]["url"] == behind.root
    service = behind.service
    end = time.monotonic() + PATIENCE
    while not (mails := list((service.folder / "mail").glob("*invitation_created.eml"))):
        assert time.monotonic() < end
        time.sleep(0.1)
    text = mails[0].read_text().replace("=\n", "")
    link = re.search(rf"{re.escape(base)}(/invitation/[^/\s]+/)", text)
    assert link, text
    assert behind.open(link[1]).status_code == 200


def _bound(behind: Behind) -> None:
    """The refusal of the service gets through: the body is larger than it takes, not the proxy."""
    big = behind.call("POST", f"{behind.root}/api-auth/password/", content=b"x" * 2_500_000)
    assert big.status_code == 413


def test_at_least_one_proxy_is_tested() -> None:
    """Say it aloud where none is, instead of passing with nothing done."""
    if not any(found(kind) for kind in PROGRAMS):
        pytest.skip("NO PROXY IS INSTALLED: the snippets of docs/operating.md are not tested")

"""The service behind nginx, Apache and Caddy, with the configurations of ``packaging/proxies``.

``script/test`` unpacks those that are not installed. Tests of a proxy that is missing are skipped.
"""

import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

from collegium.server import PAUSE_SECONDS
from tests.hostile.raw import connect, listen
from tests.support.serving import PATIENCE, Service, free_port

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".proxies" / "usr"
PAGE = ROOT / "docs" / "operating.md"
SITES = {"nginx": "nginx.conf", "apache": "apache.conf", "caddy": "Caddyfile"}
NAME = "members.example.org"
CALLER = "127.0.0.9"
"""The address of the caller. The proxy calls the service from 127.0.0.1."""

MODULES = [
    "mpm_event",
    "authz_core",
    "socache_shmcb",
    "ssl",
    "headers",
    "proxy",
    "proxy_http",
    "reqtimeout",
]
PROGRAMS = {"nginx": "nginx", "apache": "apache2", "caddy": "caddy"}


def installed(kind: str) -> str | None:
    """Return the program of a proxy, if it is installed or unpacked."""
    folders = (os.environ["PATH"], "/usr/sbin", UNPACKED / "sbin", UNPACKED / "bin")
    return shutil.which(PROGRAMS[kind], path=":".join(map(str, folders)))


def below_path_snippet(kind: str) -> str:
    """Return what the page says to write for a service below a path."""
    section = PAGE.read_text().split("\n### Below a path\n")[1].split("\n## ")[0]
    (snippet,) = re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)
    return str(snippet)


def site(kind: str, *, below_path: bool, keeps_path: bool) -> str:
    """Return the configuration that an operator writes by the page.

    Args:
        below_path: whether the service is served below a path.
        keeps_path: whether the proxy passes that path on.
    """
    text = (ROOT / "packaging" / "proxies" / SITES[kind]).read_text()
    if not below_path:
        return text
    part = below_path_snippet(kind)
    if kind == "nginx":
        part = part if keeps_path else part.replace(":8000;", ":8000/;")
        text, changes = re.subn(
            r"    location / \{.*?\n    \}\n", lambda _: part, text, flags=re.DOTALL
        )
    elif kind == "apache":
        part = part.replace(":8000/ ", ":8000/members/ ") if keeps_path else part
        text, changes = re.subn(r" *ProxyPass .*\n", lambda _: part, text)
    else:
        part = part.replace("handle_path", "handle") if keeps_path else part
        text, changes = re.subn(
            r"    reverse_proxy .*?\n    \}\n", lambda _: part, text, flags=re.DOTALL
        )
    assert changes == 1
    return text


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    signed = (
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
    pem, key_file = folder / "members.pem", folder / "members.key"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, key_file


def command(kind: str, program: str, text: str, folder: Path, port: int) -> list[str]:
    """Write the configuration around a site; return the command that runs the proxy."""
    pem, key_file = certificate(folder)
    text = text.replace("/etc/ssl/members.pem", str(pem))
    text = text.replace("/etc/ssl/members.key", str(key_file))
    file = folder / "proxy.conf"
    if kind == "nginx":
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        paths = "".join(
            f"{name}_temp_path {folder / name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Its workers write bodies to this folder, which only our user may read.
        user = "user root;\n" if os.geteuid() == 0 else ""
        file.write_text(
            f"{user}daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{paths}{text}\n}}\n"
        )
        return [program, "-p", str(folder), "-c", str(file), "-e", "stderr"]
    if kind == "apache":
        text = text.replace("<VirtualHost *:443>", f"<VirtualHost *:{port}>")
        # Beside the program, so that an unpacked package in another folder works too.
        folder_of_modules = Path(program).parents[1] / "lib" / "apache2" / "modules"
        modules = "".join(
            f"LoadModule {name}_module {folder_of_modules}/mod_{name}.so\n" for name in MODULES
        )
        file.write_text(
            f"ServerRoot {folder}\nPidFile {folder}/pid\nErrorLog /dev/stderr\n"
            f"User nobody\nGroup nogroup\nDefaultRuntimeDir {folder}\nMutex posixsem\n"
            f"Listen 127.0.0.1:{port}\nServerName {NAME}\n{modules}{text}"
        )
        return [program, "-f", str(file), "-D", "FOREGROUND"]
    text = text.replace(
        f"\n{NAME} {{", f"\nhttps://{NAME}:{port} {{\n    bind 127.0.0.1\n    tls {pem} {key_file}"
    )
    text = text.replace("{\n", "{\n    admin off\n    auto_https disable_redirects\n", 1)
    file.write_text(text)
    return [program, "run", "--adapter", "caddyfile", "--config", str(file)]


class Proxied:
    """A service behind a proxy, and a client with cookies."""

    def __init__(self, service: Service, port: int, root: str) -> None:
        self.service = service
        self.root = root
        self.base = f"https://{NAME}:{port}{root}"
        self._port = port
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(verify=self._context, local_address=CALLER), timeout=20
        )
        self.cookies: dict[str, str] = {}

    def call(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        """Call a path of the host, as it is in a page or a response."""
        headers = {"Host": f"{NAME}:{self._port}"} | options.pop("headers", {})
        if token:
            headers["Authorization"] = f"Token {token}"
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={it}" for name, it in self.cookies.items())
        response = self._client.request(
            method,
            f"https://127.0.0.1:{self._port}{path}",
            headers=headers,
            extensions={"sni_hostname": NAME},
            **options,
        )
        self._client.cookies.clear()
        for line in response.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return response

    def stall(self, sent: bytes) -> float:
        """Send a part of a request; return the seconds until the connection is ended."""
        head = f"POST /api/token/ HTTP/1.1\r\nHost: {NAME}:{self._port}\r\n".encode()
        plain = connect(self._port, PAUSE_SECONDS)
        with self._context.wrap_socket(plain, server_hostname=NAME) as connection:
            connection.sendall(head + sent)
            began = time.monotonic()
            response = listen(connection)
            assert "x-request-id" not in response.headers, "the service responded"
            return time.monotonic() - began

    def open(self, path: str) -> httpx.Response:
        return self.call("GET", self.root + path)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Proxied]]:
    """Start a service behind a proxy, or skip the test if the proxy is not installed."""
    ends: list[Callable[[], object]] = []

    def start(
        kind: str, *, below_path: bool = False, keeps_path: bool = True, stalls: bool = False
    ) -> Proxied:
        program = installed(kind)
        if program is None:
            pytest.skip(f"NOT TESTED behind {kind}: install it (Debian: {PROGRAMS[kind]})")
        folder = tmp_path / "proxy"
        folder.mkdir()
        tmp_path.chmod(0o755)
        port, root = free_port(), "/members" if below_path else ""
        settings = {"trusted_proxies": "127.0.0.1", "mail_url": f"file:{tmp_path}/mail"}
        settings["base_url"] = f"https://{NAME.title()}:{port}{root}"
        service = Service(tmp_path, settings)
        text = site(kind, below_path=below_path, keeps_path=keeps_path)
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
        if stalls:  # with shorter timeouts
            text = re.sub(r"\b15(s|,MinRate)", r"2\1", text).replace("60s", "8s")
        arguments = command(kind, program, text, folder, port)
        log = (folder / "log").open("wb")
        ends.append(log.close)
        # Caddy writes files below its home.
        variables = {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        if program.startswith(str(UNPACKED)):
            libraries = map(str, (UNPACKED / "lib").glob("*-linux-*"))
            variables["LD_LIBRARY_PATH"] = ":".join(libraries)
        process = subprocess.Popen(arguments, stdout=log, stderr=log, env=os.environ | variables)
        ends.append(lambda: process.wait(timeout=10))
        ends.append(process.terminate)
        ends.append(service.stop)
        service.start()
        end = time.monotonic() + PATIENCE
        while True:
            try:
                connect(port).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
        proxied = Proxied(service, port, root)
        ends.append(proxied.close)
        return proxied

    yield start
    for end in reversed(ends):
        end()


each_proxy = pytest.mark.parametrize("kind", list(PROGRAMS))


@each_proxy
def test_client_behind_a_proxy_cannot_forge_its_address(
    start: Callable[..., Proxied], kind: str
) -> None:
    proxied = start(kind)
    token = proxied.service.staff()
    forged = "203.0.113.9"
    for headers in (
        {},
        {"X-Forwarded-For": forged},
        {"X_Forwarded_For": forged},
        {"X-Forwarded_For": forged},
        {"x_forwarded-for": f"{forged}, {forged}"},
        {"Forwarded": f"for={forged};host=evil.example;proto=http"},
        {"X-Real-IP": forged},
        {"X-Forwarded-Host": "evil.example"},
        {"X_Forwarded_Host": "evil.example"},
        {"X-Forwarded-Proto": "http"},
        {"X_Forwarded_Proto": "http"},
        {"X-Forwarded-Port": "1"},
    ):
        response = proxied.call("GET", "/api/users/me/", token, headers=headers)
        assert response.status_code == 200, (headers, response.text)
        me = response.json()
        assert me["ip_address"] == CALLER, headers
        assert me["url"] == f"{proxied.base.lower()}/api/users/{me['uuid']}/", headers


@each_proxy
def test_proxy_ends_clients_that_stall(start: Callable[..., Proxied], kind: str) -> None:
    proxied = start(kind, stalls=True)
    body = b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    with ThreadPoolExecutor(2) as threads:
        in_headers, in_body = threads.map(proxied.stall, (b"Accept: */*\r\n", body))
    assert 1 < in_headers < 6
    # The service itself waits for longer.
    assert 1 < in_body < PAUSE_SECONDS - 3
    assert proxied.open("/healthz").status_code == 200


@each_proxy
@pytest.mark.parametrize(("below_path", "keeps_path"), [(False, True), (True, True), (True, False)])
def test_service_behind_a_proxy_serves_pages_and_api(
    start: Callable[..., Proxied], kind: str, *, below_path: bool, keeps_path: bool
) -> None:
    proxied = start(kind, below_path=below_path, keeps_path=keeps_path)
    arguments = ("--email", "boss@example.org", "--password", "quiet-harbour-9")
    token = proxied.service.run("staff", "boss", *arguments).stdout.strip()
    _sign_in(proxied)
    _walk(proxied)
    _use_the_api(proxied, token)
    # The service refuses the body, not the proxy; and the proxy finds nothing closed.
    for headers in ({}, {"Expect": "100-continue"}):
        for path, status in (("/api-auth/password/", 413), ("/api/nowhere/", 404)):
            content = b"x" * 5_000_000
            response = proxied.call(
                "POST", f"{proxied.root}{path}", content=content, headers=headers
            )
            assert (response.status_code, list(response.json())) == (status, ["detail"])


def _sign_in(proxied: Proxied) -> None:
    page = proxied.open("/sign_in/")
    assert page.status_code == 200, page.text
    name = "__Secure-collegium_" if proxied.root else "__Host-collegium_"
    assert [cookie.startswith(name) for cookie in proxied.cookies] == [True]
    assert f"Path={proxied.root or '/'}" in page.headers["set-cookie"].split("; ")
    csrf = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert csrf
    action = f"{proxied.root}/sign_in/"
    data = {"csrf": csrf[1], "username": "boss", "password": "quiet-harbour-9"}
    origin = proxied.base.lower().removesuffix(proxied.root)
    browser = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    response = proxied.call("POST", action, data=data, headers=browser)
    assert response.status_code == 303, response.text
    assert response.headers["location"].startswith(f"{proxied.root}/")


def _walk(proxied: Proxied) -> None:
    """Follow links; expect that every page exists and is below the path."""
    todo = [f"{proxied.root}/account/", f"{proxied.root}/schema/"]
    seen: set[str] = set()
    while todo and len(seen) < 40:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        response = proxied.call("GET", path)
        while response.status_code == 303:
            response = proxied.call("GET", response.headers["location"])
        assert response.status_code == 200, (path, response.text[:500])
        if not response.headers["content-type"].startswith("text/html"):
            continue
        for attribute in ("href", "action", "src"):
            for link in map(unescape, re.findall(rf'{attribute}="([^"]*)"', response.text)):
                if link.startswith(("#", "?", "mailto:", "data:", "http")):
                    continue
                assert link.startswith(f"{proxied.root}/"), (path, link)
                if attribute == "href":
                    todo.append(link.partition("#")[0])
    assert len(seen) > 10


def _use_the_api(proxied: Proxied, token: str) -> None:
    base = proxied.base.lower()

    def call(method: str, url: str, **options: Any) -> httpx.Response:
        assert url.startswith(f"{base}/api/"), url
        path = url.removeprefix(base.removesuffix(proxied.root))
        return proxied.call(method, path, token, **options)

    assert proxied.open("/healthz").text == "ok\n"

    def create(path: str, **body: str) -> dict[str, Any]:
        response = call("POST", f"{base}/api/{path}/", json=body)
        assert response.status_code == 201, response.text
        content: dict[str, Any] = response.json()
        return content

    customer = create("customers", name="Initech")["url"]
    assert call("GET", customer).json()["name"] == "Initech"
    project = create("projects", name="Atlas", customer=customer)["url"]
    roles = {role["name"]: role["uuid"] for role in call("GET", f"{base}/api/roles/").json()}
    role = roles["PROJECT.MANAGER"]
    create("user-invitations", email="ada@example.org", role=role, scope=project)
    invitations = call("GET", f"{base}/api/user-invitations/?scope={project}")
    assert len(invitations.json()) == 1
    for url in re.findall(r"<([^>]+)>", invitations.headers["link"]):
        assert call("GET", url).status_code == 200
    schema = proxied.open("/schema/openapi.json").json()
    assert schema.get("servers", [{"url": ""}])[0]["url"] == proxied.root
    end = time.monotonic() + PATIENCE
    while not (mails := list((proxied.service.folder / "mail").glob("*invitation_created.eml"))):
        assert time.monotonic() < end
        time.sleep(0.1)
    text = mails[0].read_text().replace("=\n", "")
    link = re.search(rf"{re.escape(base)}(/invitation/[^/\s]+/)", text)
    assert link, text
    assert proxied.open(link[1]).status_code == 200


def test_at_least_one_proxy_is_installed() -> None:
    if not any(installed(kind) for kind in PROGRAMS):
        pytest.skip("NO PROXY IS INSTALLED: packaging/proxies is not tested")

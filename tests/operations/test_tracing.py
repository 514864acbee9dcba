"""Traces arrive at a collector of OpenTelemetry, and contain no values."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collegium import tracing
from collegium.integrations.http_client import Timeouts, send_request
from collegium.settings import Settings, SettingsError
from tests.support.serving import PATIENCE, Service

MARK = "marked-value"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(ThreadingHTTPServer):
    """An OTLP receiver: keeps the spans that it gets, and the bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.bodies: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, name: str) -> Any:
        """Wait for a span of this name, and return the first."""
        end = time.monotonic() + PATIENCE
        while not (found := [span for span in self.spans if span.name == name]):
            assert time.monotonic() < end, {span.name for span in self.spans}
            time.sleep(0.02)
        return found[0]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        collector: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            collector.bodies.append(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    collector.spans.extend(scope.spans)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Write no log."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    """Return the attributes of a span, each by its name."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_requests_statements_and_deliveries_are_traced_without_values(
    collector: Collector, tmp_path: Path
) -> None:
    service = Service(
        tmp_path, {"tracing": "true", "trusted_proxies": "127.0.0.1"}, is_forked=False
    )
    service.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    token = service.staff(MARK)
    service.start()
    try:
        headers = {
            "Authorization": f"Token {token}",
            "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
            "x-request-id": "a-request",
        }
        for path in (f"/api/users/?username={MARK}", f"/setup/{MARK}/", f"/{MARK}/"):
            httpx.get(service.base + path, headers=headers)
        service.call("GET", "/healthz")
        own = service.call("GET", "/api/users/me/", token).json()["uuid"]
        customer = service.call("POST", "/api/customers/", token, json={"name": MARK}).json()
        service.call("GET", f"/api/customers/{customer['uuid']}/export/members/", token)
        mail = {"email": f"{MARK}@example.com"}
        service.call("POST", f"/api/users/{own}/change_email/", token, json=mail)
        form = {"email": f"{MARK}@example.org"}
        service.call("POST", "/api/users/", token, json={"username": f"{MARK}2", **form})
        listed = collector.named("GET /api/users")
        collector.named("GET /setup/{token}")
        collector.named("POST /api/users")
        download = collector.named("GET /api/customers/{uuid}/export/members")
        delivery = collector.named("deliver")
    finally:
        service.stop()
    assert listed.trace_id.hex() == TRACE
    facts = attributes(listed)
    assert facts["http.response.status_code"] == 200
    assert facts["collegium.request_id"] == "a-request"
    assert facts["http.route"] == "/api/users"
    statements = [span for span in collector.spans if span.parent_span_id == listed.span_id]
    assert len(statements) > 2
    assert {attributes(one)["db.system.name"] for one in statements} == {"sqlite"}
    assert any("accounts" in attributes(one)["db.query.text"] for one in statements)
    assert attributes(download)["collegium.stream_ending"] == "complete"
    # Neither probes nor the worker that looks for work have spans.
    roots = [span for span in collector.spans if not span.parent_span_id]
    assert {attributes(one).get("http.route") for one in roots} == {
        None,
        "/api/customers",
        "/api/customers/{uuid}/export/members",
        "/api/users",
        "/api/users/me",
        "/api/users/{uuid}/change_email",
    }
    assert attributes(delivery) == {
        "collegium.kind": "change_email_request",
        "collegium.sent": True,
    }
    assert not any(word.encode() in b"".join(collector.bodies) for word in (MARK, token))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_outgoing_call_names_the_host_alone_and_is_sent_at_the_end(
    collector: Collector, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "a test")
    stop = tracing.start(make_settings(tracing="true"))
    try:
        send_request(
            "POST",
            f"{collector.url}/{MARK}?key={MARK}",
            Timeouts(),
            time.monotonic() + 10,
            None,
            internal_hosts=[collector.url.removeprefix("http://")],
            content=b"{}",
        )
        assert collector.spans == []
    finally:
        stop()
    (span,) = collector.spans
    assert (span.name, attributes(span)) == (
        "POST",
        {
            "http.request.method": "POST",
            "server.address": "127.0.0.1",
            "http.response.status_code": 200,
        },
    )
    assert not tracing.is_on()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_setting_without_the_libraries_is_refused(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda _name: None)
    tracing.check(make_settings())
    with pytest.raises(SettingsError, match=r"pip install 'collegium\[otel\]'"):
        tracing.check(make_settings(tracing="true"))


def test_libraries_are_loaded_only_if_they_are_needed() -> None:
    code = "import sys, collegium.app, collegium.cli; assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

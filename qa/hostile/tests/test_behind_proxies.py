"""Served products with reverse proxies in front: hosts, ports, prefixes, addresses and metrics.

Two products in production settings, with two workers each: one that knows nothing of proxies, and one that
is configured for its proxy, below a path and at a port that the proxy hides.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from django.conf import settings

from accounts.models import User
from core.metrics import MULTIPROCESS_FOLDER
from qa.bench.environment import fake_provider
from qa.hostile.attacks import Caller
from qa.hostile.tests.conftest import tenant_of
from qa.testing.proxy import Proxy
from qa.testing.server import RunningServer
from qa.testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

get, post, options = (partial(call, timeout=60) for call in (requests.get, requests.post, requests.options))

HOST = "chat.example.com"
ORIGIN = f"https://{HOST}:8443"
PREFIX = "/assistant"
PASSWORD = "a passphrase of staff"

#: What nginx is commonly configured to send, with $host, which has no port.
NGINX = {"X-Forwarded-For": "{client}", "X-Forwarded-Proto": "https"}


@pytest.fixture(scope="session")
def proxied(database_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A product that is configured for a proxy on this machine."""
    variables = {
        "DJANGO_ENV": "production",
        "ALLOWED_HOSTS": HOST,
        "TRUSTED_PROXIES": "127.0.0.1",
        "TRUSTED_ORIGINS": ORIGIN,
        "PATH_PREFIX": PREFIX,
        "WORKERS": "2",
        "LLM_ROUTE": "groq",
        "GROQ_API_KEY": "test-key",
    }
    folder = tmp_path_factory.mktemp("proxied")
    with (
        fake_provider() as groq,
        RunningServer(database_uri, folder, GROQ_BASE_URL=groq, **variables) as server,
    ):
        yield server


@pytest.fixture(params=["prefix removed", "prefix passed on"])
def front(request: pytest.FixtureRequest, proxied: RunningServer) -> Iterator[str]:
    """The URL of a proxy in front of `proxied`, at whose address browsers find it below the prefix."""
    removed = PREFIX if request.param == "prefix removed" else ""
    with Proxy(proxied.url, host=HOST, adds=NGINX, prefix=removed).run() as url:
        yield url


@pytest.fixture
def unaware(product: RunningServer) -> Iterator[str]:
    """The URL of a proxy in front of the product that knows of none."""
    with Proxy(product.url, host="127.0.0.1", adds=NGINX).run() as url:
        yield url


def raw_status(url: str, path: str, host: str | None) -> int:
    """Return the status of a GET with exactly this Host, None for no such header."""
    parts = urlsplit(url)
    line = "" if host is None else f"Host: {host}\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{line}Connection: close\r\n\r\n".encode("latin-1"))
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize(
    "host",
    ["10.42.8.201", "10.42.8.201:3001", "[fd00::1]:3001", "localhost", "ip-10-0-0-1.ec2.internal", "a_b"],
)
def test_probes_may_name_any_host_and_nothing_else_may(product, proxied, host):
    for server in (product, proxied):
        for path in ("/health", "/ready", "/status", "/metrics"):
            assert raw_status(server.url, path, host) == 200, path
        for path in ("/api/schema", "/admin/login/", "/api/tenants", "/v1/models", "/health/", "/healthy"):
            assert raw_status(server.url, path, host) == 400, path


def test_a_probe_may_have_no_host_at_all(product):
    address = product.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"200"


def test_probes_are_found_below_the_prefix_and_without_it(proxied):
    for path in ("/health", f"{PREFIX}/health", f"{PREFIX}/ready"):
        assert raw_status(proxied.url, path, "10.42.8.201") == 200
    for path in (f"{PREFIX}{PREFIX}/health", f"{PREFIX}x/health"):
        assert raw_status(proxied.url, path, HOST) == 404


def sign_in(front: str, origin: str) -> requests.Response:
    """Sign in at the console as a browser at `origin` does; return the answer to the form."""
    session = requests.Session()
    page = session.get(f"{front}{PREFIX}/admin/login/")
    assert page.status_code == 200
    # Cookies are marked as secure: a browser returns them to the https address of the proxy.
    cookies = {cookie.name: cookie.value for cookie in session.cookies}
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    return post(
        f"{front}{PREFIX}/admin/login/?next={PREFIX}/admin/",
        {"csrfmiddlewaretoken": token, "username": "staff@example.com", "password": PASSWORD},
        headers={"Origin": origin, "Referer": f"{origin}{PREFIX}/admin/login/"},
        cookies=cookies,
        allow_redirects=False,
    )


def test_staff_sign_in_behind_a_proxy_that_drops_the_port(front, db):
    User.objects.create_superuser("staff@example.com", PASSWORD)

    entered = sign_in(front, ORIGIN)

    assert entered.status_code == 302, entered.text
    assert entered.headers["Location"] == f"{PREFIX}/admin/"
    assert f"Path={PREFIX}" in entered.headers["Set-Cookie"]
    assert "Secure" in entered.headers["Set-Cookie"]
    session = {cookie.name: cookie.value for cookie in entered.cookies}
    page = get(f"{front}{PREFIX}/admin/", cookies=session)
    assert page.status_code == 200
    links = {link for link in re.findall(r'(?:href|src|action)="([^"]+)"', page.text) if link[0] == "/"}
    assert len(links) > 10
    assert {link for link in links if not f"{link}/".startswith(f"{PREFIX}/")} == set()


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", f"https://{HOST}:9443", f"http://{HOST}:8443"]
)
def test_other_origins_cannot_sign_in(proxied, db, origin):
    User.objects.create_superuser("staff@example.com", PASSWORD)
    with Proxy(proxied.url, host=HOST, adds=NGINX, prefix=PREFIX).run() as url:
        assert sign_in(url, origin).status_code == 403


@pytest.mark.parametrize("adds", [{"X-Forwarded-Port": "8443"}, {"X-Forwarded-Host": f"{HOST}:8443"}])
def test_urls_have_the_port_and_the_prefix_that_the_proxy_passes_on(proxied, alice, adds):
    caller = tenant_of(alice, "enterprise")
    headers = {"X-API-Key": caller.key}
    with Proxy(proxied.url, host=HOST, adds={**NGINX, **adds}, prefix=PREFIX).run() as url:
        for _ in range(2):
            created = post(f"{url}{PREFIX}/api/chat/sessions", json={}, headers=headers)
            assert created.status_code == 201, created.text
            assert created.headers["Location"].startswith(f"{PREFIX}/api/chat/sessions/")
        page = get(f"{url}{PREFIX}/api/chat/tenants/{caller.tenant}/sessions?page_size=1", headers=headers)
    assert page.json()["next"].startswith(f"{ORIGIN}{PREFIX}/api/chat/tenants/")


def test_a_host_passed_on_by_others_than_proxies_is_ignored(product):
    forwarded = {"X-Forwarded-Host": "evil.example.com", "X-Forwarded-Port": "8443"}
    assert get(f"{product.url}/api/schema", headers=forwarded).status_code == 200


def test_the_documentation_works_below_the_prefix(front):
    page = get(f"{front}{PREFIX}/api/docs")
    schema = get(f"{front}{PREFIX}/api/schema").json()

    assert page.status_code == 200
    for link in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        assert urljoin(f"{PREFIX}/api/docs", link).startswith(f"{PREFIX}/"), link
    server = schema["servers"][0]["url"]
    assert all(options(f"{front}{server}{path}").status_code != 404 for path in ["/api/auth/login"])


def test_forwarded_clients_are_told_apart_where_the_proxy_is_trusted(proxied, product):
    def tries(url: str, address: str) -> list[int]:
        body = {"email": "unknown@example.com", "password": "wrong"}
        headers = {"X-Forwarded-For": address, "Host": HOST if url == proxied.url else "127.0.0.1"}
        return [post(f"{url}/api/auth/login", json=body, headers=headers).status_code for _ in range(6)]

    assert tries(proxied.url, "198.51.100.7")[-1] == 429
    assert tries(proxied.url, "198.51.100.8")[0] == 401
    # Without trust in a proxy a client could choose its address.
    assert tries(product.url, "198.51.100.9")[-1] == 429
    assert tries(product.url, "198.51.100.10")[0] == 429


def test_the_first_forwarded_header_of_an_unknown_proxy_is_logged(product, proxied, unaware, front):
    for url in (f"{unaware}/health", f"{front}{PREFIX}/health"):
        assert get(url).status_code == 200
    warning = "a forwarded client address is ignored"
    wait_until(lambda: warning in product.output, "the warning")
    assert product.output.count(warning) <= 2  # once per worker
    assert warning not in proxied.output
    assert "TRUSTED_PROXIES is not set" in product.output
    assert "TRUSTED_PROXIES is not set" not in proxied.output


def test_metrics_are_refused_through_any_proxy(unaware, front, product, proxied):
    assert get(f"{unaware}/metrics").status_code == 404
    assert get(f"{front}{PREFIX}/metrics").status_code == 404
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"):
        assert get(f"{product.url}/metrics", headers={name: "10.0.0.1"}).status_code == 404, name
    assert get(f"{product.url}/metrics").status_code == 200
    assert get(f"{proxied.url}/metrics").status_code == 200


def test_https_is_required_for_an_hour_of_this_host_alone(front):
    answer = get(f"{front}{PREFIX}/health")
    assert answer.headers["Strict-Transport-Security"] == "max-age=3600"


def metric(server: RunningServer, name: str) -> float:
    """Return the sum of a metric's series at the server, 0 if it has none."""
    text = get(f"{server.url}/metrics").text
    values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for value in values)


def send(server: RunningServer, caller: Caller) -> int:
    headers = {"X-API-Key": caller.key, "Host": HOST}
    return post(f"{server.url}/api/chat", json={"message": "hi"}, headers=headers).status_code


def test_every_scrape_has_the_sums_of_all_workers(proxied, alice):
    caller = tenant_of(alice, "enterprise")
    counters = (
        "http_requests_total",
        "llm_first_token_seconds_count",
        "llm_tokens_total",
        "llm_cost_usd_total",
    )
    before = [metric(proxied, name) for name in (*counters, "http_refusals_total")]

    assert [send(proxied, caller) for _ in range(6)] == [200] * 6
    assert raw_status(proxied.url, "/nothing", HOST) == 404

    wait_until(lambda: metric(proxied, "chat_running_turns") == 0, "the turns have ended")
    names = (*counters, "http_refusals_total")
    seen = [[metric(proxied, name) for name in names] for _ in range(8)]  # each answered by either worker
    for earlier, later in pairwise(seen):
        assert all(second >= first for first, second in zip(earlier, later, strict=True))
    grown = [last - first for first, last in zip(before, seen[0], strict=True)]
    assert grown[0] >= 7
    assert grown[1] == 6
    assert grown[2] > 0
    assert grown[3] > 0
    assert grown[4] == 1


def test_the_scrape_has_the_jobs_of_another_process(proxied):
    """They are run here, once: a server that runs them all the time would change the data of other tests."""
    metrics = Path(proxied.environment["VAR_DIR"]) / "metrics"
    environment = os.environ | proxied.environment | {MULTIPROCESS_FOLDER: str(metrics)}
    command = [sys.executable, "manage.py", "run_jobs"]

    subprocess.run(command, cwd=settings.BASE_DIR, env=environment, check=True)

    assert metric(proxied, "job_runs_total") > 0
    assert metric(proxied, "job_last_success_timestamp_seconds") > 0


def test_counters_survive_the_death_of_a_worker(proxied, alice):
    caller = tenant_of(alice, "enterprise")
    assert send(proxied, caller) == 200
    before = metric(proxied, "chat_replies_total")
    victim = proxied.workers()[0]

    victim.kill()
    wait_until(lambda: len(proxied.workers()) == 2 and victim not in proxied.workers(), "it is replaced")
    wait_until(proxied.is_answering, "the server answers")

    assert metric(proxied, "chat_replies_total") >= before
    assert metric(proxied, "chat_running_turns") == 0


def test_ready_has_no_problems(product, proxied):
    for server in (product, proxied):
        body = get(f"{server.url}/ready").json()
        assert (body["status"], body["problems"]) == ("ready", [])

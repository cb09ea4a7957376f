"""Downloads from a real server on this machine: limits, redirects, order, and what is never asked."""

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from comem_core.knowledge.downloads import USER_AGENT, Downloads, Fetched, is_public

HERE = ("127.0.0.0/8",)


def fetch(downloads: Downloads, address: str) -> Fetched:
    [(_, found)] = downloads.fetch_in_order([address], lambda each: each)
    assert found is not None
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers by the path: /ok/N, /slow/SECONDS, /status/CODE, /twice (busy once), /to/ADDRESS, /big, /drip, /agent."""

    asked: Counter[str]

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        _, word, *rest = self.path.split("/", 2)
        argument = rest[0] if rest else ""
        if word == "slow":
            time.sleep(float(argument))
        if word == "status" or (word == "twice" and self.asked[self.path] == 1):
            self.send_response(int(argument or 503))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif word in ("to", "again"):
            self.send_response(302)
            self.send_header("Location", argument if word == "to" else self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif word in ("big", "drip"):
            self._send_for_ever(b"x" * 1000, pause=0.05 if word == "drip" else 0)
        else:
            self._send(self.headers["User-Agent"].encode() if word == "agent" else self.path.encode())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_for_ever(self, content: bytes, *, pause: float) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(content)
                time.sleep(pause)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server."""
    handler = type("Counting", (Handler,), {"asked": Counter()})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def downloads(**changes) -> Downloads:
    return Downloads(**{"inside_allowed": HERE, "wait_seconds": 0.01, "num_tries": 2} | changes)


def test_content_comes_as_it_is_and_the_server_is_told_who_asks(server: str):
    assert fetch(downloads(), f"{server}/ok/1").content == b"/ok/1"
    assert fetch(downloads(), f"{server}/agent").content == USER_AGENT.encode()
    assert fetch(downloads(), f"{server}/ok/Größe 1#part").content == b"/ok/Gr%C3%B6%C3%9Fe%201"


def test_the_order_of_rows_is_kept_whatever_comes_first(server: str):
    waits = (0.3, 0, 0.2, 0, None, 0.1, 0)
    things = [(place, None if wait is None else f"{server}/slow/{wait}") for place, wait in enumerate(waits)]
    started = time.monotonic()
    found = list(downloads(num_parallel=4).fetch_in_order(things, lambda thing: thing[1]))
    assert time.monotonic() - started < 0.6
    assert [thing for thing, _ in found] == things
    contents = [fetched and fetched.content for _, fetched in found]
    assert contents == [None if wait is None else f"/slow/{wait}".encode() for wait in waits]


def test_only_a_bounded_number_is_fetched_ahead(server: str):
    taken = []

    def things() -> Iterator[str]:
        for number in range(100):
            taken.append(number)
            yield f"{server}/ok/{number}"

    rows = downloads(num_parallel=2).fetch_in_order(things(), str)
    assert next(rows)[0] == f"{server}/ok/0"
    assert len(taken) <= 6
    rows.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_busy_server_is_asked_again_and_a_refusing_one_is_not(server: str):
    assert fetch(downloads(), f"{server}/twice").content == b"/twice"
    assert fetch(downloads(), f"{server}/status/500").detail == "the server answers 500"
    gone = fetch(downloads(), f"{server}/status/404")
    assert (gone.content, gone.reason, gone.detail) == (None, "download_failed", "the server answers 404")


def test_sizes_and_times_are_limited_while_content_comes(server: str):
    assert fetch(downloads(max_bytes=3), f"{server}/ok/1").detail == "5 bytes; at most 3 are fetched"
    big = fetch(downloads(max_bytes=100_000), f"{server}/big")
    assert (big.reason, big.detail) == ("image_too_large", "more than 100000 bytes")
    drip = fetch(downloads(total_seconds=0.3, num_tries=1), f"{server}/drip")
    assert (drip.reason, drip.detail) == ("download_failed", "not complete after 0.3 s")
    slow = fetch(downloads(read_seconds=0.1, num_tries=1), f"{server}/slow/1")
    assert slow.reason == "download_failed"


def test_redirects_are_followed_a_few_times_and_each_is_checked(server: str):
    assert fetch(downloads(), f"{server}/to/{server}/to//ok/2").content == b"/ok/2"
    assert fetch(downloads(), f"{server}/again").detail == "more than 3 redirects"
    for target in ("http://10.0.0.1/a", "http://[::1]/a", "file:///etc/passwd", "http://169.254.169.254/latest"):
        refused = fetch(downloads(), f"{server}/to/{target}")
        assert (refused.content, refused.reason) == (None, "address_refused"), target


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "http://localhost/a.png",
        "http://127.0.0.1/a.png",
        "http://2130706433/a.png",
        "http://[::ffff:127.0.0.1]/a.png",
        "http://192.168.1.1/a.png",
        "http://user:word@example.org/a.png",
        "http:///a.png",
        "http://[broken/a.png",
    ],
)
def test_what_is_inside_or_no_web_address_is_refused(address: str):
    found = fetch(Downloads(num_tries=1), address)
    assert (found.content, found.reason) == (None, "address_refused"), found


def test_only_addresses_of_the_open_internet_are_public():
    inside = "10.1.2.3 172.16.0.1 192.168.0.1 127.0.0.1 169.254.1.1 100.64.0.1 224.0.0.1 240.0.0.1 0.0.0.0 ::1 fe80::1"
    inside += " fc00::1 ff02::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1:: ::"
    assert [each for each in inside.split() if is_public(ipaddress.ip_address(each))] == []
    assert all(is_public(ipaddress.ip_address(each)) for each in ("8.8.8.8", "2606:4700::1111"))

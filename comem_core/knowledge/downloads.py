"""Downloads pictures from addresses in a corpus: http(s) only, within time and size limits, never from inner networks.

A host name is resolved here, its IP addresses are checked, and the connection goes to the address that was checked, so
the name cannot resolve to another machine afterwards. Every redirect is checked in the same way. The content stays
bytes; nothing is decompressed or decoded. Independent of rows.
"""

import ipaddress
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import httpcore

Thing = TypeVar("Thing")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

USER_AGENT = "comem/0.1 (dataset builder)"
REDIRECTS = (301, 302, 303, 307, 308)
TRY_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Fetched:
    """The content of an address, or None with a one-word reason and the detail."""

    content: bytes | None
    reason: str = ""
    detail: str = ""


class _Failed(Exception):
    def __init__(self, reason: str, detail: str, *, again: bool = False, wait: float | None = None):
        super().__init__(detail)
        self.reason, self.detail, self.again, self.wait = reason, detail, again, wait


@dataclass(frozen=True, kw_only=True)
class Downloads:
    """How addresses are fetched. Times in seconds, sizes in bytes.

    `inside_allowed` lists networks that would otherwise be refused; it is for tests with a server of their own.
    """

    connect_seconds: float = 5
    read_seconds: float = 15
    total_seconds: float = 60
    max_bytes: int = 30_000_000
    max_redirects: int = 3
    num_tries: int = 4
    wait_seconds: float = 1
    max_wait_seconds: float = 30
    num_parallel: int = 8
    inside_allowed: tuple[str, ...] = ()

    def fetch_in_order(
        self, things: Iterable[Thing], address_of: Callable[[Thing], str | None]
    ) -> Iterator[tuple[Thing, Fetched | None]]:
        """Yield every thing with what its address gave (None without an address), in the order of `things`.

        `num_parallel` are fetched at a time, and at most twice as many wait to be yielded.
        """
        waiting: deque[tuple[Thing, Future[Fetched] | None]] = deque()
        with ThreadPoolExecutor(self.num_parallel) as pool, self._connections() as connections:
            try:
                for thing in things:
                    address = address_of(thing)
                    waiting.append((thing, pool.submit(self._fetch, connections, address) if address else None))
                    while len(waiting) > 2 * self.num_parallel or (waiting and waiting[0][1] is None):
                        first, future = waiting.popleft()
                        yield first, future.result() if future else None
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result() if future else None
            finally:
                for _, future in waiting:
                    if future is not None:
                        future.cancel()

    def _connections(self) -> httpcore.ConnectionPool:
        networks = tuple(ipaddress.ip_network(each) for each in self.inside_allowed)
        return httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=self.num_parallel,
            network_backend=_CheckedNetwork(networks),
        )

    def _fetch(self, connections: httpcore.ConnectionPool, address: str) -> Fetched:
        """Fetch an address; retry after failures that may be temporary: a busy or failing server, a lost connection."""
        for attempt in range(1, self.num_tries + 1):
            try:
                return Fetched(self._follow_redirects(connections, address))
            except _Failed as failed:
                if not failed.again or attempt == self.num_tries:
                    return Fetched(None, failed.reason, failed.detail)
                pause = self.wait_seconds * 2 ** (attempt - 1) * random.uniform(0.5, 1)
                time.sleep(min(max(pause, failed.wait or 0), self.max_wait_seconds))
        raise AssertionError("the last try returns")

    def _follow_redirects(self, connections: httpcore.ConnectionPool, address: str) -> bytes:
        deadline = time.monotonic() + self.total_seconds
        for _ in range(self.max_redirects + 1):
            _refuse_other_schemes(address)
            try:
                found = self._get(connections, address, deadline)
            except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
                detail = str(error) or type(error).__name__
                raise _Failed("download_failed", detail, again=True) from error
            except (httpcore.UnsupportedProtocol, ValueError, UnicodeError) as error:
                raise _Failed("address_refused", f"not an address that can be fetched: {error}") from error
            if isinstance(found, bytes):
                return found
            address = urljoin(address, found)
        raise _Failed("download_failed", f"more than {self.max_redirects} redirects")

    def _get(self, connections: httpcore.ConnectionPool, address: str, deadline: float) -> bytes | str:
        """Make one request; return the content, or the address that the server redirects to."""
        limits = {"connect": self.connect_seconds, "read": self.read_seconds, "write": self.read_seconds}
        headers = [("User-Agent", USER_AGENT), ("Accept", "image/*,*/*;q=0.1"), ("Accept-Encoding", "identity")]
        extensions = {"timeout": limits | {"pool": self.total_seconds}}
        with connections.stream("GET", _make_ascii(address), headers=headers, extensions=extensions) as response:
            answered = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in answered:
                return answered[b"location"]
            if response.status != 200:
                again, wait = response.status in TRY_AGAIN, answered.get(b"retry-after", "")
                seconds = float(wait) if wait.isdigit() else None
                raise _Failed("download_failed", f"the server answers {response.status}", again=again, wait=seconds)
            if (length := answered.get(b"content-length", "")).isdigit() and int(length) > self.max_bytes:
                raise _Failed("image_too_large", f"{length} bytes; at most {self.max_bytes} are fetched")
            content = bytearray()
            for part in response.iter_stream():
                content += part
                if len(content) > self.max_bytes:
                    raise _Failed("image_too_large", f"more than {self.max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise _Failed("download_failed", f"not complete after {self.total_seconds:g} s")
            return bytes(content)


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects to public addresses only: resolves a name, checks its addresses, and connects to one of them."""

    def __init__(self, allowed: tuple[Network, ...]):
        self.allowed, self.network = allowed, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _Failed("download_failed", f"{host} has no address ({error})") from error
        addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        if inside := [each for each in addresses if not self._is_allowed(each)]:
            raise _Failed("address_refused", f"{host} is {inside[0]}, which is not a public address")
        error: Exception | None = None
        for address in dict.fromkeys(addresses):
            try:
                return self.network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as failure:
                error = failure
        raise error or httpcore.ConnectError(f"{host} has no address")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _is_allowed(self, address: Address) -> bool:
        if any(address.version == network.version and address in network for network in self.allowed):
            return True
        return is_public(address)


def is_public(address: Address) -> bool:
    """Tell whether an address is on the public internet. If it wraps another address, both must be public."""
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        return all(is_public(each) for each in inner if each is not None)
    return True


def _refuse_other_schemes(address: str) -> None:
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise _Failed("address_refused", f"not an address: {error}") from error
    if parts.scheme.lower() not in ("http", "https"):
        raise _Failed("address_refused", f"{parts.scheme or 'no scheme'}: only http and https are fetched")
    if not parts.hostname or parts.username is not None:
        raise _Failed("address_refused", "an address without a host, or with a user name in it")


def _make_ascii(address: str) -> str:
    """Percent-encode what is not ASCII, and write the host's name as DNS does (IDNA)."""
    parts = urlsplit(address)
    host = (parts.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    place = host if parts.port is None else f"{host}:{parts.port}"
    written = parts._replace(netloc=place, fragment="").geturl()
    return "".join(letter if " " < letter < "\x7f" else _encode_percent(letter) for letter in written)


def _encode_percent(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode())

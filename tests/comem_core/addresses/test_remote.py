"""The traffic with a bucket: what is wrong is said before any work, and a server that is gone is waited for."""

import logging
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import s3fs

from comem_core.addresses import filesystems, remote
from comem_core.addresses.faults import StoreGone, StoreRefused, check_protocol
from comem_core.addresses.places import choose_variables, find_store_cache, is_address, read_place
from comem_core.addresses.remote import Remote
from tests.buckets import KEYS, Gate, find_port


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that does not try again itself, which takes it nine seconds."""
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.1)


@pytest.fixture
def gate(bucket: str, bucket_server: str, impatient: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """What stands before the server of the bucket, open at first."""
    gate = Gate(bucket_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    s3fs.S3FileSystem.clear_instance_cache()
    yield gate
    if gate.is_open.is_set():
        gate.shut()
    remote._silent.clear()


def test_a_server_that_is_gone_for_a_while_is_waited_for_with_one_line(
    bucket: str, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    store = Remote(bucket)
    store.write("a", b"1")
    gate.shut()
    threading.Timer(1.0, gate.open).start()
    began = time.monotonic()
    store.write("b", b"2")
    assert time.monotonic() - began >= 0.9
    assert store.read_each(["a", "b", "c"]) == {"a": b"1", "b": b"2"}
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 2
    place = bucket.removesuffix("/store")
    assert told[0].startswith(f"the store at {place} does not answer (")
    assert told[0].endswith("; this run waits for it, up to 600 s") and told[1] == f"the store at {place} answers again"
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in caplog.text


def test_after_the_wait_it_is_an_error_that_says_what_to_do_and_what_comes_after_fails_at_once(
    bucket: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_STORE_WAIT_SECONDS", "0.5")
    gate.shut()
    with pytest.raises(StoreGone, match=r"has not answered for \d s .*start the same command again"):
        Remote(bucket).list_sizes()
    began = time.monotonic()
    with pytest.raises(StoreGone):  # of what is below the address too
        Remote(bucket).enter("filter").write("a", b"1")
    assert time.monotonic() - began < 0.4
    gate.open()
    Remote(bucket).write("a", b"1")


def test_a_bucket_that_is_not_there_and_an_endpoint_where_nobody_answers_are_refused_at_once(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreRefused, match=r"s3://no-such-bucket/store cannot be used: there is no such bucket"):
        Remote("s3://no-such-bucket/store").check()
    Remote(bucket).check()
    nobody = f"http://127.0.0.1:{find_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    began = time.monotonic()
    with pytest.raises(StoreRefused, match=r"nobody answers there as an object store does .*AWS_ENDPOINT_URL") as said:
        Remote(bucket).check()
    assert time.monotonic() - began < 8  # s3fs and botocore alone ask again and again, for 17 s
    assert f'"{nobody}/{bucket.removeprefix("s3://")}"' in str(said.value)  # not the file that was tried
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreRefused, match=r"there are no credentials for it .*AWS_PROFILE"):
        Remote(bucket).check()


def test_an_endpoint_that_says_nothing_is_told_of_within_a_second_and_refused_after_the_time_that_is_said(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filesystems, "TRY_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StoreRefused, match=r"nobody answers there as an object store does"):
            Remote(bucket).check()
    [told] = [each for each in caplog.records if each.name == "comem.stage"]
    assert told.getMessage() == f"the store {bucket} has not answered yet; trying for 3 s"


def test_an_address_that_answers_at_once_is_not_told_of(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filesystems, "SILENT_SECONDS", 30.0)  # this machine may be busy
    Remote(bucket).check()
    assert not [each for each in caplog.records if each.name == "comem.stage"]


class Refusing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the client waits for `100 Continue` before it sends the content

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_credentials_without_the_permission_are_refused(
    bucket: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(StoreRefused, match="these credentials may not write and read there"):
            Remote(bucket).check()
        with pytest.raises(PermissionError, match=f"the store {bucket} refuses"):
            Remote(bucket).write("a", b"1")
        server.shutdown()


def test_an_unknown_kind_of_address_and_one_whose_package_is_missing_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StoreRefused, match="an address of the kind 's4', which fsspec does not know"):
        check_protocol("s4://bucket/store")

    def get_class(protocol: str) -> type:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.get_filesystem_class", get_class)
    with pytest.raises(StoreRefused, match=r"needs the package s3fs.*\.venv/bin/pip install -c constraints.txt s3fs"):
        check_protocol("s3://bucket/store")


@pytest.mark.parametrize(
    "address", ["s3://key:secret@bucket/store", "s3://bucket/store?secret=1", "s3://bucket#secret"]
)
def test_an_address_with_a_key_in_it_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ValueError, match="has a key or an option in it") as refused:
        read_place(address)
    assert "secret" not in str(refused.value).replace("AWS_SECRET", "")


def test_an_address_has_one_form_and_a_path_stays_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_place("s3://bucket/store/") == "s3://bucket/store"
    assert read_place("file:///a%20store") == Path("/a store") and read_place("here") == Path.cwd() / "here"
    assert not is_address("/a/b") and not is_address("file:///a")
    for wrong in ("s3://", "simplecache::s3://bucket"):
        with pytest.raises(ValueError, match=r"expected an address|an address inside another"):
            read_place(wrong)
    monkeypatch.setenv("COMEM_STORE_CACHE", "/copies")
    assert find_store_cache("s3://a").parent == Path("/copies") != find_store_cache("s3://b")
    assert find_store_cache("s3://a") != find_store_cache("s3://b")


def test_the_variables_of_a_filesystem_are_those_of_its_own_library() -> None:
    environ = {"AWS_PROFILE": "p", "FSSPEC_S3_KEY": "k", "AZURE_X": "a", "HOME": "/", "AWS_CONTAINER_TOKEN": "t"}
    assert choose_variables("s3://bucket", environ) == {"AWS_PROFILE": "p", "FSSPEC_S3_KEY": "k"}
    assert choose_variables("abfs://x", environ) == {"AZURE_X": "a", "FSSPEC_S3_KEY": "k"}
    assert choose_variables(None, environ) == {}


def test_what_is_sent_to_workers_holds_no_key(bucket: str) -> None:
    store = Remote(bucket)
    store.write("a", b"1")
    sent = pickle.dumps(store)
    assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in sent and pickle.loads(sent).read("a") == b"1"


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_when_files_were_last_written_is_told_where_the_filesystem_knows(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    there = Remote(request.getfixturevalue("bucket") if kind == "s3" else f"memory://{tmp_path.name}/store")
    assert there.find_last_written("folder") is None
    for name in ("folder/one", "folder/deep/two", "beside/three"):
        there.write(name, b"1")
    written = there.find_last_written("folder")
    assert written is not None and abs(written - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_filesystem_that_does_not_tell_it_of_each_file_tells_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Remote("memory://nothing/store")
    told = {"a": {"size": 1, "updated": "2026-12-01T10:00:00Z"}, "b": {"size": 1, "LastModified": None, "mtime": 5.0}}
    monkeypatch.setattr(Remote, "_describe_files", lambda *_: told)
    assert there.find_last_written("") == datetime(2026, 12, 1, 10, tzinfo=UTC)
    told["c"] = {"size": 1, "updated": "lately"}
    assert there.find_last_written("") is None

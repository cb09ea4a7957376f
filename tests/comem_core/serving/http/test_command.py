"""The command: what it says, what it refuses before it listens, and the page that it serves."""

import base64
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.http.__main__ import KEY, main, read_key
from comem_core.serving.http.page import read_page
from comem_core.serving.memory import Memory
from comem_core.worlds.countries.world import load_knowledge_items
from tests.comem_core.serving.http.conftest import Running

ATTRIBUTE = re.compile(r"""\s(?:src|href|style|on\w+)\s*=""")


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    Memory.make(MemoryEncoder.from_pretrained("tiny-encoder"), load_knowledge_items()[:2]).save(tmp_path / "memory")
    (tmp_path / "key").write_text("open sesame\n")
    command = [sys.executable, "-m", "comem_core.serving.http", str(tmp_path / "memory"), "--port", "0"]
    command += ["--key-file", str(tmp_path / "key"), "--k", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    url = said.split(" at ")[1].strip()
    while (health := httpx.get(f"{url}/health", timeout=30)).status_code != 200:
        assert process.poll() is None and health.json() == {"status": "loading"}
        time.sleep(0.2)
    assert health.json()["k"] == 1
    assert httpx.get(f"{url}/v1/models").status_code == 401
    assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer open sesame"}).status_code == 200
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert "sesame" not in said + rest and "Traceback" not in rest
    assert process.returncode == 0


def test_a_service_that_is_to_be_gated_needs_a_gate(tmp_path: Path) -> None:
    Memory.make(MemoryEncoder.from_pretrained("tiny-encoder"), load_knowledge_items()[:2]).save(tmp_path / "memory")
    command = [sys.executable, "-m", "comem_core.serving.http", str(tmp_path / "memory"), "--port", "0", "--gated"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 2 and "no gate was fitted for k=3" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no store 'nowhere'"),
        (["--host", "0.0.0.0"], "lets other machines ask; give a key"),
        (["--key-file", "empty"], "the key in empty is empty"),
        (["--key-file", "missing"], "missing"),
        (["--reader", "http://127.0.0.1:8000"], "expected vllm:<address>"),
        (["--reader", "vllm:127.0.0.1"], "expected the address of a vLLM server"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--k", "0"], "k is 0"),
        (["--port", "99999999"], "cannot be listened at"),
        (["--port", "{taken}"], "cannot be listened at"),
    ],
)
def test_a_wrong_option_is_said(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [each.replace("{taken}", str(taken.getsockname()[1])) for each in arguments]
        assert main(given if "--port" in given else [*given, "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_a_key_is_read_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_key(None, "127.0.0.1") is None and read_key(None, "::1") is None and read_key(None, "localhost") is None
    with pytest.raises(ValueError, match="give a key"):
        read_key(None, "example.org")
    monkeypatch.setenv(KEY, " in the environment ")
    assert read_key(None, "0.0.0.0") == "in the environment"
    (tmp_path / "key").write_text("in a file\n")
    assert read_key(tmp_path / "key", "0.0.0.0") == "in a file"


def test_the_page_needs_nothing_from_elsewhere_and_runs_only_what_is_in_it(service: Running) -> None:
    response = service.client.get("/")
    page, policy = response.text, response.headers["content-security-policy"]
    assert page == read_page()[0] and response.headers["content-type"].startswith("text/html")
    assert not re.findall(r"https?:|//\w", page) and "innerHTML" not in page
    assert not ATTRIBUTE.findall(page.split("<script>")[0].split("</style>")[1])
    for kind in ("script", "style"):
        [text] = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_without_its_packages_the_service_says_what_to_install() -> None:
    code = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name in ("starlette", "uvicorn") else find(name, *rest)
import comem_core
comem_core.Memory
import comem_core.serving.http
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ.copy())
    assert done.stderr.strip().endswith("the service needs starlette, uvicorn: pip install 'comem[serve]'")

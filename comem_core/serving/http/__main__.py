"""`python -m comem_core.serving.http .comem`: serves a memory at an OpenAI-compatible endpoint."""

import argparse
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import torch
import uvicorn

from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.http.app import ServiceSettings, make_app
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.http.worker import AnsweringWorker, MakeReader
from comem_core.serving.memory import Memory
from comem_core.serving.opening import open as open_memory
from comem_core.serving.vllm.reader import VllmReader
from comem_core.serving.vllm.server import PREFIX, VllmServer
from comem_core.terminal import guard_output

KEY = "COMEM_SERVICE_KEY"
"""The variable with the key that clients send."""
GRACE_SECONDS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted. Returns 2 with the reason where the memory cannot be opened or an option is wrong."""
    chosen = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        limits = ServiceLimits(**{each.name: getattr(chosen, each.name) for each in fields(ServiceLimits)})
        settings = ServiceSettings(
            limits=limits,
            pictures=limits.make_picture_limits(allow_urls=chosen.allow_urls),
            model=chosen.model_name,
            key=read_key(chosen.key_file, chosen.host),
            k=chosen.k,
            gated=chosen.gated,
        )
        listening = listen(chosen.host, chosen.port)
        make_reader = None if chosen.reader is None else prepare_reader(chosen.reader, limits)
        return run(chosen, settings, listening, make_reader)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(
    chosen: argparse.Namespace, settings: ServiceSettings, listening: socket.socket, make_reader: MakeReader | None
) -> int:
    """Serve a memory at a listening socket until interrupted."""

    def open_chosen() -> Memory:
        memory = open_memory(
            chosen.where,
            encoder=chosen.encoder,
            bank=chosen.bank,
            backbone=chosen.backbone,
            dtype=None if chosen.dtype is None else getattr(torch, chosen.dtype),
            device=chosen.device,
            limits=settings.pictures,
        )
        if settings.gated:
            memory.find_gate(settings.k or memory.settings.k)
        return memory

    def end() -> None:
        server.should_exit = True

    worker = AnsweringWorker(open_chosen, make_reader=make_reader, limits=settings.limits, failed=end)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(worker, settings),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    host, port = listening.getsockname()[:2]
    print(f"serving {chosen.where} at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    with suppress(KeyboardInterrupt):  # raised again when everything has ended
        server.run(sockets=[listening])
    if worker.failure is not None:
        print(f"error: {worker.failure}", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; each bound of `ServiceLimits` is an option."""
    parser = argparse.ArgumentParser(prog="python -m comem_core.serving.http", description=__doc__)
    parser.add_argument(
        "where", nargs="?", default=".comem", help="a store, a saved memory's folder, or a Hub repository"
    )
    parser.add_argument("--host", default="127.0.0.1", help="another than loopback needs a key")
    parser.add_argument("--port", type=int, default=8400, help="0 takes a free one")
    parser.add_argument("--reader", help=f"{PREFIX}http://127.0.0.1:8000 lets a vLLM server answer (docs/vllm.md)")
    parser.add_argument("--k", type=int, help="items shown where a request does not say it (else as the run asked)")
    parser.add_argument(
        "--gated", action="store_true", help="show items only where a gate trusts them, where a request does not say it"
    )
    parser.add_argument("--key-file", type=Path, help=f"the key that clients send; else the variable {KEY}")
    parser.add_argument("--allow-urls", action="store_true", help="fetch pictures from http(s) addresses")
    parser.add_argument("--model-name", default="comem", help="the name of the model in requests")
    for name in ("encoder", "bank", "backbone"):
        parser.add_argument(f"--{name}", help="as in comem.open")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="as in comem.open")
    parser.add_argument("--device", default="cpu")
    for each in fields(ServiceLimits):
        kind = type(each.default)
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=kind, default=each.default, help=f"{each.default}")
    return parser


def read_key(path: Path | None, host: str) -> str | None:
    """Return the key in a file, or in the environment; None where there is none and only this machine can ask.

    Raises:
        ValueError: the key is empty, or there is none and other machines can ask.
    """
    if path is None and KEY not in os.environ:
        if not is_loopback(host):
            raise ValueError(f"--host {host} lets other machines ask; give a key by --key-file or {KEY}")
        return None
    key = (os.environ[KEY] if path is None else path.read_text(encoding="utf-8")).strip()
    if not key:
        raise ValueError(f"the key in {KEY if path is None else path} is empty")
    return key


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        OSError: the address cannot be taken; the message names it.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise OSError(f"{host}:{port} cannot be listened at: {error}; name another --port") from error


def prepare_reader(name: str, limits: ServiceLimits) -> MakeReader:
    """Return what makes the reader for an encoder.

    Raises:
        ValueError: the name is not `vllm:<address>`.
    """
    if not name.startswith(PREFIX):
        raise ValueError(f"--reader is {name!r}; expected {PREFIX}<address>, or nothing for the encoder's own model")
    server = VllmServer(name.removeprefix(PREFIX), concurrency=limits.batch_size)

    def make(encoder: MemoryEncoder) -> VllmReader:
        return VllmReader(encoder, server)

    return make


if __name__ == "__main__":
    guard_output()
    sys.exit(main())

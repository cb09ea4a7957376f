"""A server of lineage that keeps the OpenLineage events that are posted to it."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class LineageServer:
    """Keeps what is posted to the path of the API; after `fails_after` events it refuses all others."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.fails_after: int | None = None
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                failed = kept.fails_after is not None and len(kept.events) >= kept.fails_after
                if not failed and self.path == "/api/v1/lineage":
                    kept.events.append(json.loads(body))
                    kept.keys.add(self.headers.get("authorization"))
                self.send_response(422 if failed else 201)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def open_lineage_server() -> Iterator[LineageServer]:
    """Yield a server that answers until the block ends."""
    made = LineageServer()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()

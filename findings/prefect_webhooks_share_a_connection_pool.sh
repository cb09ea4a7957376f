#!/usr/bin/env bash
# Two webhooks of Prefect that are called at the same time share one pool of connections, which the first one to end
# closes: the slower call fails with httpx.ReadError, although its own server was answering it. Automations of a Prefect
# server call webhooks this way, so of two alerts at the same moment one may be lost; the server's log says "Webhook call
# failed: ReadError('')".
#
# Seen with: prefect 3.8.8, httpx 0.28.1, Python 3.11. Output seen:
#   alone: 200 200
#   at once: ReadError 200
# What helps: a receiver that answers at once and does its work later, and a second look at what happened.
# Fails when both calls succeed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.8.8 httpx==0.28.1
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prefect.blocks.webhook import Webhook


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(2.0 if b"slow" in body else 0.3)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/"


def describe(answer):
    return type(answer).__name__ if isinstance(answer, Exception) else str(answer.status_code)


async def main():
    alone = [await Webhook(url=address).call({"text": text}) for text in ("slow", "quick")]
    calls = [Webhook(url=address).call({"text": text}) for text in ("slow", "quick")]
    together = await asyncio.gather(*calls, return_exceptions=True)
    print("alone:", *map(describe, alone))
    print("at once:", *map(describe, together))
    assert [describe(each) for each in alone] == ["200", "200"]
    assert [describe(each) for each in together] == ["ReadError", "200"], "this has changed"


asyncio.run(main())
PYTHON

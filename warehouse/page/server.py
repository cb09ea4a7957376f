"""Serves the pages of a store at an address of this machine, because browsers refuse links from a server to files.

`python -m warehouse.page.server STORE PORT`. Nothing but the HTML pages of complete artefacts is served, and
the warehouse is never opened: a run may be writing it.
"""

from __future__ import annotations

import heapq
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from warehouse.commands.terminal import guard_output
from warehouse.content import RECORD
from warehouse.page.environment import POLICY, make_environment
from warehouse.page.head import read_head

HOST = "127.0.0.1"
NUM_LISTED = 200
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_NAME = re.compile(r"\w[\w-]*")


def make_app(store: Path) -> Starlette:
    """Return the application: `/` lists the latest pages, `/<stage>/<fingerprint>/<name>.html` shows one."""

    def show_list(request: Request) -> Response:
        return HTMLResponse(_render_list(store), headers=HEADERS)

    def show_page(request: Request) -> Response:
        stage, fingerprint, name = (request.path_params[each] for each in ("stage", "fingerprint", "name"))
        page = store / stage / fingerprint / f"{name}.html"
        named = all(_NAME.fullmatch(each) for each in (stage, fingerprint, name))
        if not (named and page.is_file() and page.with_name(RECORD).is_file()):
            raise HTTPException(404, "the store has no such page; / lists its pages")
        return FileResponse(page, media_type="text/html; charset=utf-8", headers=HEADERS)

    routes = [Route("/", show_list), Route("/{stage}/{fingerprint}/{name}.html", show_page)]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts])


def _render_list(store: Path) -> str:
    written = ((page.stat().st_mtime, page) for page in _find_pages(store))
    latest = heapq.nlargest(NUM_LISTED, written)
    pages = [
        {
            "address": page.relative_to(store).as_posix(),
            "artefact": page.parent.relative_to(store).as_posix(),
            "described": read_head(page),
            "written": datetime.fromtimestamp(time, UTC),
        }
        for time, page in latest
    ]
    return make_environment().get_template("list.html.j2").render(store=store, pages=pages)


def _find_pages(store: Path) -> Iterator[Path]:
    """Find the pages of the complete artefacts."""
    return (page for page in store.glob("*/*/*.html") if page.with_name(RECORD).is_file())


def main() -> None:
    """Serve the pages of the store until it is ended."""
    store, port = Path(sys.argv[1]), int(sys.argv[2])
    uvicorn.run(make_app(store), host=HOST, port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    guard_output()
    main()

"""The page to try the service: one file without anything from elsewhere, and the headers that keep it so."""

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files

INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def read_page() -> tuple[str, dict[str, str]]:
    """Return the page and its headers: only the script and the style in it may run, and it asks only its own server."""
    page = files("comem_core.serving.http").joinpath("page.html").read_text(encoding="utf-8")
    policy = "; ".join([
        "default-src 'none'",
        *_allow_inline(page),
        "img-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ])  # fmt: skip
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return page, headers


def _allow_inline(page: str) -> Iterator[str]:
    for kind, text in INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        yield f"{kind}-src 'sha256-{digest}'"

#!/usr/bin/env bash
# s3fs 2026.9.0 (aiobotocore 3.10.0): where no server answers, reading raises an error that is not an `OSError`.
#
# fsspec's other filesystems raise `OSError` or a class below it where a file cannot be read: http's connection error is
# one (aiohttp's `ClientConnectorError`). s3fs translates S3's own errors to `OSError` (`FileNotFoundError`,
# `PermissionError`), but lets botocore's `EndpointConnectionError` through, after its retries (about 8 s with the
# defaults). Whoever catches `OSError` around any fsspec address has to catch `botocore.exceptions.BotoCoreError` too.
# Seen: http ClientConnectorError, an OSError; s3 EndpointConnectionError, none.
# The script fails when the error of s3fs is an OSError, or that of http is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 \
  botocore==1.43.117 aiohttp 2>/dev/null
cd "$folder"
cat >read.py <<'PYTHON'
import socket
import sys
import time
from importlib.metadata import version

import fsspec

with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))  # bound and not listening, so that nobody answers
    address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    s3 = fsspec.filesystem("s3", key="key", secret="secret", endpoint_url=address)
    found = {}
    for name, read in (
        ("http", lambda: fsspec.filesystem("http").cat_file(f"{address}/file")),
        ("s3", lambda: s3.cat_file("bucket/file")),
    ):
        started = time.monotonic()
        try:
            read()
        except Exception as error:
            found[name] = isinstance(error, OSError)
            kind = f"{type(error).__module__}.{type(error).__name__}"
            print(f"{name}: {kind}, an OSError: {found[name]}, after {time.monotonic() - started:.0f} s")
print("s3fs", version("s3fs"), "fsspec", version("fsspec"))
sys.exit(0 if found == {"http": True, "s3": False} else "this has changed")
PYTHON
venv/bin/python read.py

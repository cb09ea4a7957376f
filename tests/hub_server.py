"""A server on 127.0.0.1 that speaks the Hub's API as far as saving and loading a repository needs; prints its address.

Repositories live in memory, one branch each. A commit's id is a hash of its files.
"""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_right"
REPOSITORIES: dict[str, dict[str, bytes]] = {}


def hash_files(files: dict[str, bytes]) -> str:
    digest = hashlib.sha1()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha1(content).digest())
    return digest.hexdigest()


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply({"error": "Invalid username or password."}, status=401)
        if self.path == "/api/repos/create":
            asked = json.loads(raw)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            known = name in REPOSITORIES
            REPOSITORIES.setdefault(name, {})
            return self.reply({"url": f"{self.address}/{name}", "name": name}, status=409 if known else 200)
        if self.path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path):
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(raw)["files"]
            ]
            return self.reply({"files": files})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            files = REPOSITORIES[found[1]]
            for line in map(json.loads, raw.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            sha = hash_files(files)
            return self.reply(
                {"success": True, "commitOid": sha, "commitUrl": f"{self.address}/{found[1]}/commit/{sha}"}
            )
        return self.reply({"error": f"unknown: POST {self.path}"}, status=404)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            if (files := REPOSITORIES.get(found[1])) is None:
                return self.refuse()
            if found[2] == "tree":
                return self.reply(
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for name, content in sorted(files.items())
                    ]
                )
            siblings = [{"rfilename": name} for name in sorted(files)]
            return self.reply({"id": found[1], "modelId": found[1], "sha": hash_files(files), "siblings": siblings})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            files = REPOSITORIES.get(found[1])
            if files is None:
                return self.refuse()
            if found[3] not in files:
                return self.reply({"error": "Entry not found"}, status=404, code="EntryNotFound")
            return self.send(files[found[3]], hash_files(files))
        return self.reply({"error": f"unknown: GET {self.path}"}, status=404)

    do_HEAD = do_GET

    server: ThreadingHTTPServer  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def refuse(self) -> None:
        self.reply({"error": "Repository not found"}, status=404, code="RepoNotFound")

    def send(self, content: bytes, sha: str) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def reply(self, answer: Any, *, status: int = 200, code: str = "") -> None:
        raw = json.dumps(answer).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

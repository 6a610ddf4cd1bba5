"""A hub for models on this machine, that knows one account and keeps what is committed."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN, ACCOUNT = "hf_" + "a" * 34, "lab"


class Hub:
    """What the server knows: ``repos`` by name, each with ``private`` and ``files``."""

    def __init__(self):
        self.repos, self.asked, self.address = {}, [], ""


@contextmanager
def a_hub():
    """Serve a :class:`Hub` on a free port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_):
        pass

    def _answer(self, status, document, **headers):
        body = json.dumps(document).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _known(self):
        self.hub.asked.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"error": "Invalid username or password."})
        return False

    def do_GET(self):
        if not self._known():
            return
        name = self.path.split("?")[0].removeprefix("/api/models/").partition("/revision")[0]
        if self.path == "/api/whoami-v2":
            self._answer(200, {"name": ACCOUNT, "type": "user"})
        elif name in self.hub.repos:
            self._answer(200, {"id": name, "private": self.hub.repos[name]["private"],
                               "sha": "0" * 40, "siblings": []})  # fmt: skip
        else:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._known():
            return
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            told = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in files]  # fmt: skip
            self._answer(200, {"files": told, "commitOid": "0" * 40})
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").partition("/commit")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.repos[name]["files"][line["value"]["path"]] = content
            self._answer(200, {"commitUrl": f"{self.hub.address}/{name}/commit/{'1' * 40}",
                               "commitOid": "1" * 40})  # fmt: skip
        else:
            self._answer(404, {"error": self.path})

    def _create(self, asked):
        owner = asked.get("organization") or ACCOUNT
        if owner != ACCOUNT:
            self._answer(403, {"error": f"You don't have the rights to create under {owner}"})
            return
        private = asked.get("private", asked.get("visibility") == "private")
        self.hub.repos[f"{owner}/{asked['name']}"] = {"private": private, "files": {}}
        self._answer(200, {"url": f"{self.hub.address}/{owner}/{asked['name']}"})

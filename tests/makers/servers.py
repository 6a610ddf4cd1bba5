"""A real server in a thread, and a client that speaks HTTP to it over a real socket."""

import http.client
import io
import json
import threading
import time
import uuid
from contextlib import contextmanager

import numpy as np
from PIL import Image


@contextmanager
def serving(runs, *, limits=None, queue=0, token="", hosts=(), root_path="", **options):
    """Serve runs on a free port; gives a :class:`Client` with the service as an attribute."""
    import uvicorn

    from fastleuk.predict.ensemble import Ensemble
    from fastleuk.serve.app import make_app
    from fastleuk.serve.limits import Limits
    from fastleuk.serve.run import listen
    from fastleuk.serve.service import Service

    ensemble = Ensemble(runs, device="cpu", report=lambda _: None, **options)
    service = Service(ensemble, limits or Limits(), queue=queue)
    socket = listen("127.0.0.1", 0)
    known = [] if token else ["127.0.0.1", "localhost", *hosts]
    app = make_app(service, token=token, hosts=known, root_path=root_path)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.01)
        yield Client(socket.getsockname()[1], service, token)
    finally:
        server.should_exit = True
        thread.join()
        service.close()


class Client:
    """Asks a server."""

    def __init__(self, port, service=None, token=""):
        self.port, self.service, self.token = port, service, token

    def ask(self, method, path, body=None, **headers):
        """Return (status, headers, bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path, **headers):
        """Return (status, decoded JSON)."""
        status, _, body = self.ask("GET", path, **headers)
        return status, json.loads(body)

    def post(self, path, files, **headers):
        """Send files ``(name, bytes)`` as a form; return (status, decoded JSON)."""
        body, kind = form(files)
        status, _, answer = self.ask("POST", path, body, **{"Content-Type": kind, **headers})
        return status, json.loads(answer)


def form(files, field="images"):
    """Return a multipart body and its content type."""
    edge = uuid.uuid4().hex
    parts = []
    for name, data in files:
        disposition = f'form-data; name="{field}"; filename="{name}"'
        parts.append(f"--{edge}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data)
    body = b"\r\n".join([*parts, f"--{edge}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={edge}"


def picture(seed=0, side=60, kind="PNG"):
    """Return the bytes of an image file."""
    low = np.random.default_rng(seed).integers(0, 200, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(low).resize((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()

"""``fastleuk serve``: the server."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
import signal
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from PIL import Image

from fastleuk.errors import ConfigError, FastleukError, MissingDependencyError
from fastleuk.predict.ensemble import Ensemble, describe
from fastleuk.run_log import result, say
from fastleuk.serve.limits import Limits
from fastleuk.stop_signals import handled

if TYPE_CHECKING:
    import uvicorn

Report = Callable[[str], None]

CONNECTIONS = 1000
"""At once; more are answered 503 by uvicorn itself."""

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


def require_server() -> None:
    """Refuse early.

    Raises:
        MissingDependencyError: a package of the extra ``serve`` is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"The server needs {', '.join(_PACKAGES[name] for name in missing)}: "
            "pip install 'fastleuk[serve]'."
        )


def serve_runs(
    runs: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    allowed_hosts: Sequence[str] = (),
    root_path: str = "",
    queue: int = 0,
    limits: Limits | None = None,
    device: str | None = None,
    tta: str = "none",
    batch_size: int = 0,
    workers: int = 0,
    report: Report = say,
) -> None:
    """Serve predictions until the process is interrupted. No file is written.

    Args:
        runs: Run folders; of several the mean probability counts.
        host: Address to listen at.
        port: 0: any that is free.
        token: What clients must show; without one nobody beyond this machine is let in.
        allowed_hosts: Other names by which the server is called, of a proxy in front of it;
            ``*.NAME`` is any name below it.
        root_path: Path that a proxy puts in front of the server's own, such as ``/cells``.
        queue: Images that are let in at once, those being scored included; 0: one batch.
        limits: What a request may hold.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; each run's own by default.
        tta: Views whose probabilities are averaged.
        batch_size: Images at once; the first run's by default, 0.
        workers: Threads that decode; the first run's by default, 0.
        report: Takes what is printed.

    Raises:
        ConfigError: options that make no sense, or a host for everybody without a token.
        CheckpointError: a run that can't be used.
        FastleukError: the address is in use, or isn't this machine's.
        MissingDependencyError: FastAPI or uvicorn is not installed.
    """
    require_server()
    limits = limits or Limits()
    if queue < 0:
        raise ConfigError(f"--queue is {queue}, but must be 0 (one batch) or more.")
    if not re.fullmatch(r"[!-~]*", token):
        raise ConfigError("--token may have letters, digits and signs of ASCII, and no spaces.")
    local = is_loopback(host)
    if not local and not token:
        raise ConfigError(
            f"--host {host} lets other machines in: give a --token that they must show, or leave "
            "--host out to serve this machine alone."
        )
    root_path = _root_path(root_path)
    hosts = [] if token else ["localhost", "127.0.0.1", "[::1]", "::1", host, *allowed_hosts]
    wrong = [name for name in allowed_hosts if not re.fullmatch(r"(\*\.)?[\w.-]+|\[[\w:]+\]", name)]
    if wrong:
        raise ConfigError(
            f"--allowed-hosts: {wrong[0]!r} is no host name. Give names without a port, such as "
            "cells.lab.example or *.lab.example; a --token lets any name in."
        )
    listening = listen(host, port)
    with listening:
        ensemble = Ensemble(
            runs, device=device, tta=tta, batch_size=batch_size, workers=workers, report=report
        )
        for line in describe(ensemble):
            report(line)
        app = {"token": token, "hosts": hosts, "root_path": root_path}
        _serve(ensemble, limits, listening, host, app, queue, report)


def _root_path(text: str) -> str:
    """Return a path for ASGI: it begins with a slash and does not end with one.

    Raises:
        ConfigError: an address, or a path with other characters.
    """
    inner = text.strip("/")
    if inner and not all(re.fullmatch(r"[\w.~-]+", part) for part in inner.split("/")):
        raise ConfigError(
            f"--root-path: {text!r} is no path. Give what the proxy puts in front, such as /cells."
        )
    return f"/{inner}" if inner else ""


def _serve(
    ensemble: Ensemble,
    limits: Limits,
    listening: socket.socket,
    host: str,
    app: dict[str, Any],
    queue: int,
    report: Report,
) -> None:
    import uvicorn

    from fastleuk.serve.app import KEPT_ALIVE, make_app
    from fastleuk.serve.service import Service

    service = Service(ensemble, limits, queue=queue)
    try:
        if not service.heats.available:
            report("note: no heat maps, for the package grad-cam is not installed.")
        config = uvicorn.Config(
            make_app(service, **app),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEPT_ALIVE,
            timeout_graceful_shutdown=10,
        )
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        result(report, f"Serving {address} (Ctrl-C ends it); the API: {address}/openapi.json")
        report("Research use, not for diagnosis. Nothing that is sent is written to a file.")
        # Filters are set here, once: catch_warnings isn't safe inside the threads.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            server = uvicorn.Server(config)
            with _ending_by_hangup(server):
                server.run(sockets=[listening])
    finally:
        service.close()


@contextmanager
def _ending_by_hangup(server: uvicorn.Server) -> Iterator[None]:
    """End the server by SIGHUP as by SIGTERM, the answers that are due first; not under nohup."""

    def end(number: int, frame: FrameType | None) -> None:
        del number
        server.handle_exit(signal.SIGTERM, frame)

    before = {number: signal.signal(number, end) for number in handled((signal.SIGHUP,))}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Open the socket before anything slow is loaded.

    Raises:
        ConfigError: no such port.
        FastleukError: the address is in use, or isn't this machine's.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port is {port}, but must lie between 0 and 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise FastleukError(
            f"Can't listen at {host} port {port}: {error.strerror or error}. Choose another --port "
            "(0: any that is free) or --host."
        ) from error

"""The routes: a page, predictions, heat maps, health and metrics."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

import fastleuk
from fastleuk.serve.around import Around, KnownHosts
from fastleuk.serve.limits import Refused
from fastleuk.serve.metrics import CONTENT_TYPE
from fastleuk.serve.schema import About, Explanation, Health, Predictions, Refusal
from fastleuk.serve.service import Service
from fastleuk.serve.uploads import MULTIPART, uploads

PAGES = {"": ("index.html", "text/html; charset=utf-8"),
         "style.css": ("style.css", "text/css; charset=utf-8"),
         "script.js": ("script.js", "text/javascript; charset=utf-8")}  # fmt: skip

KEPT_ALIVE = 5
"""Seconds that the server keeps an idle connection."""

DESCRIPTION = (
    "Predictions of a leukemia cell classifier. Research use, not for diagnosis. Nothing that is "
    "sent is kept. With a token, send `Authorization: Bearer TOKEN`."
)


def make_app(
    service: Service, *, token: str = "", hosts: Sequence[str] = (), root_path: str = ""
) -> FastAPI:
    """Make the app.

    Args:
        service: Answers.
        token: What clients must show; empty: nothing.
        hosts: Names by which the server may be called, against DNS rebinding; empty: any.
        root_path: Path that a proxy puts in front of the server's own, such as ``/cells``; the
            proxy may take it off or leave it.
    """
    # The pages for OpenAPI that come with FastAPI load their scripts from elsewhere.
    app = FastAPI(
        title="fastleuk", version=fastleuk.__version__, description=DESCRIPTION,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    if hosts:
        app.add_middleware(KnownHosts, names=list(hosts))
    app.add_middleware(Around, service=service, root_path=root_path)

    @app.exception_handler(Refused)
    def refuse(_request: Request, refused: Refused) -> Response:
        # Who comes back later than the server keeps a connection is told that it is closed.
        away = (refused.retry_after or 0) >= KEPT_ALIVE
        headers = {"connection": "close"} if away or refused.status in (408, 413) else {}
        if refused.retry_after is not None:
            headers["retry-after"] = str(refused.retry_after)
        if refused.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse({"detail": refused.detail}, refused.status, headers)

    def known(request: Request) -> None:
        shown = request.headers.get("authorization", "")
        kind, _, given = shown.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), token.encode())
        if token and not (kind.lower() == "bearer" and right):
            raise Refused(401, "This server wants its token: Authorization: Bearer TOKEN.")

    _add_pages(app)
    _add_answers(app, service, [Depends(known)])
    return app


def _add_pages(app: FastAPI) -> None:
    folder = resources.files("fastleuk.serve") / "page"
    for path, (name, kind) in PAGES.items():
        content = (folder / name).read_bytes()

        def page(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        app.get(f"/{path}", include_in_schema=False)(_without_parameters(page))


def _without_parameters(page: Callable[..., Response]) -> Callable[[], Response]:
    return lambda: page()


def _add_answers(app: FastAPI, service: Service, guards: Sequence[Any]) -> None:
    @app.get("/health", responses={503: {"model": Health}})
    def health() -> Health:
        """Say whether predictions can be made; no token is needed."""
        if not service.batcher.alive:
            raise Refused(503, "No predictions can be made any more: start the server again.")
        return Health(status="ok")

    @app.get("/info", dependencies=guards)
    def info() -> About:
        """Say what is served: classes, threshold, calibration, limits."""
        return service.about()

    @app.get("/metrics", dependencies=guards, response_class=PlainTextResponse)
    def metrics() -> Response:
        """Give counters in Prometheus' text form."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    refusals: dict[int | str, dict[str, Any]] = {
        400: {"model": Refusal, "description": "No file, or a body that is damaged"},
        401: {"model": Refusal, "description": "The token is missing or wrong"},
        408: {"model": Refusal, "description": "The body did not go on"},
        413: {"model": Refusal, "description": "Too many or too large images"},
        415: {"model": Refusal, "description": "Neither multipart/form-data nor an image"},
        503: {"model": Refusal, "description": "Too much waits: see Retry-After"},
    }

    @app.post(
        "/predict",
        dependencies=guards,
        response_model=Predictions,
        openapi_extra=_body(several=True),
        responses={
            **refusals,
            422: {"model": Predictions, "description": "None of the files can be used"},
        },
    )
    async def predict(request: Request) -> Any:
        """Predict images: one as the body, or several as files of a form.

        Each file has a row in the answer: probabilities and label, or an error. BMP, PNG, JPEG,
        TIFF and WebP of 8 bits a channel are taken, by their content and not by their name.
        """
        service.refuse_when_full()
        async with uploads(request, service.limits, service.budget) as files:
            found = await service.predict(files)
        if all(each.error for each in found.predictions):
            return JSONResponse(found.model_dump(), 422)
        return found

    @app.post(
        "/explain",
        dependencies=guards,
        openapi_extra=_body(several=False),
        responses={
            **refusals,
            422: {"model": Refusal, "description": "No such class, or no image of a cell"},
            501: {"model": Refusal, "description": "The package grad-cam is not installed"},
        },
    )
    async def explain(
        request: Request, target: Annotated[str, Query(description="The class to explain")]
    ) -> Explanation:
        """Show where the first run's network looks for a class: Grad-CAM of one image."""
        async with uploads(request, service.limits, service.budget) as files:
            heat = await service.explain(files, target)
        run = service.ensemble.members[0].run_dir.resolve().name
        return Explanation(**dataclasses.asdict(heat), run=run)


def _body(*, several: bool) -> dict[str, Any]:
    """Describe the body, which is read piece by piece and not by FastAPI."""
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": file} if several else file
    name = "images" if several else "image"
    form = {"type": "object", "properties": {name: files}, "required": [name]}
    content = {MULTIPART: {"schema": form}, "image/*": {"schema": file}}
    return {"requestBody": {"required": True, "content": content}}

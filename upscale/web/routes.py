"""The routes that carry bytes: uploads, previews, pictures, downloads, and the blind test.

Gradio's own routes for files keep them in one cache that every user's requests reach. These look a file up by
(session, token) and a fixed name, so that no part of a request becomes part of a path.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from upscale.errors import UserError
from upscale.web.job import AFTER_PICTURE, BEFORE_PICTURE, PREVIEW, RESTORED
from upscale.web.limits import Limits
from upscale.web.service import Service, result_of, start_trial, wav_file
from upscale.web.workspaces import Workspace

STATIC = Path(__file__).parent / "static"
PRIVATE = {"Cache-Control": "private, no-store"}
# Without this the server would go on receiving the rest of a body that it has refused.
HANG_UP = {"Connection": "close"}
SHOWN = {"preview": PREVIEW, "before": BEFORE_PICTURE, "after": AFTER_PICTURE}
DOWNLOADS = ("flac", "wav")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TooLarge(UserError):
    """More bytes than the page takes."""


def routes(service: Service) -> list[BaseRoute]:
    """All routes of the page besides gradio's own."""

    def workspace_of(request: Request) -> Workspace:
        return service.workspaces.get(request.scope["upscale_session"], request.path_params["token"])

    @user_errors
    async def upload(request: Request) -> Response:
        session, name = request.scope["upscale_session"], request.query_params.get("name", "")
        check_declared_size(request, service.limits)
        workspace = await run_in_threadpool(service.workspaces.create, session, name)
        try:
            num_bytes = await receive_file(request, workspace.input, service.limits)
        except BaseException:
            service.workspaces.remove(workspace)
            raise
        return JSONResponse({"token": workspace.token, "name": workspace.name, "bytes": num_bytes})

    @user_errors
    async def about(request: Request) -> Response:
        workspace = workspace_of(request)
        return JSONResponse({"name": workspace.name, **result_of(workspace)}, headers=PRIVATE)

    @user_errors
    async def shown(request: Request) -> Response:
        workspace = workspace_of(request)
        result_of(workspace)
        return FileResponse(workspace.folder / SHOWN[kind_of(request, SHOWN)], headers=PRIVATE)

    @user_errors
    async def download(request: Request) -> Response:
        workspace, kind = workspace_of(request), kind_of(request, DOWNLOADS)
        result_of(workspace)
        path = workspace.folder / RESTORED if kind == "flac" else await run_in_threadpool(wav_file, workspace)
        name = f"{Path(workspace.name).stem} (restored).{kind}"
        return FileResponse(path, filename=name, media_type=f"audio/{kind}", headers=PRIVATE)

    @user_errors
    async def stop(request: Request) -> Response:
        service.runner.cancel(str(workspace_of(request).folder))
        return JSONResponse({})

    @user_errors
    async def forget(request: Request) -> Response:
        await run_in_threadpool(service.forget, workspace_of(request))
        return JSONResponse({})

    @user_errors
    async def trial(request: Request) -> Response:
        workspace, place = workspace_of(request), await request.json()
        try:
            start, seconds = float(place["start"]), float(place["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("say where the excerpt starts and how long it is") from error
        facts, frames = await run_in_threadpool(start_trial, workspace, start, seconds)
        headers = {**PRIVATE, "X-Trial": json.dumps(facts)}
        return Response(frames.tobytes(), media_type="application/octet-stream", headers=headers)

    @user_errors
    async def answer(request: Request) -> Response:
        workspace, given = workspace_of(request), await request.json()
        return JSONResponse(workspace.test.answer(str(given.get("trial")), str(given.get("answer"))))

    return [
        Route("/upload", upload, methods=["POST"]),
        Route("/files/{token}/about", about),
        Route("/files/{token}/show/{kind}", shown),
        Route("/files/{token}/download/{kind}", download),
        Route("/files/{token}/stop", stop, methods=["POST"]),
        Route("/files/{token}/forget", forget, methods=["POST"]),
        Route("/files/{token}/trial", trial, methods=["POST"]),
        Route("/files/{token}/answer", answer, methods=["POST"]),
        Mount("/page", StaticFiles(directory=STATIC)),
    ]


def kind_of(request: Request, kinds: Collection[str]) -> str:
    kind = request.path_params["kind"]
    if kind not in kinds:
        raise UserError("there is no such thing here")
    return kind


def user_errors(handler: Handler) -> Handler:
    """A `UserError` becomes its one line with status 400 (413 for size)."""

    @wraps(handler)
    async def wrapper(request: Request) -> Response:
        try:
            return await handler(request)
        except UserError as error:
            status = 413 if isinstance(error, TooLarge) else 400
            return JSONResponse({"error": str(error)}, status_code=status, headers=HANG_UP)

    return wrapper


def check_declared_size(request: Request, limits: Limits) -> None:
    """Refuse a request by its declared size before its body is read; the real size is counted too."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.upload_bytes:
        raise too_large(limits)


async def receive_file(request: Request, path: Path, limits: Limits) -> int:
    """Stream a request's body to `path`; too many bytes, no bytes for a while, or too long a time end it."""
    num_bytes = 0
    chunks = request.stream()
    try:
        async with asyncio.timeout(limits.upload_seconds):
            with path.open("xb") as file:
                while True:
                    async with asyncio.timeout(limits.upload_stall_seconds):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        break
                    num_bytes += len(chunk)
                    if num_bytes > limits.upload_bytes:
                        raise too_large(limits)
                    await run_in_threadpool(file.write, chunk)
    except TimeoutError as error:
        raise UserError("the upload stopped: try again") from error
    except ClientDisconnect as error:
        raise UserError("the upload was broken off") from error
    if num_bytes == 0:
        raise UserError("this file is empty")
    return num_bytes


def too_large(limits: Limits) -> TooLarge:
    return TooLarge(f"this file is larger than the {limits.upload_bytes / 2**20:g} MB that this page takes")

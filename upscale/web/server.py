"""The HTTP server: our routes, gradio's page, the request filter before both, and the tasks that run beside them."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

from upscale.errors import UserError

# Before gradio is imported: by default it asks for its latest version and reports each start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from upscale.web.page import CSS, HEAD, THEME, build_page
from upscale.web.request_filter import LOOPBACK, RequestFilter
from upscale.web.routes import routes
from upscale.web.service import Service

SWEEP_SECONDS = 30.0


def build_app(service: Service, host: str) -> ASGIApp:
    """The whole application; its end deletes every file."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(service))
        await asyncio.to_thread(service.runner.warm_up)
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.to_thread(service.close)

    app = FastAPI(routes=routes(service), lifespan=lifespan, openapi_url=None)
    gr.mount_gradio_app(
        app,
        build_page(service),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        mcp_server=False,
        max_file_size=1,
        theme=THEME,
        css_paths=CSS,
        head=HEAD,
    )
    return RequestFilter(app, hosts=(*LOOPBACK, host) if host in LOOPBACK else None)


def run_server(service: Service, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; every file is gone afterwards."""
    with _listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"upscalemp3 is at http://{shown}:{listener.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
        config = uvicorn.Config(
            build_app(service, host), log_level="warning", timeout_graceful_shutdown=3, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(min(SWEEP_SECONDS, service.limits.keep_seconds))
        await asyncio.to_thread(service.sweep)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(f"cannot listen on {host} port {port} ({error}): choose another --port or --host") from error
    return listener

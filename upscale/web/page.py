"""The page itself: gradio's layout, events and queue around our own drop zone and player (static/*.js)."""

import contextlib
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from upscale.errors import UserError
from upscale.web.routes import STATIC
from upscale.web.runner import Cancelled
from upscale.web.service import Service

DESCRIPTIONS = {
    "fidelity": "fidelity: as close to the original as can be measured",
    "perceptual": "perceptual: fills in what sounds missing",
}
# System fonts: gradio's default theme would fetch its fonts from elsewhere.
THEME = gr.themes.Base(
    primary_hue="orange",
    neutral_hue="stone",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
HEAD = '<script type="module" src="page/page.js"></script>'
CSS: list[str | Path] = [STATIC / "page.css"]
INTRODUCTION = """
<header class="up-header"><h1>upscale<span>mp3</span></h1>
<p>Restores music that was compressed to MP3. Drop a file, listen to both versions, keep the better one.</p></header>
"""
# Events of custom elements become gradio events.
FORWARD = """
element.addEventListener('uploaded', (event) => trigger('upload', event.detail));
element.addEventListener('cleared', () => trigger('clear'));
"""


def build_page(service: Service) -> gr.Blocks:
    """The Blocks of one server. Every handler knows its visitor by the session cookie that `RequestFilter` gave out."""
    limits = service.limits
    choices = [(DESCRIPTIONS.get(name, name), name) for name in service.models]
    with gr.Blocks(analytics_enabled=False, title="upscalemp3", fill_width=False) as page:
        gr.HTML(INTRODUCTION, apply_default_css=False)
        token = gr.State()
        with gr.Row(equal_height=True):
            drop = gr.HTML(
                f'<upscale-drop max-bytes="{limits.upload_bytes}" max-minutes="{limits.audio_seconds / 60:g}">'
                "</upscale-drop>",
                js_on_load=FORWARD,
                elem_id="drop",
                apply_default_css=False,
            )
            with gr.Column():
                model = gr.Radio(choices, value=choices[0][1], label="Model", elem_id="model")
                with gr.Row():
                    restore = gr.Button("Restore", variant="primary", interactive=False, elem_id="restore")
                    stop = gr.Button("Stop", visible=False, elem_id="stop")
                    forget = gr.Button("Delete my file", visible=False, elem_id="forget")
        status = gr.HTML(elem_id="status", apply_default_css=False)
        outcome = gr.HTML(elem_id="outcome", apply_default_css=False)

        handlers = _Handlers(service)
        fast: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
        buttons = [restore, stop, forget]
        drop.upload(handlers.uploaded, token, [token, status, outcome, *buttons], **fast)
        drop.clear(handlers.cleared, token, [token, status, outcome, *buttons], **fast)
        forget.click(handlers.forgotten, token, [token, status, outcome, *buttons], **fast)
        restore.click(
            handlers.restore,
            [token, model],
            [status, outcome, *buttons],
            concurrency_limit=1,
            concurrency_id="restore",
            show_progress="minimal",
            show_progress_on=status,
            api_visibility="private",
        )
        # The button is visible only while the job runs; the job itself shows that it has stopped.
        stop.click(handlers.stop, token, None, **fast)
        page.unload(handlers.left)
    page.queue(max_size=limits.queue_size, api_open=False)
    return page


class _Handlers:
    """What the page's events do. Errors end as one line on the page."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def uploaded(self, before: str | None, event: gr.EventData, request: gr.Request) -> list[Any]:
        self._forget(before, request)
        token = event._data.get("token") if isinstance(event._data, dict) else None
        try:
            workspace = self.service.workspaces.get(_session(request), token)
        except UserError as error:
            return [None, _problem(error), "", *_buttons()]
        workspace.tab = request.session_hash
        return [workspace.token, "", "", *_buttons(ready=True)]

    def cleared(self, token: str | None, request: gr.Request) -> list[Any]:
        """Another file was dropped: delete the one before."""
        self._forget(token, request)
        return [None, "", "", *_buttons()]

    def forgotten(self, token: str | None, request: gr.Request) -> list[Any]:
        self._forget(token, request)
        return [None, _say("Deleted: the file and everything made from it."), "", *_buttons()]

    def restore(self, token: str | None, model: str, request: gr.Request) -> Iterator[list[Any]]:
        try:
            workspace = self.service.workspaces.get(_session(request), token)
            yield [_progress("Starting", 0.0), "", *_buttons(running=True)]
            for message in self.service.restore(workspace, model):
                if "stage" in message:
                    yield [_progress(message["stage"], message["fraction"]), gr.skip(), *[gr.skip()] * 3]
            element = f'<upscale-result token="{html.escape(workspace.token)}"></upscale-result>'
            yield [_say("Done."), element, *_buttons(ready=True, done=True)]
        except Cancelled:
            yield [_say("Stopped."), "", *_buttons(ready=True, done=True)]
        except UserError as error:
            yield [_problem(error), "", *_buttons(ready=True, done=True)]

    def stop(self, token: str | None, request: gr.Request) -> None:
        with contextlib.suppress(UserError):  # already deleted
            self.service.runner.cancel(str(self.service.workspaces.get(_session(request), token).folder))

    def left(self, request: gr.Request) -> None:
        if request.session_hash:
            self.service.leave(request.session_hash)

    def _forget(self, token: str | None, request: gr.Request) -> None:
        if token is None:
            return
        with contextlib.suppress(UserError):  # already deleted
            self.service.forget(self.service.workspaces.get(_session(request), token))


def _session(request: gr.Request) -> str:
    assert request.request is not None, "handlers are only called by requests"
    return request.request.scope["upscale_session"]


def _buttons(ready: bool = False, running: bool = False, done: bool = False) -> list[Any]:
    return [
        gr.update(interactive=ready and not running, visible=not running),
        gr.update(visible=running),
        gr.update(visible=done and not running),
    ]


def _progress(stage: str, fraction: float) -> str:
    percent = round(100 * fraction)
    return (
        f'<div class="up-progress" role="progressbar" aria-valuenow="{percent}" aria-label="{html.escape(stage)}">'
        f'<span>{html.escape(stage)}</span><div class="up-bar"><i style="width: {percent}%"></i></div>'
        f"<span>{percent} %</span></div>"
    )


def _say(text: str) -> str:
    return f'<p class="up-said" role="status">{html.escape(text)}</p>'


def _problem(error: UserError) -> str:
    return f'<p class="up-problem" role="alert">{html.escape(" ".join(str(error).split()))}</p>'

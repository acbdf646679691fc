"""The web page: drop a file, hear before and after, take the restored one home. Needs the extra `web` (gradio)."""

from upscale.web.command import main, serve

__all__ = ["main", "serve"]

"""`upscale web`: options in, a running page out."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace

from upscale.errors import UserError
from upscale.web.limits import Limits

LOOPBACK_HOST, PORT = "127.0.0.1", 7860


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; returns the exit status."""
    options = _parser().parse_args(argv)
    limits = replace(
        Limits(),
        upload_bytes=round(options.max_mb * 2**20),
        audio_seconds=options.max_minutes * 60.0,
        keep_seconds=options.keep_minutes * 60.0,
    )
    try:
        serve(options.host, options.port, models=options.model, device=options.device, limits=limits)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def serve(
    host: str = LOOPBACK_HOST,
    port: int = PORT,
    *,
    models: Sequence[str] = (),
    device: str = "auto",
    limits: Limits | None = None,
) -> None:
    """Serve the page; port 0 takes a free one. Needs the extra `web`."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the web page needs gradio: pip install 'upscalemp3[web]'")
    from upscale.web.service import open_service

    service = open_service(limits or Limits(), list(models), device)
    try:
        from upscale.web.server import run_server  # gradio takes seconds to import; mistakes are reported before that

        run_server(service, host, port)
    finally:
        service.close()


def _parser() -> argparse.ArgumentParser:
    limits = Limits()
    parser = argparse.ArgumentParser(
        prog="upscale web", description="A page in your browser: restore a file, hear both versions, test yourself."
    )
    parser.add_argument("--host", default=LOOPBACK_HOST, help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s; 0 takes a free one")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="a model to offer beside the shipped ones: a bundle, .ckpt or .onnx",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument(
        "--max-mb", type=_positive, default=limits.upload_bytes / 2**20, help="largest upload (default: %(default)g)"
    )
    parser.add_argument(
        "--max-minutes", type=_positive, default=limits.audio_seconds / 60, help="longest file (default: %(default)g)"
    )
    parser.add_argument(
        "--keep-minutes",
        type=_positive,
        default=limits.keep_seconds / 60,
        help="files unused for so long are deleted (default: %(default)g)",
    )
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be greater than 0")
    return value

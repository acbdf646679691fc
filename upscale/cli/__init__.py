"""The `upscale` command: restore, info, listen, web. Each command's modules are imported when it runs."""

import importlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import upscale
from upscale.errors import UserError

COMMANDS = {
    "restore": ("upscale.cli.restore", "restore files and folders of music"),
    "info": ("upscale.cli.info", "say what a file is: codec, encoder, cut-off, and which model fits"),
    "listen": ("upscale.cli.listen", "restore while playing, or measure how fast that goes"),
    "web": ("upscale.web.command", "the same as a page in the browser"),
}
INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"upscalemp3 {upscale.__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        print(f"error: no command {arguments[0]!r}: choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return importlib.import_module(COMMANDS[arguments[0]][0]).main(arguments[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `upscale info ... | head`
        sys.stderr.close()
        return 1


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """`kill` ends like Ctrl-C: no half-written file is left."""
    raise KeyboardInterrupt


def _overview() -> str:
    lines = [f"  {name:<9}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: upscale COMMAND ...", "", *lines, "", "`upscale COMMAND -h` lists its options."])

"""The process that opens uploaded files: one request a line on stdin, messages a line on stdout, one job at a time.

A hostile file can crash a decoder, hang it or fill its memory. That ends this process and not the server, which starts
another one.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping

from upscale.errors import UserError
from upscale.restore import bundle  # noqa: F401  PyTorch takes seconds to import: do it before the first job
from upscale.web.job import Request, run, to_json


def main() -> None:
    """Serve requests until stdin ends (the server has gone)."""
    # What libraries print to stdout would be read as messages, so it goes to stderr.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: Mapping[str, object]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    for line in sys.stdin:
        try:
            result = run(Request(**json.loads(line)), lambda stage, done: send({"stage": stage, "fraction": done}))
            send({"result": to_json(result)})
        except UserError as error:
            send({"error": " ".join(str(error).split())})
        except Exception:
            traceback.print_exc()
            send({"error": "this file could not be restored; the server's log says why"})


if __name__ == "__main__":
    main()

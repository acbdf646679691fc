"""The process that opens strangers' files: one request a line on stdin, messages a line on stdout, one job at a time.

It stands apart so that whatever a hostile file does to a decoder - crash it, hang it, fill its memory - ends this
process and not the server. The server starts another.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping

from upscale.errors import UserError
from upscale.restore import bundle  # noqa: F401  PyTorch takes seconds to import: before the first job, not in it
from upscale.web.job import Request, run, to_json


def main() -> None:
    """Serve requests until stdin ends (the server has gone)."""
    # Libraries that print must not be able to speak for us: what they send to stdout goes to stderr.
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

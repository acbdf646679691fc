"""Files that appear under their name whole or not at all: they are written beside it and renamed at the end."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".part"
LEFTOVERS = f".*{SUFFIX}"  # what a process that was killed leaves behind; a search for `*.wav` does not find it


def temporary_path(path: Path, suffix: str = SUFFIX) -> Path:
    """A hidden path that does not exist, in the folder of `path`: a rename is atomic within one file system only.

    The name is random, so that processes and threads may write the same file at once; the last one wins. It is short,
    because most file systems stop at 255 bytes. Give a `suffix` where a library reads the format from it.
    """
    return path.with_name(f".{secrets.token_hex(8)}{suffix}")


@contextmanager
def replacing(path: Path, suffix: str = SUFFIX) -> Iterator[Path]:
    """A temporary path to write to. It becomes `path` when the block ends well and is removed when the block fails.

    What was there before stays as it was until then. The folder must exist. Raises what the file system raises.
    """
    temporary = temporary_path(path, suffix)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

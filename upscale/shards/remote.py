"""Shards wherever they are: a folder, or any URL that webdataset can open, copied once into a local cache."""

import logging
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from webdataset.gopen import gopen

from upscale import atomic
from upscale.errors import UserError
from upscale.progress import with_progress
from upscale.seeds import derive_seed
from upscale.shards.manifest import NAME, ShardEntry, file_hash, parse_manifest

NUM_DOWNLOADS = 4

logger = logging.getLogger(__name__)


def is_remote(root: str) -> bool:
    """`https://`, `s3://`, `gs://`, ... or `pipe:command`."""
    return "://" in root or root.startswith("pipe:")


def local_shards(root: str, split: str, cache: Path) -> list[Path]:
    """The shards of a split as local files, in order; an empty list where a folder has none.

    Remote ones are listed by their manifest and copied to `cache`, once; a copy is checked against the manifest.
    In `root`, `%s` stands for the path below it (`pipe:aws s3 cp s3://bucket/shards/%s -`); without one it is appended.
    """
    if not is_remote(root):
        return sorted((Path(root) / split).glob("*.tar"))
    manifest = parse_manifest(_read(_url(root, split, NAME)), _url(root, split, NAME))
    folder = cache / f"{derive_seed(root):016x}" / split
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"data.cache={cache}: cannot be written ({error.strerror})") from error
    missing = [entry for entry in manifest.shards if not _is_cached(folder, entry)]
    with ThreadPoolExecutor(NUM_DOWNLOADS) as pool:
        jobs = [pool.submit(_download, _url(root, split, entry.name), folder, entry) for entry in missing]
        for job in with_progress(jobs, f"downloading {split}"):
            job.result()
    return [folder / entry.name for entry in manifest.shards]


def _url(root: str, split: str, name: str) -> str:
    path = f"{split}/{name}"
    return root.replace("%s", path) if "%s" in root else f"{root.rstrip('/')}/{path}"


def _is_cached(folder: Path, entry: ShardEntry) -> bool:
    path = folder / entry.name
    return path.exists() and path.stat().st_size == entry.num_bytes


def _open(url: str) -> Any:
    """webdataset opens everything but S3 by itself."""
    return gopen(f"pipe:aws s3 cp {shlex.quote(url)} -" if url.startswith("s3://") else url)


def _read(url: str) -> bytes:
    try:
        with _open(url) as stream:
            content: bytes = stream.read()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise UserError(f"{url}: cannot be read ({error}); check data.root and the network") from error
    return content


def _download(url: str, folder: Path, entry: ShardEntry) -> None:
    """Copy one shard to `folder`, checked against the manifest; an interrupted copy is never taken for a shard."""
    try:
        with atomic.replacing(folder / entry.name) as temporary:
            with _open(url) as stream, open(temporary, "wb") as file:
                shutil.copyfileobj(stream, file, 2**20)
            if file_hash(temporary) != entry.sha256:
                raise UserError(
                    f"{url}: does not match its manifest; it was changed or the download was cut off, try again"
                )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{url}: cannot be copied to {folder} ({error})") from error

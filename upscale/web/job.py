"""The job for one uploaded file: check it, restore it, and write what the page shows. Runs in the worker process."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from upscale import audio
from upscale.errors import UserError
from upscale.restore import Restorer
from upscale.restore.files import FileOptions, restore_file
from upscale.restore.inspect_file import inspect_file
from upscale.web.pictures import draw_spectrograms
from upscale.web.preview import write_preview

RESTORED, PREVIEW, BEFORE_PICTURE, AFTER_PICTURE = "restored.flac", "preview.pcm", "before.png", "after.png"
MAX_SAMPLE_RATE = 192_000
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Request:
    """One file to restore; `folder` is its workspace, `name` what the visitor calls it."""

    folder: str
    source: str
    name: str
    model: str
    device: str
    audio_seconds: float


@dataclass(frozen=True)
class Result:
    """What the page needs to show.

    `already_good`: why the file did not need restoring; `louder_db`: after against before; `bottom_db` and
    `top_db`: the scale of the pictures.
    """

    sample_rate: int
    channels: int
    num_samples: int
    codec: str
    bitrate: int | None
    cutoff_hz: float | None
    already_good: str | None
    louder_db: float
    bottom_db: float
    top_db: float
    elapsed_seconds: float
    lost_tags: tuple[str, ...]


def run(request: Request, report: Report) -> Result:
    """Restore one file, calling `report(stage, fraction)` on the way. A bad file is a `UserError` by its own name."""
    try:
        return _run(request, report)
    except UserError as error:
        # The visitor sees the name of their file and no path of the server.
        raise UserError(str(error).replace(request.source, request.name).replace(request.folder, "")) from error


def check_length(source: Path, audio_seconds: float, report: Report) -> tuple[audio.AudioInfo, int]:
    """The file's format and its number of samples, decoded and counted, because a header can be wrong."""
    info = audio.probe(source)
    if info.channels > 2:
        raise UserError(f"{source}: has {info.channels} channels; this page takes mono and stereo")
    if info.sample_rate > MAX_SAMPLE_RATE:
        raise UserError(f"{source}: {info.sample_rate} Hz is more than this page takes ({MAX_SAMPLE_RATE} Hz)")
    limit = round(audio_seconds * info.sample_rate)
    num_samples = 0
    for block in audio.blocks(source, info.sample_rate):
        num_samples += block.shape[1]
        if num_samples > limit:
            raise UserError(
                f"{source}: is longer than the {audio_seconds / 60:g} minutes that this page takes; "
                "`upscale restore` on the command line has no limit"
            )
        report("Checking", min(1.0, num_samples / (info.num_samples or limit)))
    if num_samples == 0:
        raise UserError(f"{source}: holds no sound")
    return info, num_samples


def _run(request: Request, report: Report) -> Result:
    folder, source = Path(request.folder), Path(request.source)
    info, num_samples = check_length(source, request.audio_seconds, report)
    seconds = num_samples / info.sample_rate
    report("Loading the model", 0.0)
    restorer = _load(request.model, request.device)
    found = inspect_file(source)
    report("Restoring", 0.0)
    done = restore_file(
        restorer,
        source,
        folder / RESTORED,
        FileOptions(bitrate=found.effective_bitrate),
        progress=lambda done_seconds: report("Restoring", min(1.0, done_seconds / seconds)),
    )
    report("Drawing", 0.0)
    length, louder_db = write_preview(folder / PREVIEW, source, folder / RESTORED)
    report("Drawing", 0.5)
    bottom, top = draw_spectrograms(folder / PREVIEW, info.channels, folder / BEFORE_PICTURE, folder / AFTER_PICTURE)
    return Result(
        sample_rate=info.sample_rate,
        channels=info.channels,
        num_samples=length,
        codec=found.codec,
        bitrate=None if found.bitrate is None else round(found.bitrate),
        cutoff_hz=found.cutoff_hz,
        already_good=found.is_good(restorer.traits.bitrates),
        louder_db=louder_db,
        bottom_db=bottom,
        top_db=top,
        elapsed_seconds=done.elapsed_seconds,
        lost_tags=done.lost_tags,
    )


@lru_cache(maxsize=4)
def _load(model: str, device: str) -> Restorer:
    return Restorer.load(model, device)


def to_json(result: Result) -> dict[str, object]:
    return asdict(result)

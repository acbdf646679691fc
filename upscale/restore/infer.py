"""What `infer.py` runs: one file with one model, and a progress bar."""

from pathlib import Path

from rich.console import Console

from upscale import audio
from upscale.errors import UserError
from upscale.progress import Progress
from upscale.restore.files import FileOptions, FileResult, deprecated_name, restore_file
from upscale.restore.inspect_file import inspect_file
from upscale.restore.library import RESTORED
from upscale.restore.restorer import DEFAULT_MODEL, Restorer, available_models


def infer(
    *,
    ckpt: str | None,
    input: str | None,
    output: str | None,
    device: str = "auto",
    mix: float = 1.0,
    restore_level: bool = False,
    ceiling_db: float = -0.1,
    subtype: str | None = None,
    match_level: bool | None = None,
) -> FileResult:
    """Restore the file `input` with the model `ckpt` to `output`.

    Without `ckpt`, the shipped `fidelity`; without `output`, NAME.restored.flac beside the input. `match_level` is the
    deprecated name of `restore_level`; the other arguments are those of `FileOptions`.
    """
    if input is None:
        raise UserError("which file? add input=song.mp3")
    if not Path(input).is_file():
        raise UserError(f"input={input}: no such file")
    if output is None:
        output = str(Path(input).with_suffix(f"{RESTORED}.flac"))
    restorer = Restorer.load(ckpt, device=device)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if ckpt is None:
        console.print(f"no ckpt=PATH named: using {DEFAULT_MODEL} ({available_models()})", markup=False)
    if match_level is not None:
        console.print(deprecated_name("match_level", "restore_level"), markup=False)
    info = audio.probe(input)
    options = FileOptions(
        subtype=subtype,
        mix=mix,
        restore_level=restore_level or bool(match_level),
        ceiling_db=ceiling_db,
        bitrate=inspect_file(input).effective_bitrate,
    )
    with Progress(console) as progress:
        total = None if info.num_samples is None else info.num_samples / info.sample_rate
        task = progress.add("restoring", total, unit=" s")
        result = restore_file(restorer, input, output, options, progress=lambda seconds: progress.update(task, seconds))
    seconds = result.num_samples / result.sample_rate
    print(
        f"{result.output}: {seconds:.2f} s in {result.elapsed_seconds:.1f} s, true peak {result.true_peak_db:.1f} dBTP"
    )
    return result

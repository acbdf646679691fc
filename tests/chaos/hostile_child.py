"""What a process does with hostile files: `audio`, `infer.py`'s path and `upscale restore`, one after the other.

It may use half a gigabyte more than when it began and `FILE_SECONDS` a file; a file that takes it down is the last one
in its report, where the test finds it.
"""

import contextlib
import io
import json
import os
import resource
import signal
from pathlib import Path

import numpy as np

from upscale import audio, cli
from upscale.errors import UserError
from upscale.restore.infer import infer

MORE_BYTES = 2**29
FILE_SECONDS = 30


def examine(files: list[tuple[str, str]], model: str, out: str, report: str) -> None:
    """`files`: (kind, path). A line before each file, and one with what became of it."""
    import torch

    torch.set_num_threads(1)
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a hang ends the process, wherever it hangs
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    with open(report, "a", encoding="utf-8", buffering=1) as lines:
        for kind, path in files:
            lines.write(json.dumps({"begin": path, "kind": kind}) + "\n")
            signal.alarm(FILE_SECONDS)
            try:
                facts = one_file(Path(path), model, Path(out))
            except BaseException as error:
                facts = {"fault": f"{type(error).__name__}: {error}"}
            signal.alarm(0)
            lines.write(json.dumps({"end": path, "kind": kind, **facts}) + "\n")


def one_file(path: Path, model: str, out: Path) -> dict[str, str]:
    """What `audio` made of it (`heard` or `refused`), and what two ways of restoring did; raises for a fault."""
    length = heard(path)
    inferred, restored = out / f"{path.name}.infer.wav", out / f"{path.name}.restore.wav"
    facts = {"audio": "refused" if length is None else "heard"}
    facts["infer"] = through_infer(path, inferred, model, length)
    facts["restore"] = through_command(path, restored, model, length)
    left = [file.name for file in out.iterdir()]
    assert not left, f"left behind: {left}"
    return facts


def heard(path: Path) -> int | None:
    try:
        audio.probe(path)
        wav, _ = audio.read(path)
    except UserError as error:
        assert "\n" not in str(error) and path.name in str(error), str(error)
        return None
    assert wav.dtype == np.float32 and np.isfinite(wav).all()
    parts = list(audio.blocks(path, 5_000))
    assert sum(part.shape[1] for part in parts) == wav.shape[1]
    return wav.shape[1]


def through_infer(path: Path, target: Path, model: str, length: int | None) -> str:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            infer(ckpt=model, input=str(path), output=str(target), device="cpu")
    except UserError as error:
        assert "\n" not in str(error)
        assert not target.exists(), "an output in spite of an error"
        return "refused"
    check_output(target, length)
    return "restored"


def through_command(path: Path, target: Path, model: str, length: int | None) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        arguments = ["restore", str(path), "--out", str(target), "--model", model, "--device", "cpu", "--force"]
        status = cli.main(arguments)
    assert "Traceback" not in shown.getvalue()
    if status == 0:
        check_output(target, length)
        return "restored"
    assert status == 1 and not target.exists(), f"status {status}"
    kinds = ("MemoryError", "AssertionError", "ValueError", "IndexError", "RuntimeError", "OverflowError", "TypeError")
    assert not any(kind in shown.getvalue() for kind in kinds), shown.getvalue()
    return "refused"


def check_output(target: Path, length: int | None) -> None:
    """As long as the input, to the sample, and finite; gone afterwards."""
    wav, _ = audio.read(target)
    target.unlink()
    assert np.isfinite(wav).all()
    assert wav.shape[1] == length, f"{wav.shape[1]} samples out, {length} in"

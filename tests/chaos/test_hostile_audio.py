"""Thousands of damaged and lying audio files: an error of ours or a valid output, in bounded time and memory."""

import json
from collections import Counter
from pathlib import Path

import hostile_child
import pytest
from conftest import Fault, warm_processes
from mutants import KINDS, mutant, seeds

from upscale.models import SpectralGain
from upscale.restore.bundle import save_bundle

NUM_PARTS = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"width": 2, "num_blocks": 1, "window_size": 256}
    return save_bundle(tmp_path_factory.mktemp("model"), SpectralGain(**arguments), arguments=arguments)


@pytest.mark.parametrize("part", range(NUM_PARTS))
def test_damaged_audio_gives_valid_output_or_one_error(
    part: int, full: bool, model: Path, tmp_path: Path, fault: Fault
) -> None:
    """Tenths of the whole, so that several cores share it."""
    num_files = 2_200 if full else 110
    good = seeds()
    files = []
    for number in range(part, num_files, NUM_PARTS):
        kind, ending, data = mutant(number, good)
        path = tmp_path / f"mutant{number}.{ending}"
        path.write_bytes(data)
        files.append((kind, str(path)))
    (tmp_path / "out").mkdir()
    outcomes = judged(files, str(model), tmp_path)
    faults = [line for line in outcomes if "fault" in line]
    for kind in KINDS:
        of_kind = [line for line in outcomes if line["kind"] == kind]
        if of_kind:
            fault(f"audio: {kind}", len(of_kind), sum("fault" in line for line in of_kind))
    assert len(outcomes) == len(files)
    assert not faults, "\n".join(f"{line['kind']}, {line['end']}: {line['fault']}" for line in faults)
    ways = Counter((line["audio"], line["infer"], line["restore"]) for line in outcomes)
    assert len(ways) > 1, "some are heard and some refused, or the mutants are all alike"


def judged(files: list[tuple[str, str]], model: str, folder: Path) -> list[dict[str, str]]:
    """What became of each file; one that takes its process down (crash, hang) is a fault, and the rest go on."""
    outcomes: list[dict[str, str]] = []
    report = folder / "report.jsonl"
    while len(outcomes) < len(files):
        report.unlink(missing_ok=True)
        rest = files[len(outcomes) :]
        process = warm_processes().Process(
            target=hostile_child.examine, args=(rest, model, str(folder / "out"), str(report))
        )
        process.start()
        process.join(hostile_child.FILE_SECONDS * len(rest) + 60)
        process.kill()
        process.join()
        lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
        outcomes += [line for line in lines if "end" in line]
        if lines and "begin" in lines[-1]:
            fall = {-14: "hangs", -11: "crashes", -9: "killed"}.get(process.exitcode or 0, f"exit {process.exitcode}")
            outcomes.append({"end": lines[-1]["begin"], "kind": lines[-1]["kind"], "fault": fall})
        assert lines, f"the process ended before its first file: {process.exitcode}"
    return outcomes

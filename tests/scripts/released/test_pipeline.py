"""The pipeline is a list of commands that exist, shown in the README, and skipped where their results do."""

import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from scripts.released import pipeline
from scripts.released.pipeline import QUICK, Pipeline, Scale, Step, option
from upscale.errors import UserError
from upscale.restore import Restorer

ROOT = Path(__file__).parents[3]
STAGES = [
    *("coarse", "fine", "filters", "repetition_mixer"),
    *("band_envelope", "stereo_correlation", "log_magnitude"),
]


def commands(work: Path, music: Path | None = None, val: Path | None = None, **options: object) -> list[list[str]]:
    return [shlex.split(step.command) for step in Pipeline(work, music, val, **options).steps()]  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [pipeline.WHOLE, QUICK])
def test_every_command_of_the_pipeline_exists(scale: pipeline.Scale) -> None:
    for words in commands(Path("work"), scale=scale):
        assert words[0] == "python"
        if words[1] == "-m":
            assert find_spec(words[2]), words
        else:
            assert (ROOT / words[1]).is_file(), words
        for word in words:
            name, _, experiment = word.partition("experiment=")
            assert name or (ROOT / "conf" / "experiment" / f"{experiment}.yaml").is_file(), word


def test_stages_are_trained_in_an_order_in_which_each_has_what_it_starts_from() -> None:
    trained: list[str] = []
    for words in commands(Path("work"), Path("songs"), Path("val")):
        for word in words[2:]:
            if "checkpoints/last.ckpt" in word:
                assert word.split("/")[-3] in trained, words
        if words[1] == "train.py":
            trained.append(words[2].removeprefix("experiment=released/"))
    assert trained == STAGES


def test_the_readme_shows_the_commands_that_run() -> None:
    text = (ROOT / "scripts" / "released" / "README.md").read_text(encoding="utf-8")
    shown = text.split("```sh\n")[1].split("```")[0].replace("\\\n", " ").splitlines()
    assert [shlex.split(line) for line in shown] == commands(Path("data/released"), Path("songs"), Path("val"))


def test_an_interrupted_stage_goes_on_and_a_finished_one_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def coarse() -> Step:
        return next(step for step in Pipeline(tmp_path, Path("songs"), None).steps() if "runs/coarse" in step.command)

    assert "experiment=released/coarse" in coarse().command
    checkpoint = tmp_path / "runs" / "coarse" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert coarse().command == f"python train.py resume={tmp_path}/runs/coarse"
    (tmp_path / "runs" / "coarse" / "result.json").touch()
    pipeline.run_step(coarse())
    assert capsys.readouterr().out.startswith("done before: python train.py experiment=released/coarse")


def test_a_command_that_fails_ends_the_pipeline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stopped with status 3: python -c"):
        pipeline.run_step(Step("python -c 'raise SystemExit(3)'"))


@pytest.mark.parametrize(("path", "word"), [("a/b-1.c", "data=a/b-1.c"), ("my songs, live", 'data="my songs, live"')])
def test_a_folder_is_named_as_hydra_reads_it(path: str, word: str) -> None:
    assert shlex.split(option("data", Path(path))) == [word]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "name a folder of held-out FLAC files"), (["--val", "nowhere"], "nowhere holds no .flac file")],
)
def test_a_missing_folder_is_named(monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.setattr("sys.argv", ["pipeline", *arguments])
    with pytest.raises(UserError, match=message):
        pipeline.main()


@pytest.mark.slow
def test_the_whole_pipeline_ends_in_two_bundles_that_restore(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From songs that the program composes to the cards, two steps a stage."""
    scale = Scale(
        pieces=12,
        repetitions="--seconds 10 --count 4",
        training="trainer.max_steps=2 scheduler.scheduler.warmup_steps=1 data.num_batches=2 data.num_val_batches=1 "
        "data.num_workers=0",
        evaluation="'bitrates=[64]' excerpt_seconds=2 'visqol_bitrates=[64]' visqol_seconds=2 pictures=false",
        composed=3,
        composed_seconds=12.0,
    )
    for step in Pipeline(tmp_path, None, None, scale).steps():
        pipeline.run_step(step)
    wav = 0.1 * np.random.default_rng(0).standard_normal((2, 88_200)).astype(np.float32)
    for name in ("fidelity", "perceptual"):
        bundle = tmp_path / "bundles" / name
        assert np.isfinite(Restorer.load(bundle, device="cpu")(wav, 44_100, bitrate=64)).all()
        card = (bundle / "card.md").read_text(encoding="utf-8")
        assert "python train.py experiment=released/coarse" in card and "| SI-SDR | 64 |" in card
    capfd.readouterr()
    trained = [step for step in Pipeline(tmp_path, None, None, scale).steps() if step.result is not None]
    for step in trained:
        pipeline.run_step(step)
    printed = capfd.readouterr().out
    assert printed.count("done before: ") == len(trained) == len(STAGES) + 2

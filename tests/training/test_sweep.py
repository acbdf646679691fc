"""Sweeps: presets, launchers, and a summary that is there whatever happens."""

import csv
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from upscale.training.sweep_summary import read_runs, update_summary

APP = Path(__file__).with_name("fake_train.py")


def sweep(folder: Path, *overrides: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(APP), *overrides, f"hydra.sweep.dir={folder}"]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder.parent, check=False)
    assert done.returncode == status, done.stderr
    return done


def summary(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def leave_run(folder: Path, overrides: list[str], result: dict[str, Any] | None = None) -> None:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    if result is not None:
        (folder / "result.json").write_text(json.dumps({"monitor": "val/loss", "best": 0.5, **result}))


def test_sweep_with_a_failed_run_goes_on_and_is_summarised(tmp_path: Path):
    done = sweep(tmp_path / "s", "-m", "codec.bitrates=[64],[96],[128]", status=1)
    assert "error: no music | at 96" in done.stderr and "Traceback" not in done.stderr
    lines = summary(tmp_path / "s")
    assert [line["codec.bitrates"] for line in lines] == ["[64]", "[96]", "[128]"]
    assert [line["status"].split(":")[0] for line in lines] == ["done", "failed", "done"]
    assert lines[1]["status"] == "failed: UserError: no music | at 96"
    assert (lines[0]["64"], lines[0]["128"], lines[2]["64"]) == ("+0.000", "+0.640", "-0.640")
    assert lines[0]["best val/loss"] == "0.001" and lines[0]["SDR gain"] == "+0.500"
    markdown = (tmp_path / "s" / "summary.md").read_text()
    assert "2 of 3 runs done" in markdown and "[1](1/)" in markdown and "no music \\| at 96" in markdown
    assert (tmp_path / "s" / "summary.png").stat().st_size > 5_000
    assert not [path for path in (tmp_path / "s").iterdir() if path.name.startswith(".")]


def test_preset_bitrates_needs_no_flag_and_prints_the_table(tmp_path: Path):
    done = sweep(tmp_path / "s", "sweep=bitrates", "codec.bitrates=[64],[128]")
    assert [line["codec.bitrates"] for line in summary(tmp_path / "s")] == ["[64]", "[128]"]
    assert "2 runs in" in done.stdout and "summary.md" in done.stdout


@pytest.mark.slow
def test_preset_wavelets_runs_in_parallel(tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep(tmp_path / "s", "sweep=wavelets", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    lines = summary(tmp_path / "s")
    assert [line["model.wavelet"] for line in lines] == ["db2", "db4", "db8", "sym8", "coif3"]
    assert {line["status"] for line in lines} == {"done"}


@pytest.mark.slow
def test_preset_optuna_searches_in_memory(tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    sweep(tmp_path / "s", "sweep=optuna", "hydra.sweeper.n_trials=3")
    best = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())
    lines = summary(tmp_path / "s")
    rates = [float(line["optimizer.lr"]) for line in lines]
    assert len(set(rates)) == 3 and min(rates) == pytest.approx(best["best_value"])
    assert all(int(line["data.batch_size"]) in (4, 8, 16, 32) for line in lines)


@pytest.mark.slow
def test_sweep_through_submitit_runs_locally(tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    sweep(tmp_path / "s", "-m", "codec.bitrates=[64],[96],[128]", "hydra/launcher=submitit_local", status=1)
    assert [line["status"].split(":")[0] for line in summary(tmp_path / "s")] == ["done", "failed", "done"]


def test_summary_of_a_killed_sweep_shows_its_finished_runs(tmp_path: Path):
    leave_run(tmp_path / "0", ["seed=1", "model=a"], {"best_metrics": {"val/si_sdr_gain/64": 0.1}})
    leave_run(tmp_path / "1", ["seed=1", "model=b"])
    leave_run(tmp_path / "10", ["seed=1", "model=c"])
    leave_run(tmp_path / "2", ["seed=1", "model=d"], {"best": None, "best_metrics": {}})
    runs = update_summary(tmp_path)
    assert [run.folder.name for run in runs] == ["0", "1", "2", "10"]
    lines = summary(tmp_path)
    assert [line["status"] for line in lines] == ["done", "unfinished", "done", "unfinished"]
    assert "model" in lines[0] and "seed" not in lines[0], "only what was varied"


def test_summary_of_one_run_shows_all_its_settings(tmp_path: Path):
    leave_run(tmp_path / "0", ["+seed=1", "model=a"], {"best_metrics": {}})
    update_summary(tmp_path)
    assert summary(tmp_path)[0]["seed"] == "1" and summary(tmp_path)[0]["model"] == "a"


def test_summary_holds_a_job_that_ends_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Parallel jobs: what one of them wrote before another ended must not stay the last word."""
    from upscale.training import sweep_summary

    leave_run(tmp_path / "0", ["model=a"], {"best_metrics": {}})
    write = sweep_summary._write_files

    def write_then_end(runs: Any, folder: Path) -> None:
        write(runs, folder)
        if not (tmp_path / "1").exists():
            leave_run(tmp_path / "1", ["model=b"], {"best_metrics": {}})

    monkeypatch.setattr(sweep_summary, "_write_files", write_then_end)
    update_summary(tmp_path)
    assert len(summary(tmp_path)) == len(read_runs(tmp_path)) == 2


def test_plot_with_a_long_name_leaves_room_for_the_curves(tmp_path: Path):
    """Until the second run begins, all overrides are the first one's name."""
    from upscale.training.sweep_plot import draw_sweep

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_sweep(["model=wavelet_unet " * 20, "b" * 300], [{64: 0.1, 128: 0.2}, {}], tmp_path / "summary.png")
    assert (tmp_path / "summary.png").stat().st_size > 5_000

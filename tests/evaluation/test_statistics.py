"""The table's arithmetic: means over songs, bootstrap intervals, shares, and what is left out."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from upscale.evaluation.results import Row, read_csv, write_csv
from upscale.evaluation.statistics import bootstrap_interval, summarise, summarise_kinds

ROW = Row(
    song="a", clip="a", codec="mp3", bitrate=64, metric="si_sdr", unit="dB", better="higher", do_nothing=10.0,
    level=10.25, restored=11.0, improvement=1.0, level_improvement=0.25, cutoff_hz=11_000.0, level_gain_db=0.4,
    length_difference=0, output_channels=2, channels=2, sample_rate=44_100, path="a, b.wav", start=0, num_samples=9,
    mode="cbr", quality=5, stereo="joint", system="model", model="m",
)  # fmt: skip


def row(song: str, improvement: float, clip: str = "", **changes: Any) -> Row:
    return replace(ROW, song=song, clip=clip or song, restored=10 + improvement, improvement=improvement, **changes)


def test_bootstrap_interval_is_scipys():
    values = np.random.default_rng(1).gamma(2.0, size=(40, 1))
    low, high = bootstrap_interval(values, seed=3)
    expected = scipy.stats.bootstrap((values[:, 0],), np.mean, method="percentile", rng=5).confidence_interval
    assert [low[0], high[0]] == pytest.approx([expected.low, expected.high], abs=0.03)
    assert np.array_equal(bootstrap_interval(values, seed=3), (low, high)), "seeded"
    assert not np.array_equal(bootstrap_interval(values, seed=4), (low, high))


def test_clips_of_a_song_count_once():
    rows = [row("a", 1.0, clip="a1"), row("a", 3.0, clip="a2"), row("b", -1.0), row("c", 0.0)]
    (summary,) = summarise(rows)
    assert summary.num_songs == 3
    assert summary.improvement == pytest.approx((2 - 1 + 0) / 3)
    assert summary.share_better == pytest.approx(1 / 3), "no change is no improvement"


def test_the_worst_song_and_the_share_that_got_worse_stand_beside_the_mean():
    rows = [row("a", 3.0), row("b", -0.5), row("b", -1.5, clip="b2"), row("c", 0.0), row("d", math.nan)]
    (summary,) = summarise(rows)
    assert (summary.worst_song, summary.worst) == ("b", -1.0)
    assert (summary.share_better, summary.share_worse) == pytest.approx((1 / 3, 1 / 3))


def test_kinds_are_summarised_apart():
    rows = [row("a", 1.0, kind="solo"), row("b", 2.0, kind="band"), row("c", 4.0, kind="band"), row("d", 9.0)]
    means = {kind: lines[0].improvement for kind, lines in summarise_kinds(rows).items()}
    assert list(means.items()) == [("band", 3.0), ("solo", 1.0)]


def test_a_metric_may_be_missing_at_a_setting():
    lines = summarise([row("a", 1.0), row("a", 1.0, bitrate=128), row("a", 2.0, metric="visqol")])
    assert [(line.metric, line.spec.bitrate) for line in lines] == [("si_sdr", 64), ("si_sdr", 128), ("visqol", 64)]


def test_undefined_songs_are_left_out_and_counted():
    rows = [row("a", 1.0), row("b", math.nan), row("c", 2.0), row("c", math.nan, clip="c2")]
    (summary,) = summarise(rows)
    assert (summary.num_songs, summary.num_undefined, summary.improvement) == (2, 1, 1.5)


def test_one_song_has_no_interval():
    (summary,) = summarise([row("a", 1.0)])
    assert summary.improvement == 1 and math.isnan(summary.improvement_low) and math.isnan(summary.improvement_high)


def test_nothing_defined_gives_no_figures():
    (summary,) = summarise([row("a", math.nan), row("b", math.nan)])
    assert math.isnan(summary.improvement) and math.isnan(summary.share_better) and summary.verdict == ""


@pytest.mark.parametrize(
    ("improvement", "verdict"),
    [(-0.01, "worse than nothing"), (0.0, ""), (0.2, "no better than level"), (0.3, "")],
)
def test_verdicts(improvement: float, verdict: str):
    (summary,) = summarise([row("a", improvement), row("b", improvement)])
    assert summary.verdict == verdict


def test_lines_keep_the_order_of_metrics_and_settings():
    rows = [row("a", 1.0, bitrate=bitrate, metric=metric) for metric in ("sdr", "lsd") for bitrate in (128, 64)]
    assert [(line.metric, line.spec.bitrate) for line in summarise(rows)] == [
        ("sdr", 128),
        ("sdr", 64),
        ("lsd", 128),
        ("lsd", 64),
    ]


def test_a_csv_of_an_older_version_is_read(tmp_path: Path):
    write_csv([ROW], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        old = [{name: value for name, value in values.items() if name not in ("bitrate_known", "kind")}
               for values in csv.DictReader(file)]  # fmt: skip
    with (tmp_path / "old.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, old[0])
        writer.writeheader()
        writer.writerows(old)
    assert read_csv(tmp_path / "old.csv") == [ROW]


def test_csv_returns_every_bit(tmp_path: Path):
    rows = [row("a", 1 / 3), row('b "quoted", é', math.pi, cutoff_hz=1e-17, bitrate_known=False, kind="solo")]
    write_csv(rows, tmp_path / "results.csv")
    assert read_csv(tmp_path / "results.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]

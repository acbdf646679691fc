"""What is drawn, that it can be replayed, and what is refused when the configuration is composed."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from upscale.codec import CODECS, MP3_BITRATES, CodecSampler, CodecSpec
from upscale.codec.lame import VBR_BITRATES
from upscale.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "conf/codec").glob("*.yaml"))


def test_draw_depends_on_the_seed_alone() -> None:
    sampler = CodecSampler(modes=["cbr", "vbr"], stereo=["joint", "plain"], double_probability=0.5)
    assert [sampler.draw(seed) for seed in range(50)] == [sampler.draw(seed) for seed in range(50)]


def test_draw_takes_bitrates_equally_often() -> None:
    counts = Counter(CodecSampler(bitrates=[64, 128, 192]).draw(seed).bitrate for seed in range(3_000))
    assert set(counts) == {64, 128, 192} and min(counts.values()) > 900


def test_draw_of_vbr_takes_averages_within_the_range() -> None:
    sampler = CodecSampler(bitrates=[96, 192], modes=["vbr"])
    drawn = {sampler.draw(seed).bitrate for seed in range(200)}
    assert drawn == {bitrate for bitrate in VBR_BITRATES if 96 <= bitrate <= 192}


def test_draw_keeps_the_share_of_double_encodes() -> None:
    specs = [CodecSampler(double_probability=0.25).draw(seed) for seed in range(2_000)]
    double = [spec for spec in specs if spec.first_bitrate is not None]
    assert len(double) == pytest.approx(500, abs=80)
    assert len({spec.first_offset for spec in double}) > 100


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_draw_keeps_a_given_bitrate(path: Path) -> None:
    sampler = instantiate(OmegaConf.load(path))
    for bitrate in sampler.bitrates:
        assert {sampler.draw(seed, bitrate=bitrate).bitrate for seed in range(50)} == {bitrate}
    drawn = {sampler.draw(seed, bitrate=128) for seed in range(100)}
    assert drawn == {sampler.draw(seed, bitrate=128) for seed in range(100)}
    assert len(drawn) > 10 if path.stem == "mp3_wide" else len(drawn) == 1


def test_draw_refuses_a_bitrate_that_no_mode_has() -> None:
    with pytest.raises(UserError, match="none of them has a bitrate of 128"):
        CodecSampler(modes=["vbr"]).draw(0, bitrate=128)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_instantiates_and_draws(path: Path) -> None:
    sampler = instantiate(OmegaConf.load(path))
    specs = [sampler.draw(seed) for seed in range(300)]
    assert {spec.codec for spec in specs} == {"mp3" if path.stem == "mp3_wide" else path.stem}
    assert all(type(spec.bitrate) is int for spec in specs)
    if path.stem == "mp3":
        assert {spec.bitrate for spec in specs} == {64, 96, 128, 160, 192, 256}  # the original's
    if path.stem == "mp3_wide":
        assert {spec.mode for spec in specs} == {"cbr", "abr", "vbr"}
        assert set(MP3_BITRATES) <= {spec.bitrate for spec in specs}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"bitrates": [128, 24]}, "24"),
        ({"bitrates": [128.5]}, "128.5"),
        ({"bitrates": ["fast"]}, "fast"),
        ({"bitrates": 96}, r"codec.bitrates=\[64,128\]"),
        ({"bitrates": []}, "not a list"),
        ({"codec": "opus", "bitrates": [32]}, "opus has no bitrate 32"),
        ({"codec": "vorbis", "bitrates": [48]}, "vorbis has no bitrate 48"),
        ({"codec": "mp4"}, "mp4"),
        ({"modes": ["best"]}, "best"),
        ({"bitrates": [32], "modes": ["vbr"]}, "no VBR level"),
        ({"qualities": [10]}, "10"),
        ({"stereo": ["both"]}, "both"),
        ({"codec": "aac", "modes": ["abr"]}, "aac"),
        ({"double_probability": 1.5}, "1.5"),
        ({"codec": "aac", "double_probability": 0.5}, "aac"),
    ],
)
def test_sampler_refuses_unknown_values_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named) as refused:
        CodecSampler(**arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("codec", CODECS)
def test_spec_takes_every_listed_bitrate(codec: str) -> None:
    bitrates = CODECS[codec].bitrates
    assert [CodecSpec(codec, bitrate).bitrate for bitrate in bitrates] == list(bitrates)

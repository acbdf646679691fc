"""The Ray engine gives what the local one gives, and a killed worker's job is done again."""

import hashlib
import os
import signal
import sys
from pathlib import Path

import pytest

from upscale.cli import main
from upscale.codec import CodecSpec, encode
from upscale.corpus.demo import compose
from upscale.errors import UserError
from upscale.shards.prepare import prepare

SETTINGS = {
    "num_demo_songs": 4,
    "demo_seconds": 2.0,
    "segment_seconds": 0.5,
    "min_seconds": 0.5,
    "clips_per_shard": 3,
    "seed": 4,
    "workers": 2,
}


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fragile(job: tuple[int, str]) -> tuple[int, int]:
    """The third job kills its worker the first time."""
    number, folder = job
    once = Path(folder, "killed")
    if number == 2 and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number, os.getpid()


def refuse(item: int) -> int:
    raise UserError(f"item {item} is not for us")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Three songs, one of them in a folder, and a file that is none."""
    folder = tmp_path / "music"
    (folder / "album").mkdir(parents=True)
    for number, name in enumerate(("one.mp3", "two.mp3", "album/three.mp3")):
        (folder / name).write_bytes(encode(compose(seed=number, seconds=1.0), CodecSpec(bitrate=64)))
    (folder / "broken.mp3").write_bytes(b"no music")
    return folder


def restore(music: Path, out: Path, *options: str) -> None:
    assert main(["restore", str(music), "--out", str(out), "--force", "--device", "cpu", *options]) == 1, (
        "one is broken"
    )


@pytest.mark.slow
def test_ray(music: Path, tmp_path: Path) -> None:
    """One cluster of two workers for all of it: starting one takes longer than the rest."""
    ray = pytest.importorskip("ray")
    from upscale.ray_engine import run_on_ray

    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    try:
        jobs = [(number, str(tmp_path)) for number in range(8)]
        done = dict(run_on_ray(fragile, jobs))
        assert {job[0]: result[0] for job, result in done.items()} == {number: number**2 for number in range(8)}
        assert (tmp_path / "killed").exists() and len({pid for _, pid in done.values()}) >= 2
        with pytest.raises(UserError, match=r"^item 1 is not for us$"):
            list(run_on_ray(refuse, [1]))
        prepare(tmp_path / "ray", engine="ray", **SETTINGS)
        restore(music, tmp_path / "restored_ray", "--engine", "ray")
    finally:
        ray.shutdown()
    prepare(tmp_path / "local", **SETTINGS)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "local")
    restore(music, tmp_path / "restored_local")
    assert len(hashes(tmp_path / "restored_ray")) == 3
    assert hashes(tmp_path / "restored_ray") == hashes(tmp_path / "restored_local")


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"upscalemp3\[ray\]"):
        prepare(tmp_path, engine="ray", **SETTINGS)


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="engine=spark is unknown; use local or ray"):
        prepare(tmp_path, engine="spark", **SETTINGS)

"""Exported models: equal to PyTorch at any batch and length, small when asked, and run without PyTorch."""

import importlib
import importlib.metadata
import os
import subprocess
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import nn

from upscale import audio
from upscale.export import export_onnx, to_float16, to_int8_dynamic, to_int8_static
from upscale.export.compress import QUANTISED
from upscale.export.graph import ConvolutionStft
from upscale.models import SpectralCascade, SpectralFill, SpectralFilter, WaveletUNet
from upscale.models.layers.stft import TightStft
from upscale.restore import Restorer
from upscale.restore.bundle import save_bundle

SMALL = {"width": 8, "num_blocks": 2, "frame_width": 16, "average_frames": 3, "window_size": 512}
MODELS = {
    "filter": lambda: SpectralCascade(**SMALL, fine_window_size=1024, brief_window_size=128),
    "fill": lambda: SpectralFill(
        **SMALL, fine_window_size=1024, level_width=8, level_frame_width=16, num_iterations=2, period=4096
    ),
    "wavelet": lambda: WaveletUNet(channels=1, num_layers=3, num_filters=16),
}


def _restorer(name: str) -> Restorer:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    return Restorer.from_module(model, device="cpu", name=name, bitrates=(64, 128))


def _noise(*shape: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(shape).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("window_size", "num_samples"), [(512, 1), (512, 255), (512, 256), (512, 1000), (512, 5121), (8192, 9000)]
)
@pytest.mark.parametrize("overlap", [2, 4])
def test_fourier_transform_by_convolution(window_size, num_samples, overlap):
    plain = TightStft(window_size, overlap)
    exported = ConvolutionStft(plain)
    wav = torch.from_numpy(_noise(2, 2, num_samples))
    for part, expected in zip(exported.analyse(wav), plain.analyse(wav), strict=True):
        torch.testing.assert_close(part, expected, atol=2e-5 * window_size / 512, rtol=0)
    back = exported.synthesise(*exported.analyse(wav), num_samples=num_samples)
    torch.testing.assert_close(back, wav, atol=1e-6 if window_size == 512 else 5e-6, rtol=0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(_restorer("filter"), tmp_path_factory.mktemp("onnx") / "filter.onnx")


def _assert_parity(path: Path, restorer: Restorer) -> None:
    loaded = Restorer.load(path, device="cpu")
    assert loaded.traits == restorer.traits
    channels = restorer.traits.channels
    for batch, length in ((1, 1), (1, 777), (3, 5_000), (2, 44_101)):
        wav = _noise(batch, channels, length)
        for bitrate in (None, np.full(batch, 96, dtype=np.float32)):
            difference = np.abs(loaded.backend(wav, bitrate) - restorer.backend(wav, bitrate)).max()
            assert difference < 1e-4, (batch, length, bitrate, difference)


@pytest.mark.slow
def test_parity_at_any_batch_and_length(exported):
    _assert_parity(exported, _restorer("filter").low_latency())
    wav = _noise(2, 60_000)
    loaded = Restorer.load(exported, device="cpu")
    np.testing.assert_allclose(loaded(wav, 48_000), _restorer("filter")(wav, 48_000), atol=1e-4)


def _float32_layers(path: Path) -> list[str]:
    """Convolutions and products whose weights are stored in full."""
    graph = onnx.load(path).graph
    weights = {one.name for one in graph.initializer if one.data_type == TensorProto.FLOAT}
    return [node.name for node in graph.node if node.op_type in QUANTISED and node.input[1] in weights]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fill", "wavelet"])
def test_parity_of_the_other_models(tmp_path, name, capfd):
    exported = export_onnx(_restorer(name), tmp_path / "m.onnx")
    capfd.readouterr()
    _assert_parity(exported, _restorer(name).low_latency())
    assert capfd.readouterr() == ("", ""), "what onnxruntime makes of the graph is nothing to the user"
    module = _restorer(name).backend.model
    layers = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d))]
    assert len(_float32_layers(exported)) >= len(layers) > 0
    wav = _noise(1, module.channels, 44_100)
    for path in (
        to_int8_dynamic(exported, tmp_path / "dynamic.onnx"),
        to_int8_static(exported, tmp_path / "static.onnx", [(wav, 96.0)]),
    ):
        assert not _float32_layers(path), path.name


@pytest.mark.slow
def test_what_looks_for_repetitions_stays_behind(exported, tmp_path):
    torch.manual_seed(0)
    plain = _restorer("filter")
    with_repeats = SpectralCascade(**SMALL, fine_window_size=1024, brief_window_size=128, num_matches=1)
    with_repeats.load_state_dict(plain.backend.model.state_dict(), strict=False)
    path = export_onnx(
        Restorer.from_module(with_repeats, device="cpu", name="filter", bitrates=(64, 128)), tmp_path / "m.onnx"
    )
    assert Restorer.load(path, device="cpu").traits == plain.low_latency().traits
    assert with_repeats.repeat is not None
    wav = _noise(1, 2, 20_000)
    np.testing.assert_allclose(Restorer.load(path).backend(wav, None), plain.backend(wav, None), atol=1e-4)


@pytest.mark.slow
def test_smaller_files_stay_close(exported, tmp_path):
    wav = _noise(1, 2, 44_100)
    reference = Restorer.load(exported, device="cpu")(wav, 44_100, bitrate=96)
    change = np.square(reference - wav).mean()
    for path, tolerance_db in (
        (to_float16(exported, tmp_path / "half.onnx"), -40),
        (to_int8_dynamic(exported, tmp_path / "dynamic.onnx"), -15),
        (to_int8_static(exported, tmp_path / "static.onnx", [(wav, 96.0)]), -5),
    ):
        if path.stem != "static":  # whose scales outweigh what so small a model saves
            assert path.stat().st_size < exported.stat().st_size
        error = np.square(Restorer.load(path, device="cpu")(wav, 44_100, bitrate=96) - reference).mean()
        assert 10 * np.log10(error / change) < tolerance_db, path.name


# All that restoring with an exported model needs, as docs/restoring.md says.
NEEDED = ("numpy", "scipy", "soundfile", "av", "mutagen", "pyyaml", "rich", "onnxruntime")


def _with_requirements(names: Iterable[str]) -> set[str]:
    """Those packages, what they require, and so on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            requirements = map(Requirement, importlib.metadata.requires(name) or ())
            waiting += [one.name for one in requirements if not one.marker or one.marker.evaluate({"extra": ""})]
    return found


def _bare_environment(folder: Path) -> Path:
    """A new Python environment that holds those packages and this project, and nothing else; made without a net."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}, scheme="venv"))
    for name in _with_requirements(NEEDED):
        files = importlib.metadata.files(name) or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            (site / top).symlink_to(importlib.metadata.distribution(name).locate_file(top))
    (site / "project.pth").write_text(f"{Path(__file__).parents[2]}\n")
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_runs_where_torch_is_not_installed(exported, tmp_path):
    """In an environment of its own: arrays at two rates, and `upscale restore` on a file."""
    python = _bare_environment(tmp_path / "bare")

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [str(python), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    absent = run("-c", "import torch")
    assert "No module named 'torch'" in absent.stderr
    script = (
        "import sys, numpy as np\n"
        "from upscale.restore import Restorer\n"
        "restorer, wav = Restorer.load(sys.argv[1]), np.load(sys.argv[2])\n"
        "np.save(sys.argv[3], np.stack([restorer(wav, 44100), restorer(wav, 48000)]))\n"
    )
    wav = _noise(2, 30_000)
    np.save(tmp_path / "in.npy", wav)
    done = run("-c", script, exported, tmp_path / "in.npy", tmp_path / "out.npy")
    assert done.returncode == 0, done.stderr
    reference = _restorer("filter")
    expected = np.stack([reference(wav, 44_100), reference(wav, 48_000)])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-4)
    audio.write(tmp_path / "in.flac", wav, 44_100)
    done = run("-m", "upscale.cli", "restore", "in.flac", "--model", exported, "--force")
    assert done.returncode == 0, done.stdout + done.stderr
    assert audio.probe(tmp_path / "in.restored.flac").num_samples == 30_000


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/export_onnx.py"""
    return importlib.import_module("scripts.export_onnx")


@pytest.mark.slow
def test_the_script_measures_every_form(script, tmp_path, monkeypatch):
    torch.manual_seed(0)
    bundle = save_bundle(tmp_path / "tiny", SpectralFilter(**SMALL), arguments=SMALL, bitrates=[64, 128])
    monkeypatch.setattr(script, "CLIP_SECONDS", 1.0)
    rows = {row["model"]: row for row in script.export(str(bundle), tmp_path / "out")}
    assert list(rows) == ["PyTorch float32", "ONNX float32", "ONNX float16", "int8 dynamic", "int8 static"]
    reference = rows["PyTorch float32"]["restored_si_sdr"]
    assert rows["ONNX float32"]["restored_si_sdr"] == pytest.approx(reference, abs=0.002)
    assert all(row["times_real_time"] > 0 for row in rows.values())
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["tiny-float16.onnx", "tiny-int8.onnx", "tiny.json", "tiny.md", "tiny.onnx"]


@pytest.mark.parametrize(("loss", "offered"), [(0.002, True), (0.11, False)])
def test_no_int8_file_that_loses_more_than_a_tenth_of_a_decibel_is_offered(script, tmp_path, loss, offered):
    paths = {name: tmp_path / name for name in ("int8 dynamic", "int8 static")}
    for name, path in paths.items():
        path.write_text(name)
    rows = [
        {"model": "int8 static", "restored_si_sdr": 18.2},
        {"model": "int8 dynamic", "restored_si_sdr": 18.4 - loss},
    ]
    script._keep_best(rows, paths, reference={"restored_si_sdr": 18.4}, target=tmp_path / "int8.onnx")
    assert [path.name for path in tmp_path.iterdir()] == (["int8.onnx"] if offered else [])
    assert not offered or (tmp_path / "int8.onnx").read_text() == "int8 dynamic"


def test_a_foreign_onnx_file_is_refused(tmp_path):
    from upscale.errors import UserError

    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="not an ONNX model"):
        Restorer.load(tmp_path / "x.onnx", device="cpu")

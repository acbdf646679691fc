"""Exported models: equal to PyTorch at any batch and length, small when asked, and run without PyTorch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from upscale import audio
from upscale.export import export_onnx, to_float16, to_int8_dynamic, to_int8_static
from upscale.export.graph import ConvolutionStft
from upscale.models import SpectralFill, SpectralFilter, WaveletUNet
from upscale.models.stft import HalfOverlapStft
from upscale.restore import Restorer

SMALL = {"width": 8, "num_blocks": 2, "frame_width": 16, "average_frames": 3, "window_size": 512}
MODELS = {
    "filter": lambda: SpectralFilter(**SMALL),
    "fill": lambda: SpectralFill(**SMALL, fill_width=8, period=4096),
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


@pytest.mark.parametrize("num_samples", [1, 255, 256, 1000, 5121])
def test_fourier_transform_by_convolution(num_samples):
    plain = HalfOverlapStft(512)
    exported = ConvolutionStft(plain)
    wav = torch.from_numpy(_noise(2, 2, num_samples))
    for part, expected in zip(exported.analyse(wav), plain.analyse(wav), strict=True):
        torch.testing.assert_close(part, expected, atol=2e-5, rtol=0)
    back = exported.synthesise(*exported.analyse(wav), num_samples=num_samples)
    torch.testing.assert_close(back, wav, atol=1e-6, rtol=0)


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
    _assert_parity(exported, _restorer("filter"))
    wav = _noise(2, 60_000)
    loaded = Restorer.load(exported, device="cpu")
    np.testing.assert_allclose(loaded(wav, 48_000), _restorer("filter")(wav, 48_000), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fill", "wavelet"])
def test_parity_of_the_other_models(tmp_path, name):
    _assert_parity(export_onnx(_restorer(name), tmp_path / "m.onnx"), _restorer(name))


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
        assert path.stat().st_size < exported.stat().st_size
        error = np.square(Restorer.load(path, device="cpu")(wav, 44_100, bitrate=96) - reference).mean()
        assert 10 * np.log10(error / change) < tolerance_db, path.name


@pytest.mark.slow
def test_runs_without_torch(exported, tmp_path):
    """In an interpreter that refuses to import PyTorch: arrays at two rates, and a whole file."""
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'torchaudio', 'lightning', 'hydra'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import numpy as np\n"
        "from upscale.restore import Restorer\n"
        "from upscale.restore.files import restore_file\n"
        "restorer = Restorer.load(sys.argv[1])\n"
        "wav = np.load(sys.argv[2])\n"
        "np.save(sys.argv[3], np.stack([restorer(wav, 44100), restorer(wav, 48000)]))\n"
        "restore_file(restorer, sys.argv[4], sys.argv[5])\n"
        "assert 'torch' not in sys.modules\n"
    )
    wav = _noise(2, 30_000)
    np.save(tmp_path / "in.npy", wav)
    audio.write(tmp_path / "in.flac", wav, 44_100)
    paths = [exported, *(tmp_path / name for name in ("in.npy", "out.npy", "in.flac", "out.flac"))]
    done = subprocess.run([sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = _restorer("filter")
    expected = np.stack([reference(wav, 44_100), reference(wav, 48_000)])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-4)
    assert audio.probe(tmp_path / "out.flac").num_samples == 30_000


def test_a_foreign_onnx_file_is_refused(tmp_path):
    from upscale.errors import UserError

    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="not an ONNX model"):
        Restorer.load(tmp_path / "x.onnx", device="cpu")

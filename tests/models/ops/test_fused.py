"""The kernels for GPUs, run by Triton's interpreter on a CPU, compute what PyTorch's operations compute."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")
from triton.runtime import interpreter

from upscale.models import WaveletUNet
from upscale.models.layers.wavelet import DWT, IDWT, orthogonal_filters
from upscale.models.ops import fused
from upscale.models.ops.cpu_conv import image_conv, pad
from upscale.models.ops.dispatch import analyse, synthesise
from upscale.models.ops.fused import FusedConvNormGelu, FusedGatePair, strided
from upscale.models.ops.fused_transform import FusedAnalyse, FusedSynthesise
from upscale.models.ops.pointwise import plain_gate_pair, plain_norm_gelu

pytestmark = [
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="kernels are compiled, not interpreted"),
]


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Few programs, so that each works on more than one tile."""
    monkeypatch.setattr(fused, "NUM_PROGRAMS", 3)
    monkeypatch.setattr(fused, "TILE", 1024)
    original = interpreter._patch_lang_tensor

    def patched(tensor, scope):  # Triton 3.6 takes int() of an array, which NumPy no longer allows
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def assert_same(output, expected, inputs, direction):
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad(output, inputs, direction, retain_graph=True)
    wanted = torch.autograd.grad(expected, inputs, direction, retain_graph=True)
    for value, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize(
    "batch, length, inputs, outputs, taps",
    [
        (2, 37, 8, 8, 16),
        (3, 40, 16, 16, 16),
        (2, 29, 1, 16, 16),
        (2, 31, 20, 12, 16),
        (2, 30, 32, 16, 1),
        (1, 33, 5, 7, 9),
    ],
)
def test_conv_norm_gelu(batch, length, inputs, outputs, taps):
    torch.manual_seed(0)
    frames, weight = drawn(batch, length, inputs), drawn(outputs, inputs, taps)
    shift, norm_weight, norm_bias = drawn(outputs), drawn(outputs), drawn(outputs)
    values = (frames, weight, shift, norm_weight, norm_bias)
    expected = plain_norm_gelu(image_conv(pad(frames, taps), weight, shift), norm_weight, norm_bias, 1e-3)
    output = FusedConvNormGelu.apply(*values, 1e-3)
    assert_same(output, expected, values, torch.randn_like(expected))
    padded = torch.randn(batch, length + 3, outputs)[:, :length]  # as the gradient of a convolution by blocks is
    assert_same(output, expected, values, padded)


@pytest.mark.parametrize("channels", [8, 16, 20])
@pytest.mark.parametrize("length", [32, 33])
@pytest.mark.parametrize("with_norm", [True, False])
def test_gate_pair(channels, length, with_norm):
    torch.manual_seed(0)
    C = channels
    values = [drawn(2, length, C), drawn(C, C), drawn(C), drawn(2, length, C), drawn(C, C), drawn(C)]
    values += [drawn(2 * C), drawn(2 * C)] if with_norm else []
    arguments = [*values, *(() if with_norm else (None, None)), 1e-3]
    direction = torch.randn(2, length + 2, 2 * C)[:, :length]
    assert_same(FusedGatePair.apply(*arguments), plain_gate_pair(*arguments), values, direction)


@pytest.mark.parametrize("wavelet", ["haar", "db4"])
@pytest.mark.parametrize("length, channels", [(37, 4), (64, 6), (101, 16)])
def test_transforms(wavelet, length, channels):
    torch.manual_seed(0)
    filters = orthogonal_filters(wavelet).float()
    crop, half = filters.shape[-1] - 2, channels // 2
    frames = drawn(2, length, channels)
    approx, detail = (
        band.transpose(1, 2) for band in analyse(frames.transpose(1, 2), filters, crop, crop + length % 2)
    )
    num_coefficients = approx.shape[1]
    both = FusedAnalyse.apply(frames, filters, crop, num_coefficients)
    expected = torch.stack([approx, detail])
    assert_same(torch.stack(both), expected, (frames,), torch.randn_like(expected))

    bands = drawn(2, num_coefficients, 2 * channels)
    whole = synthesise(bands.transpose(1, 2), filters, crop=crop)[..., :length].transpose(1, 2)
    first, second = FusedSynthesise.apply(bands, filters, crop, length)
    assert first.shape[-1] == half
    assert_same(torch.cat([first, second], dim=-1), whole, (bands,), torch.randn_like(whole))


@pytest.mark.parametrize("length", [36, 101])
def test_the_public_transforms(length, monkeypatch):
    torch.manual_seed(0)
    dwt, idwt = DWT("db4", mode="zero"), IDWT("db4", mode="zero")
    wav = drawn(2, 3, length)
    expected = dwt(wav)
    bands = drawn(*expected.shape)
    wholes = [idwt(bands, length=length), idwt(bands)]
    monkeypatch.setattr(fused, "runs_fused", lambda frames: True)
    assert_same(dwt(wav), expected, (wav,), torch.randn_like(expected))
    for whole, other in zip([idwt(bands, length=length), idwt(bands)], wholes, strict=True):
        assert_same(whole, other, (bands,), torch.randn_like(whole))


def test_a_whole_network(monkeypatch):
    """All of it together: a Wavelet U-Net of two levels, to the last gradient; in bfloat16 no worse than without."""
    torch.manual_seed(0)
    model = WaveletUNet(num_layers=2, num_filters=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    wav = torch.randn(2, 1, 201)

    def run(on: bool, bfloat16: bool = False) -> tuple[Tensor, list[Tensor]]:
        monkeypatch.setattr(fused, "runs_fused", lambda frames: on and frames.dtype in fused.DTYPES)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            output = model(wav).float()
        return output, torch.autograd.grad(output.square().mean(), list(model.parameters()))

    expected, gradients = run(on=False)
    output, found = run(on=True)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    for value, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=2e-3 * float(other.abs().max()))
    errors = [float((run(on, bfloat16=True)[0] - expected).norm()) for on in (True, False)]
    assert errors[0] < 1.3 * errors[1]


def test_rows_between_clips_are_seen_where_only_they_are_left_out():
    frames = torch.randn(3, 10, 4)
    assert strided(frames)[1] == 10
    view, stride = strided(frames[:, :7])
    assert stride == 10 and view.data_ptr() == frames.data_ptr()
    assert strided(frames[:1].expand(3, 10, 4))[1] == 0
    for other in (frames[..., :2], frames.transpose(1, 2), frames[:, ::2]):
        copy, stride = strided(other)
        assert stride == other.shape[1] and copy.is_contiguous()


def test_what_runs_fused():
    frames = torch.randn(1, 8, 4)
    assert not fused.runs_fused(frames)  # a CPU
    assert not fused.runs_fused(torch.empty(1, 8, 4, dtype=torch.float64, device="meta"))


@pytest.mark.slow
def test_every_kernel_compiles_for_gpus():
    """The interpreter takes more than the compiler does."""
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10

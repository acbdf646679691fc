"""The transforms equal PyWavelets and ptwt, conserve energy and reconstruct, at any length."""

import numpy as np
import ptwt
import pytest
import pywt
import torch

from upscale.errors import UserError
from upscale.models.layers.wavelet import DWT, IDWT, reconstruction_penalty
from upscale.models.ops import cpu_wavelet, dispatch

WAVELETS = ["haar", "db4", "db20", "sym8", "coif3"]
LENGTHS = [1, 2, 7, 50, 301, 1000]


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("mode", ["periodization", "zero"])
@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("length", LENGTHS)
def test_equals_pywavelets_and_reconstructs(wavelet, mode, length):
    wav = torch.randn(2, 3, length)
    bands = DWT(wavelet, mode)(wav)
    expected = np.concatenate(pywt.dwt(wav.numpy(), wavelet, mode=mode), axis=1)
    np.testing.assert_allclose(bands.numpy(), expected, atol=1e-10)
    torch.testing.assert_close(IDWT(wavelet, mode)(bands, length=length), wav, atol=1e-9, rtol=0)


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_equals_ptwt(wavelet):
    wav = torch.randn(2, 1, 100)
    approx, detail = ptwt.wavedec(wav, wavelet, level=1, mode="zero")
    torch.testing.assert_close(DWT(wavelet, "zero")(wav), torch.cat([approx, detail], dim=1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("mode", ["periodization", "zero"])
def test_conserves_energy(mode):
    wav = torch.randn(1, 2, 64)
    torch.testing.assert_close(DWT("db4", mode)(wav).square().sum(), wav.square().sum())


def test_channels_last_memory_gives_the_same():
    wav = torch.randn(2, 3, 51)
    last = wav.transpose(1, 2).contiguous().transpose(1, 2)
    bands = DWT("db4", "zero")(wav)
    torch.testing.assert_close(DWT("db4", "zero")(last), bands)
    torch.testing.assert_close(
        IDWT("db4", "zero")(bands.transpose(1, 2).contiguous().transpose(1, 2), length=51), wav, atol=1e-10, rtol=0
    )


@pytest.mark.parametrize("mode", ["periodization", "zero"])
@pytest.mark.parametrize("wavelet", ["haar", "db4", "db20"])
@pytest.mark.parametrize("length", [256, 333, 1000])
def test_signals_in_rows_give_what_the_convolution_gives(monkeypatch, mode, wavelet, length):
    """The form for samples in rows, a few at a time, against the convolution that other layouts take."""
    monkeypatch.setattr(cpu_wavelet, "RUN", 2 * length)
    wav = torch.randn(2, 3, length, requires_grad=True)
    dwt, idwt = DWT(wavelet, mode), IDWT(wavelet, mode)

    def gradients():
        bands = dwt(wav)
        back = idwt(bands, length=length)
        weights = torch.linspace(-1, 1, bands.numel()).view(bands.shape)
        loss = (bands * weights).sum() + (back * back * wav.detach()).sum()
        return bands.detach(), back.detach(), torch.autograd.grad(loss, wav)[0]

    found = gradients()
    monkeypatch.setattr(dispatch, "LONG_ROW", 10**9)
    torch.testing.assert_close(found, gradients(), atol=1e-10, rtol=0)


def test_single_precision_equals_ptwt_to_a_millionth():
    wav = torch.randn(4, 8, 4096, dtype=torch.float32)
    approx, detail = ptwt.wavedec(wav, "db4", level=1, mode="zero")
    found = DWT("db4", "zero").float()(wav)
    torch.testing.assert_close(found, torch.cat([approx, detail], dim=1), atol=1e-6, rtol=1e-6)


def test_learnable_filters_start_at_reconstruction_and_the_penalty_falls():
    dwt, idwt = DWT("db4", learnable=True), IDWT("db4", learnable=True)
    assert reconstruction_penalty(dwt, idwt) < 1e-18
    wav = torch.randn(1, 1, 40)
    torch.testing.assert_close(idwt(dwt(wav)), wav)
    with torch.no_grad():
        for bank in (dwt, idwt):
            bank.filters.add_(0.1 * torch.randn_like(bank.filters))
    before = reconstruction_penalty(dwt, idwt)
    filters = [dwt.filters, idwt.filters]
    for _ in range(50):
        gradients = torch.autograd.grad(reconstruction_penalty(dwt, idwt), filters)
        with torch.no_grad():
            for taps, gradient in zip(filters, gradients, strict=True):
                taps.sub_(0.05 * gradient)
    assert reconstruction_penalty(dwt, idwt) < before / 10


def test_refuses_what_is_no_orthogonal_wavelet():
    with pytest.raises(UserError, match=r"wavelet=bior2\.2 is not orthogonal"):
        DWT("bior2.2")
    with pytest.raises(UserError, match="wavelet=db99"):
        DWT("db99")

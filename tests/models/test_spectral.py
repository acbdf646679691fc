"""The spectral networks: identity at the start, chunks equal the whole, mono stays mono, levels do not matter."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from upscale.metrics import lsd, si_sdr
from upscale.metrics.spectral import POWER_FLOOR, spectrum_blocks
from upscale.models import SpectralCascade, SpectralFill, SpectralFilter, SpectralGain
from upscale.models.layers.moving_average import moving_average
from upscale.models.layers.stft import TightStft, mid_side
from upscale.models.spectral.bypass import QualityBypass
from upscale.models.spectral.log_magnitude import (
    BRIEF_BANDS,
    DILATIONS,
    KERNEL,
    DeepFrameNetwork,
    LogMagnitudePredictor,
)
from upscale.models.spectral_fill import LOUD, noise_carrier

TINY = {"width": 8, "num_blocks": 2, "num_bands": 16, "frame_width": 16, "average_frames": 3}
TINY_CASCADE = {**TINY, "fine_window_size": 4096, "brief_window_size": 256}
TINY_LEVEL = {"level_width": 8, "num_level_blocks": 1, "level_frame_width": 16}
TINY_FILL = {**TINY_CASCADE, **TINY_LEVEL, "num_iterations": 2, "period": 8192}
UNRELATED = torch.zeros(1)  # left and right


def tiny(name: str) -> torch.nn.Module:
    """A small network with random weights everywhere, so that the zero start hides nothing."""
    generator = torch.Generator().manual_seed(0)
    make = {
        "gain": lambda: SpectralGain(num_blocks=2),
        "filter": lambda: SpectralFilter(**TINY),
        "cascade": lambda: SpectralCascade(**TINY_CASCADE),
        "fill": lambda: SpectralFill(**TINY_FILL),
    }
    model = make[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def noise(*shape: int, seed: int = 0, cutoff: float = 16_000) -> torch.Tensor:
    """White noise below `cutoff` Hz, as an MP3 of a middling bitrate has it."""
    spectrum = torch.fft.rfft(0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    spectrum[..., round(cutoff / 44_100 * shape[-1]) + 1 :] = 0
    return torch.fft.irfft(spectrum, n=shape[-1])


@pytest.mark.parametrize("num_samples", [1, 1000, 1024, 44100])
@pytest.mark.parametrize("model", [SpectralGain(), SpectralCascade(**TINY_CASCADE)], ids=["gain", "cascade"])
def test_untrained_is_identity_at_any_length(model: torch.nn.Module, num_samples: int) -> None:
    wav = noise(2, 2, num_samples)
    assert torch.allclose(model(wav), wav, atol=1e-6)


@pytest.mark.parametrize("name", ["gain", "filter", "cascade", "fill"])
def test_a_chunk_with_context_equals_the_whole(name: str) -> None:
    model = tiny(name)
    before = -(-model.context // model.stride) * model.stride
    start = before + model.stride
    stop = start + 5000
    wav = noise(1, 2, stop + model.context + 20_000)
    if name in ("cascade", "fill"):  # the bypass opens within the chunk
        loud = start - (QualityBypass().average_frames - 9) * QualityBypass().stride
        wav[..., :loud] = noise(1, 2, loud, cutoff=22_050)
    with torch.no_grad():
        whole = model(wav)
        chunk = model(wav[..., start - before : stop + model.context])
    assert not torch.allclose(whole[..., start:stop], wav[..., start:stop], atol=1e-3)
    assert torch.allclose(chunk[..., before:][..., :5000], whole[..., start:stop], atol=1e-4)


def test_a_quiet_file_is_filtered_like_a_loud_one() -> None:
    model = tiny("cascade")
    wav = noise(1, 2, 20_000)
    with torch.no_grad():
        assert torch.allclose(model(wav * 1e-2) * 1e2, model(wav), atol=1e-3)


@pytest.mark.parametrize("name", ["cascade", "fill"])
def test_both_channels_alike_stay_alike_and_silence_stays_silent(name: str) -> None:
    model = tiny(name)
    wav = noise(1, 1, 20_000).expand(1, 2, -1)
    with torch.no_grad():
        restored = model(wav)
        silent = model(torch.zeros(1, 2, 9000))
    assert torch.allclose(restored[:, 0], restored[:, 1], atol=1e-5)
    assert silent.abs().max() < 1e-4


@pytest.mark.parametrize("name", ["cascade", "fill"])
def test_an_unknown_bitrate_is_zero_or_none_and_a_known_one_counts(name: str) -> None:
    model = tiny(name)
    wav = noise(2, 2, 9000)
    with torch.no_grad():
        unknown = model(wav)
        assert torch.equal(unknown, model(wav, torch.tensor([0.0, 0.0])))
        assert not torch.allclose(unknown, model(wav, torch.tensor([64.0, 64.0])), atol=1e-5)


@pytest.mark.parametrize("name", ["cascade", "fill"])
def test_what_is_good_already_is_left_alone(name: str) -> None:
    model = tiny(name)
    full, low_passed = noise(1, 2, 40_000, cutoff=22_050), noise(1, 2, 40_000)
    with torch.no_grad():
        assert torch.equal(model(full), full)
        assert torch.equal(model(low_passed, torch.tensor([320.0])), low_passed)
        assert not torch.allclose(model(full, torch.tensor([128.0])), full, atol=1e-3)
        assert not torch.allclose(model(low_passed), low_passed, atol=1e-3)


def test_the_bypass_finds_short_bursts_of_treble_and_ignores_clicks_and_edges() -> None:
    bypass = QualityBypass()
    second, low_passed = 44_100, noise(1, 2, 6 * 44_100, cutoff=17_500)
    assert bypass(low_passed).max() == 0
    assert bypass(low_passed[..., 777 : 777 + second // 2]).max() == 0  # cut out hard at both ends
    clicked = low_passed.clone()
    clicked[..., 3 * second] = 1.0
    assert bypass(clicked).max() == 0
    burst = low_passed.clone()
    burst[..., 3 * second : 3 * second + 24_000] += 1e-2 * noise(1, 2, 24_000, cutoff=22_050)
    share = bypass(burst)
    assert share[..., 2 * second : 4 * second].min() == 1
    assert torch.equal(bypass(burst, torch.tensor([128.0])), torch.zeros_like(share))


@pytest.mark.parametrize("overlap", [2, 4])
@pytest.mark.parametrize("num_samples", [1, 500, 5120])
def test_the_transform_gives_back_any_length_and_keeps_energy(overlap: int, num_samples: int) -> None:
    stft, wav = TightStft(512, overlap), noise(1, 2, num_samples)
    real, imaginary = stft.analyse(wav)
    assert torch.allclose(stft.synthesise(real, imaginary, num_samples), wav, atol=1e-6)
    twins = torch.full((257, 1), 2.0)
    twins[0] = twins[-1] = 1.0  # all others stand for their negative twins too
    energy = ((real**2 + imaginary**2) * twins).sum() / 512
    assert energy == pytest.approx(float(wav.square().sum()), rel=1e-4)


@pytest.mark.parametrize("overlap", [2, 4])
def test_the_transform_is_torchs_own(overlap: int) -> None:
    """Also back from a spectrum that belongs to no sound, whose frames do not agree."""
    stft, wav = TightStft(512, overlap), noise(1, 2, 5120)
    padded = F.pad(wav[0], (stft.lead, 256))
    options = {"n_fft": 512, "hop_length": stft.hop, "window": stft.window}
    expected = torch.stft(padded, pad_mode="constant", return_complex=True, **options)
    assert torch.equal(stft.spectrum(wav)[0], expected)
    changed = expected * torch.rand(expected.shape, generator=torch.Generator().manual_seed(2))
    sound = torch.istft(changed, length=(expected.shape[-1] - 1) * stft.hop, **options)
    expected = sound[..., stft.lead : stft.lead + 5120]
    assert torch.allclose(stft.sound(changed[None], 5120)[0], expected, atol=1e-6)


@pytest.mark.parametrize(("num_frames", "half_width"), [(1, 3), (5, 24), (300, 1), (300, 8), (1000, 192)])
def test_a_moving_average_is_of_the_frames_that_exist(num_frames: int, half_width: int) -> None:
    values = torch.rand(2, 3, num_frames, generator=torch.Generator().manual_seed(0))
    reference = F.avg_pool1d(values, 2 * half_width + 1, stride=1, padding=half_width, count_include_pad=False)
    assert torch.allclose(moving_average(values, half_width), reference, atol=1e-6)


def test_levels_are_those_that_the_published_distance_compares() -> None:
    network, wav = LogMagnitudePredictor(width=8, num_blocks=1, num_bands=16, frame_width=8), noise(1, 2, 20_000)
    (published,) = spectrum_blocks(wav.double())
    expected = torch.log10(published.abs() ** 2 + POWER_FLOOR).transpose(-1, -2)[:, :, :-1]
    assert torch.allclose(network.log_power(network.stft.analyse(wav))[..., 1:42].double(), expected, atol=1e-3)


def test_a_level_that_is_the_same_everywhere_is_what_bands_and_bins_say() -> None:
    """An untrained network whose bias says minus 2 above the level around, and that nothing given is to be believed."""
    network = LogMagnitudePredictor(width=8, num_blocks=1, num_bands=16, frame_width=8)
    with torch.no_grad():
        network.band_bias.copy_(torch.tensor([-2.0, 50.0]).repeat_interleave(32))
    wav = noise(1, 2, 20_000)
    spectrum = network.stft.analyse(wav)
    level = network.relative(spectrum)[1]
    for answer, rows in ((network.bands(wav), 16), (network(wav, spectrum, spectrum), 1024)):
        assert answer.shape[1:3] == (2, rows)
        assert torch.allclose(answer, (level - 2).expand_as(answer), atol=1e-4)
    with torch.no_grad():
        network.band_bias[32:] = -50.0  # believe what is given
    given = network.log_power(spectrum)
    assert torch.allclose(network(wav, spectrum, spectrum), given, atol=1e-4)
    assert torch.allclose(network.bands(wav), given.unflatten(2, (16, 64)).mean(dim=3), atol=1e-4)


@pytest.mark.parametrize("frame", [0, 1, 17, 40])
def test_an_attack_is_found_in_its_frame_and_quarter(frame: int) -> None:
    network = LogMagnitudePredictor(width=8, num_blocks=1, num_bands=16, frame_width=8)
    stft = network.stft
    wav = torch.zeros(1, 2, 20_321)
    centre = frame * stft.hop - stft.lead
    for quarter, sample in enumerate(range(centre - 2 * network.brief_hop, centre + 2 * network.brief_hop, 128)):
        if not 0 <= sample < wav.shape[-1]:
            continue
        click = wav.clone()
        click[..., sample] = 1
        level = network.relative(stft.analyse(click))[1]
        features = network.brief_features(click, torch.zeros_like(level)).unflatten(1, (BRIEF_BANDS, 4))[0]
        assert all(
            divmod(int(band.T.flatten().argmax()), 4) == (frame, quarter) for band in features
        )  # in every band alike
        expected = 0.5 * np.log10(float((1 / network.brief_window.sum()) ** 2) / 2 * 4 + POWER_FLOOR) + 1
        assert features[:, quarter, frame].mean() == pytest.approx(expected, abs=1e-4)


def test_the_frame_network_looks_as_far_as_its_context_counts() -> None:
    network = DeepFrameNetwork(num_inputs=3, width=8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    frames = torch.zeros(1, 3, 201, requires_grad=True)
    network(frames)[0, 100].square().sum().backward()
    seen = frames.grad[0].abs().sum(dim=0).nonzero().flatten() - 100
    reach = sum(DILATIONS) * (KERNEL // 2)
    assert (int(seen.min()), int(seen.max())) == (-reach, reach)


def test_true_levels_bring_the_sound_nearer_with_every_iteration() -> None:
    """Degraded: every other band of bins 10 dB down, as where an encoder ran out of bits; told: the clean spectrum."""
    model, clean = SpectralFill(**TINY_FILL), noise(1, 2, 40_000)
    spectrum = torch.fft.rfft(clean)
    spectrum *= torch.where(torch.arange(spectrum.shape[-1]) // 400 % 2 == 0, 1.0, 0.3)
    degraded = torch.fft.irfft(spectrum, n=clean.shape[-1])
    amplitude = torch.sqrt(10 ** model.level.log_power(model.stft.analyse(clean)) / model.level.power_scale)
    distances, errors = [lsd(clean, degraded)], [-si_sdr(clean, degraded)]
    for model.num_iterations in (1, 8, 16):
        restored = model.with_levels(model.stft.analyse(degraded), amplitude, UNRELATED, num_samples=clean.shape[-1])
        distances.append(lsd(clean, restored))
        errors.append(-si_sdr(clean, restored))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.3 * distances[0]
    assert errors == sorted(errors, reverse=True)


def test_loud_bins_stay_as_the_filters_made_them() -> None:
    """A tone 26 dB above noise, all of which is told to be 20 dB quieter: the noise obeys."""
    model, length = SpectralFill(**TINY_FILL), 40_960
    hiss = 0.1 * noise(1, 2, length, cutoff=22_050)
    tone = 0.3 * torch.sin(2 * torch.pi * 1000 / 44_100 * torch.arange(length)).expand(1, 2, -1)
    wav = tone + hiss
    spectrum = model.stft.analyse(wav)
    amplitude = 0.1 * torch.sqrt(10 ** model.level.log_power(spectrum) / model.level.power_scale)
    restored = model.with_levels(spectrum, amplitude, UNRELATED, num_samples=length)
    assert si_sdr(wav, restored) > 20
    before, after = (model.level.log_power(model.stft.analyse(sound))[:, :, 200:400, 8:-8] for sound in (wav, restored))
    assert (after - before).mean() == pytest.approx(-2, abs=0.2)

    flat, silent = torch.ones(1, 2, 1024, 50), torch.zeros(1, 2, 1024, 50)
    assert torch.allclose(model.kept(flat, silent), torch.tensor(1 / (1 + LOUD)))
    assert model.kept(silent, silent).abs().max() == 0


def correlated(correlation: float, num_samples: int) -> torch.Tensor:
    """White noise, left and right: [1, 2, num_samples]."""
    mid, side = noise(2, num_samples, cutoff=22_050)
    left, right = (1 + correlation) ** 0.5 * mid, (1 - correlation) ** 0.5 * side
    return torch.stack([left + right, left - right])[None]


@pytest.mark.parametrize("correlation", [-1, -0.6, 0, 0.8, 1])
def test_the_correlation_of_left_and_right_is_measured_and_given_to_what_is_filled_in(correlation: float) -> None:
    model, length = SpectralFill(**{**TINY_FILL, "num_iterations": 6}), 81_920
    wide = correlated(correlation, length)
    level = model.level
    assert level.correlation(level.stft.analyse(wide)).mean() == pytest.approx(correlation, abs=0.02)

    above = slice(600, 1000)  # bins, where an encoder left nothing
    spectrum = level.stft.analyse(correlated(0.5, length))
    for part in spectrum:
        part[:, :, above.start - 100 :] = 0
    amplitude = torch.ones(1, 2, 1024, spectrum[0].shape[-1])
    filled = model.with_levels(spectrum, amplitude, torch.full((1, 1, 1024, 1), correlation), num_samples=length)
    real, imaginary = (part[:, :, above, 8:-8] for part in level.stft.analyse(filled))
    power = (real**2 + imaginary**2).mean(dim=(2, 3))[0]
    cross = (real[:, 0] * real[:, 1] + imaginary[:, 0] * imaginary[:, 1]).mean()
    assert cross / power.prod().sqrt() == pytest.approx(correlation, abs=0.03)
    assert power.sqrt().tolist() == pytest.approx([1, 1], abs=0.05)


def test_a_frame_networks_answer_decides_the_correlation() -> None:
    level = tiny("fill").level
    wav = noise(1, 2, 30_000)
    spectrum = level.stft.analyse(wav)
    with torch.no_grad():
        log_power, correlation = level.answer(wav, spectrum, spectrum)
        level.correlation_tail.bias.add_(9)
        again, more = level.answer(wav, spectrum, spectrum)
    assert correlation.shape == (1, 1, *log_power.shape[2:])
    assert correlation.std() > 1e-3 and (more > 0.99).all()
    assert torch.equal(again, log_power)


def test_gradients_are_finite_where_the_input_is_silent_or_mono() -> None:
    model = SpectralFill(**TINY_FILL).train()
    wav = noise(3, 2, 9000)
    wav[0] = 0
    wav[1, 1] = wav[1, 0]
    model(wav).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_noise_carrier_is_flatter_than_noise_and_always_the_same() -> None:
    carrier = noise_carrier(16384)
    assert torch.equal(carrier, noise_carrier(16384))

    def ripple(wav: torch.Tensor, hop: int = 300) -> float:
        window = torch.hann_window(2048)
        spectrum = torch.stft(wav.repeat(3), 2048, hop, window=window, return_complex=True)
        return float(torch.log10(spectrum[50:-50, 16:-16].abs() ** 2).std())

    assert ripple(noise(16384, cutoff=22_050)) == pytest.approx(0.557, abs=0.03)
    assert ripple(carrier) < 0.4
    assert ripple(carrier, hop=512) < 0.13, "in the frames that it was made for"


def test_the_transform_is_its_own_inverse_and_sees_what_torch_sees() -> None:
    stft = TightStft(512)
    wav = noise(1, 2, 3000)
    real, imaginary = stft.analyse(wav)
    assert torch.allclose(stft.synthesise(real, imaginary, num_samples=3000), wav, atol=1e-6)
    frame = wav[0, 0, 1024 - 256 : 1024 + 256].double().numpy() * np.sqrt(np.hanning(513)[:-1])
    expected = np.fft.rfft(frame)
    assert np.allclose(real[0, 0, :, 4], expected.real, atol=1e-4)
    assert torch.allclose(mid_side(mid_side(wav)), wav, atol=1e-6)

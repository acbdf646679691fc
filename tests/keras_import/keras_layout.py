"""The original in NumPy, channels last and layer by layer, and random weights for it in Keras' own h5 layout.

Written from the layers and shapes alone, sharing no code with the package: what both compute alike is right.
"""

import numpy as np
import pywt

LAMBDA = "lambda"


def random_weights(seed, num_layers, num_filters, kernel_size, merge_kernel_size, wavelet):
    """Layer name -> [kernel, bias], [gamma, beta] or the two filters, float32 in Keras' shapes."""
    random = np.random.default_rng(seed)
    weights = {}

    def conv(name, taps, inputs, outputs):
        scale = np.sqrt(2 / (taps * (inputs + outputs)))
        weights[name] = [random.normal(0, scale, (taps, inputs, outputs)), random.normal(0, 0.1, outputs)]

    def norm(name, channels):
        weights[name] = [random.normal(1, 0.2, channels), random.normal(0, 0.1, channels)]

    def bands(block, inputs, outputs):
        half = inputs // 2
        for band, channels in (("approx", half), ("detail", inputs - half)):
            conv(f"{band}_conv_{block}", kernel_size, channels, half)
            norm(f"{band}_norm_{block}", half)
            conv(f"{band}_gate_{block}", 1, half, half)
        conv(f"output_conv_{block}", 1, 2 * half, outputs)
        norm(f"output_norm_{block}", outputs)

    def filters(name, pair):
        weights[name] = [np.reshape(taps, (-1, 1, 1)) for taps in pair]

    bank = pywt.Wavelet(wavelet)
    conv("initial_conv", kernel_size, 1, num_filters)
    norm("initial_norm", num_filters)
    channels = num_filters
    for level in range(1, num_layers + 1):
        width = num_filters * level
        conv(f"ds_conv_ds_block_{level}", kernel_size, channels, width)
        norm(f"layer_norm_ds_block_{level}", width)
        filters(f"dwt_{level}", (bank.dec_lo, bank.dec_hi))
        bands(f"down_process_{level}", 2 * width, 2 * width)
        channels = 2 * width
    width = num_filters * (num_layers + 1)
    conv("bottleneck_conv1", kernel_size, channels, width)
    norm("bottleneck_norm2", width)
    for level in range(num_layers, 0, -1):
        inputs, width = width // 2, num_filters * level
        filters(f"idwt_{level}", (bank.rec_lo, bank.rec_hi))
        bands(f"up_process_{level}", inputs, width)
        for side in ("decoder", "encoder"):
            conv(f"{side}_gate_skip_connection_{level}", 1, width, width)
        norm(f"skip_norm_skip_connection_{level}", 2 * width)
        for index, channels in ((1, 2 * width), (2, width)):
            conv(f"up_conv{index}_{level}", merge_kernel_size, channels, width)
            norm(f"up_norm{index}_{level}", width)
    for index in (1, 2):
        conv(f"final_conv{index}", kernel_size, num_filters, num_filters)
        norm(f"final_norm{index}", num_filters)
    conv("output_conv", 1, num_filters + 1, 1)
    return {name: [tensor.astype(np.float32) for tensor in pair] for name, pair in weights.items()}


def write_h5(path, weights):
    """As Keras writes: PATH/vars/0, 1 with the layer's name as an attribute; empty layers and an optimizer besides."""
    import h5py

    with h5py.File(path, "w") as file:
        for index, (name, tensors) in enumerate(weights.items()):
            group = file.create_group(f"layers/layer_{index}/vars")
            group.attrs["name"] = name
            for key, tensor in enumerate(tensors):
                group.create_dataset(str(key), data=tensor)
        for index in range(2):
            file.create_group(f"layers/{LAMBDA}_{index}/vars").attrs["name"] = f"{LAMBDA}_{index}"
        file.create_group("vars").attrs["name"] = "wavelet_u_net"
        file.create_group("optimizer/vars").create_dataset("0", data=np.zeros(3, dtype=np.float32))


def run(weights, num_layers, wav):
    """[T] float64 -> stage -> [N, channels] float64, by loops and slices; the last is "output", [T, 1]."""
    stages = {}

    def conv(name, frames):
        kernel, bias = (tensor.astype(np.float64) for tensor in weights[name])
        taps = len(kernel)
        padded = np.pad(frames, (((taps - 1) // 2, taps // 2), (0, 0)))
        return sum(padded[tap : tap + len(frames)] @ kernel[tap] for tap in range(taps)) + bias

    def norm(name, frames):
        gamma, beta = weights[name]
        centred = frames - frames.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3) * gamma + beta

    def gelu(frames):
        scale = np.float64(np.sqrt(np.float32(2 / np.pi)))
        return 0.5 * frames * (1 + np.tanh(scale * (frames + 0.044715 * frames**3)))

    def gate(name, frames):
        return frames / (1 + np.exp(-conv(name, frames)))

    def bands(block, frames):
        half = frames.shape[1] // 2
        parts = {"approx": frames[:, :half], "detail": frames[:, half:]}
        gated = [
            gate(f"{band}_gate_{block}", gelu(norm(f"{band}_norm_{block}", conv(f"{band}_conv_{block}", part))))
            for band, part in parts.items()
        ]
        return gelu(norm(f"output_norm_{block}", conv(f"output_conv_{block}", np.concatenate(gated, axis=1))))

    def dwt(name, frames):
        pair = [taps[:, 0, 0].astype(np.float64) for taps in weights[name]]
        taps = len(pair[0])
        padded = np.pad(frames, ((taps - 1, taps - 1), (0, 0)), mode="reflect")
        starts = range(0, len(padded) - taps + 1, 2)
        crop = (taps - 1) // 2
        both = [np.array([taps_of @ padded[start : start + taps] for start in starts]) for taps_of in pair]
        return np.concatenate([band[crop : len(band) - crop] for band in both], axis=1)

    def idwt(name, frames):
        half = frames.shape[1] // 2
        result = 0
        for index, taps in enumerate(weights[name]):
            stuffed = np.zeros((2 * len(frames), half))
            stuffed[::2] = frames[:, index * half : (index + 1) * half]
            padded = np.pad(stuffed, (((len(taps) - 1) // 2, len(taps) // 2), (0, 0)))
            result = result + sum(padded[tap : tap + len(stuffed)] * float(taps[tap, 0, 0]) for tap in range(len(taps)))
        return result

    def fit(frames, length):
        missing = length - len(frames)
        if missing < 0:
            return frames[-missing // 2 :][:length]
        return np.pad(frames, ((missing // 2, missing - missing // 2), (0, 0)), mode="symmetric")

    samples = wav[:, None]
    stages["initial_conv"] = conv("initial_conv", samples)
    stages["initial_norm"] = norm("initial_norm", stages["initial_conv"])
    frames = stages["initial_gelu"] = gelu(stages["initial_norm"])
    for level in range(1, num_layers + 1):
        skip = gelu(norm(f"layer_norm_ds_block_{level}", conv(f"ds_conv_ds_block_{level}", frames)))
        halved = dwt(f"dwt_{level}", skip)
        frames = bands(f"down_process_{level}", halved)
        stages |= {f"ds_{level}": skip, f"dwt_{level}": halved, f"down_process_{level}": frames}
    frames = stages["bottleneck"] = gelu(norm("bottleneck_norm2", conv("bottleneck_conv1", frames)))
    for level in range(num_layers, 0, -1):
        skip = stages[f"ds_{level}"]
        doubled = stages[f"idwt_{level}"] = idwt(f"idwt_{level}", frames)
        processed = stages[f"up_process_{level}"] = bands(f"up_process_{level}", doubled)
        fitted = stages[f"align_{level}"] = fit(processed, len(skip))
        place = f"skip_connection_{level}"
        both = np.concatenate([gate(f"decoder_gate_{place}", fitted), gate(f"encoder_gate_{place}", skip)], axis=1)
        frames = stages[f"skip_{level}"] = norm(f"skip_norm_{place}", both)
        for index in (1, 2):
            frames = gelu(norm(f"up_norm{index}_{level}", conv(f"up_conv{index}_{level}", frames)))
        stages[f"up_{level}"] = frames
    for index in (1, 2):
        frames = gelu(norm(f"final_norm{index}", conv(f"final_conv{index}", frames)))
    stages["final"] = frames
    stages["output"] = np.tanh(conv("output_conv", np.concatenate([samples, frames], axis=1)))
    return stages

"""Kernels for GPUs, in Triton: each a single pass over frames where PyTorch's operations need many.

A program works on ROWS frames of WIDTH channels (a power of two, what is beyond the C there are masked) and computes in
float32, whatever it reads and writes. C comes as `units` times ALIGN, so that the compiler knows how much can be read
at once. Gradients by what all rows share are summed up by each program on its own, in
`partial`, and added up by the caller: in the same order in every run.

Frames that were padded to whole blocks have `stride` rows to a clip, of which the first T count; rows are counted
without the others. What is written into such frames is zero behind the T rows.
"""

import triton
import triton.language as tl

CUBIC = tl.constexpr(0.044715)
SCALE = tl.constexpr(1.5957691216057308)  # 2 sqrt(2 / pi)


@triton.jit
def places(row, channel, stride):
    """Offsets of some channels of some rows, in 64 bits: there may be more values than 32 can count."""
    return row.to(tl.int64)[:, None] * stride + channel[None, :]


@triton.jit
def normalised(values, mask, C, eps):
    """Values without their mean over channels, and one over their standard deviation."""
    mean = tl.sum(values, axis=1) / C
    centred = tl.where(mask, values - mean[:, None], 0.0)
    return centred, 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / C + eps)


@triton.jit
def norm_gelu(
    x, shift, weight, bias, y, num_rows, T, stride, units, eps,
    ALIGN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """gelu(layer_norm(x + shift)); x with `stride` rows a clip, y without."""
    C = units * ALIGN
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    there = channel < C
    mask = (row < num_rows)[:, None] & there[None, :]
    place = places((row // T) * stride + row % T, channel, C)
    values = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    values += tl.load(shift + channel, mask=there, other=0.0)[None, :]
    centred, scale = normalised(values, mask, C, eps)
    gain = tl.load(weight + channel, mask=there, other=0.0)[None, :]
    z = centred * scale[:, None] * gain + tl.load(bias + channel, mask=there, other=0.0)[None, :]
    result = z * tl.sigmoid(SCALE * (z + CUBIC * z * z * z))
    tl.store(y + places(row, channel, C), result, mask=mask)


@triton.jit
def norm_gelu_backward(
    x, shift, weight, bias, grad, grad_x, partial, num_padded, T, stride, grad_stride, units, eps,
    ALIGN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Gradients by x (as padded as x), and partial [programs, 3, C] by weight, bias and shift."""
    C = units * ALIGN
    channel = tl.arange(0, WIDTH)
    there = channel < C
    add = tl.load(shift + channel, mask=there, other=0.0)[None, :]
    gain = tl.load(weight + channel, mask=there, other=0.0)[None, :]
    offset = tl.load(bias + channel, mask=there, other=0.0)[None, :]
    by_weight = tl.zeros([ROWS, WIDTH], tl.float32)
    by_bias = tl.zeros([ROWS, WIDTH], tl.float32)
    by_shift = tl.zeros([ROWS, WIDTH], tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(num_padded, ROWS), tl.num_programs(0)):
        row = tile * ROWS + tl.arange(0, ROWS)
        time = row % stride
        written = (row < num_padded)[:, None] & there[None, :]
        mask = written & (time < T)[:, None]
        place = places(row, channel, C)
        values = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) + add
        centred, scale = normalised(values, mask, C, eps)
        normal = centred * scale[:, None]
        z = normal * gain + offset
        gate = tl.sigmoid(SCALE * (z + CUBIC * z * z * z))
        slope = gate + z * SCALE * (1.0 + 3.0 * CUBIC * z * z) * gate * (1.0 - gate)
        source = places((row // stride) * grad_stride + time, channel, C)
        by_z = tl.load(grad + source, mask=mask, other=0.0).to(tl.float32) * slope
        by_weight += by_z * normal
        by_bias += by_z
        by_normal = by_z * gain
        mean = tl.sum(by_normal, axis=1) / C
        along = tl.sum(by_normal * normal, axis=1) / C
        by_x = tl.where(mask, scale[:, None] * (by_normal - mean[:, None] - normal * along[:, None]), 0.0)
        by_shift += by_x
        tl.store(grad_x + place, by_x, mask=written)
    out = partial + tl.program_id(0) * 3 * C + channel
    tl.store(out, tl.sum(by_weight, axis=0), mask=there)
    tl.store(out + C, tl.sum(by_bias, axis=0), mask=there)
    tl.store(out + 2 * C, tl.sum(by_shift, axis=0), mask=there)


@triton.jit
def gate_pair(
    x, x_logits, x_bias, y, y_logits, y_bias, weight, bias, output, num_rows, units, eps,
    NORM: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """cat(x * sigmoid(x_logits + x_bias), the same of y), then LayerNorm over both if NORM."""
    C = units * ALIGN
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    there = channel < C
    mask = (row < num_rows)[:, None] & there[None, :]
    place = places(row, channel, C)
    first = gated(x, x_logits, x_bias, place, mask, channel, there)
    second = gated(y, y_logits, y_bias, place, mask, channel, there)
    if NORM:
        mean = (tl.sum(first, axis=1) + tl.sum(second, axis=1)) / (2 * C)
        first = tl.where(mask, first - mean[:, None], 0.0)
        second = tl.where(mask, second - mean[:, None], 0.0)
        power = (tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)) / (2 * C)
        scale = (1.0 / tl.sqrt(power + eps))[:, None]
        first = first * scale * tl.load(weight + channel, mask=there)[None, :]
        first += tl.load(bias + channel, mask=there)[None, :]
        second = second * scale * tl.load(weight + C + channel, mask=there)[None, :]
        second += tl.load(bias + C + channel, mask=there)[None, :]
    target = output + places(row, channel, 2 * C)
    tl.store(target, first, mask=mask)
    tl.store(target + C, second, mask=mask)


@triton.jit
def gated(x, logits, bias, place, mask, channel, there):
    value = tl.load(logits + place, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(bias + channel, mask=there, other=0.0)[None, :]
    return tl.load(x + place, mask=mask, other=0.0).to(tl.float32) * tl.sigmoid(value)


@triton.jit
def gate_pair_backward(
    x, x_logits, x_bias, y, y_logits, y_bias, weight, grad, grad_x, grad_x_logits, grad_y, grad_y_logits, partial,
    num_rows, T, grad_stride, units, eps,
    NORM: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Gradients by x and y without what goes through their logits, by those, and partial [programs, 6, C] by the
    biases of x and y, and by weight and bias of the norm."""
    C = units * ALIGN
    channel = tl.arange(0, WIDTH)
    there = channel < C
    x_add = tl.load(x_bias + channel, mask=there, other=0.0)[None, :]
    y_add = tl.load(y_bias + channel, mask=there, other=0.0)[None, :]
    by_x_bias = tl.zeros([ROWS, WIDTH], tl.float32)
    by_y_bias = tl.zeros([ROWS, WIDTH], tl.float32)
    by_weight = tl.zeros([ROWS, WIDTH], tl.float32)
    by_bias = tl.zeros([ROWS, WIDTH], tl.float32)
    by_weight_y = tl.zeros([ROWS, WIDTH], tl.float32)
    by_bias_y = tl.zeros([ROWS, WIDTH], tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(num_rows, ROWS), tl.num_programs(0)):
        row = tile * ROWS + tl.arange(0, ROWS)
        mask = (row < num_rows)[:, None] & there[None, :]
        place = places(row, channel, C)
        x_value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        y_value = tl.load(y + place, mask=mask, other=0.0).to(tl.float32)
        x_gate = tl.sigmoid(tl.load(x_logits + place, mask=mask, other=0.0).to(tl.float32) + x_add)
        y_gate = tl.sigmoid(tl.load(y_logits + place, mask=mask, other=0.0).to(tl.float32) + y_add)
        source = grad + places((row // T) * grad_stride + row % T, channel, 2 * C)
        by_first = tl.load(source, mask=mask, other=0.0).to(tl.float32)
        by_second = tl.load(source + C, mask=mask, other=0.0).to(tl.float32)
        if NORM:
            first = x_value * x_gate
            second = y_value * y_gate
            mean = (tl.sum(first, axis=1) + tl.sum(second, axis=1)) / (2 * C)
            first = tl.where(mask, first - mean[:, None], 0.0)
            second = tl.where(mask, second - mean[:, None], 0.0)
            power = (tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)) / (2 * C)
            scale = (1.0 / tl.sqrt(power + eps))[:, None]
            first *= scale
            second *= scale
            by_weight += by_first * first
            by_weight_y += by_second * second
            by_bias += by_first
            by_bias_y += by_second
            by_first *= tl.load(weight + channel, mask=there, other=0.0)[None, :]
            by_second *= tl.load(weight + C + channel, mask=there, other=0.0)[None, :]
            mean = ((tl.sum(by_first, axis=1) + tl.sum(by_second, axis=1)) / (2 * C))[:, None]
            along = ((tl.sum(by_first * first, axis=1) + tl.sum(by_second * second, axis=1)) / (2 * C))[:, None]
            by_first = scale * (by_first - mean - first * along)
            by_second = scale * (by_second - mean - second * along)
        by_x_logits = tl.where(mask, by_first * x_value * x_gate * (1.0 - x_gate), 0.0)
        by_y_logits = tl.where(mask, by_second * y_value * y_gate * (1.0 - y_gate), 0.0)
        by_x_bias += by_x_logits
        by_y_bias += by_y_logits
        tl.store(grad_x + place, by_first * x_gate, mask=mask)
        tl.store(grad_y + place, by_second * y_gate, mask=mask)
        tl.store(grad_x_logits + place, by_x_logits, mask=mask)
        tl.store(grad_y_logits + place, by_y_logits, mask=mask)
    out = partial + tl.program_id(0) * 6 * C + channel
    tl.store(out, tl.sum(by_x_bias, axis=0), mask=there)
    tl.store(out + C, tl.sum(by_y_bias, axis=0), mask=there)
    tl.store(out + 2 * C, tl.sum(by_weight, axis=0), mask=there)
    tl.store(out + 3 * C, tl.sum(by_weight_y, axis=0), mask=there)
    tl.store(out + 4 * C, tl.sum(by_bias, axis=0), mask=there)
    tl.store(out + 5 * C, tl.sum(by_bias_y, axis=0), mask=there)


@triton.jit
def analyse(
    first, second, filters, approx, detail, T, N, crop, units,
    TAPS: tl.constexpr, SPLIT: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Coefficient k of both bands sums tap[j] * frame 2k + j - crop; see `synthesise` for where they lie."""
    half = units * ALIGN
    C = half * (1 + SPLIT)
    clip = tl.program_id(1)
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    low = tl.zeros([ROWS, WIDTH], tl.float32)
    high = tl.zeros([ROWS, WIDTH], tl.float32)
    for j in tl.static_range(TAPS):
        t = 2 * k + j - crop
        inside = (t >= 0) & (t < T) & (k < N)
        place = places(clip * T + t, channel, half)
        value = tl.load(first + place, mask=inside[:, None] & (channel < half)[None, :], other=0.0).to(tl.float32)
        if SPLIT:
            mask = inside[:, None] & ((channel >= half) & (channel < C))[None, :]
            value += tl.load(second + place - half, mask=mask, other=0.0).to(tl.float32)
        low += tl.load(filters + j) * value
        high += tl.load(filters + TAPS + j) * value
    place = places(clip * N + k, channel, C * (1 + SPLIT))
    mask = (k < N)[:, None] & (channel < C)[None, :]
    tl.store(approx + place, low, mask=mask)
    tl.store(detail + place, high, mask=mask)


@triton.jit
def synthesise(
    approx, detail, filters, first, second, T, N, crop, units,
    TAPS: tl.constexpr, SPLIT: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Frame t sums tap[j] * coefficient k of both bands where 2k + j = t + crop.

    If SPLIT, the first half of the C channels go to `first`, the others to `second`, and approx and detail lie side
    by side, coefficient by coefficient; else all go to `first`, and each band lies alone.
    """
    half = units * ALIGN
    C = half * (1 + SPLIT)
    clip = tl.program_id(1)
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    there = channel < C
    value = tl.zeros([ROWS, WIDTH], tl.float32)
    for i in tl.static_range(TAPS // 2):
        j = 2 * i + (t + crop) % 2
        k = (t + crop) // 2 - i
        inside = (k >= 0) & (k < N) & (t < T)
        place = places(clip * N + k, channel, C * (1 + SPLIT))
        mask = inside[:, None] & there[None, :]
        value += tl.load(filters + j)[:, None] * tl.load(approx + place, mask=mask, other=0.0).to(tl.float32)
        value += tl.load(filters + TAPS + j)[:, None] * tl.load(detail + place, mask=mask, other=0.0).to(tl.float32)
    place = places(clip * T + t, channel, half)
    tl.store(first + place, value, mask=(t < T)[:, None] & (channel < half)[None, :])
    if SPLIT:
        mask = (t < T)[:, None] & ((channel >= half) & there)[None, :]
        tl.store(second + place - half, value, mask=mask)

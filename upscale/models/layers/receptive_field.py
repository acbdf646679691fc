"""How far a wavelet U-Net hears: which input an output depends on, by arithmetic over its layers.

An interval (first, last) counts steps of a level's own rate, inclusive. Each layer maps the interval of output that is
asked for to the interval of input that it reads; following the network from its end to its start gives the answer.
"""

from collections.abc import Callable

Interval = tuple[int, int]
Layer = Callable[[Interval], Interval]


def conv(kernel_size: int) -> Layer:
    """A convolution of the same length out: (k-1)//2 steps before and k//2 after."""
    return lambda span: (span[0] - (kernel_size - 1) // 2, span[1] + kernel_size // 2)


def reach(num_layers: int, kernel_size: int, merge_kernel_size: int, analysis: Layer, synthesis: Layer) -> Interval:
    """(samples before, samples after) any output sample that can reach it.

    `analysis` maps coefficients to the samples they come from, `synthesis` samples to the coefficients they come from.
    Time is halved `num_layers` times, so outputs differ by their place on that grid: the worst place counts.
    """
    layer, merge = conv(kernel_size), conv(merge_kernel_size)

    def level_input(level: int, span: Interval) -> Interval:
        skip = merge(merge(span))
        coarse = synthesis(layer(skip))
        coarse = layer(coarse) if level == num_layers else level_input(level + 1, coarse)
        return layer(union(skip, analysis(layer(coarse))))

    def wanted(sample: int) -> Interval:
        span = layer(layer((sample, sample)))
        first, last = layer(level_input(1, span) if num_layers else layer(span))
        return sample - first, last - sample

    places = [wanted(sample) for sample in range(2**num_layers)]
    return max(before for before, _ in places), max(after for _, after in places)


def union(one: Interval, other: Interval) -> Interval:
    return min(one[0], other[0]), max(one[1], other[1])

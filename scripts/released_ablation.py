"""Measure what each part of the released models is worth by leaving it out.

    python scripts/released_ablation.py score perceptual FOLDER --kind recorded --out FILE.jsonl --sounds SOUNDS
    python scripts/released_ablation.py listen SOUNDS --out FILE.jsonl
    python scripts/released_ablation.py time perceptual FOLDER --out FILE.jsonl
    python scripts/released_ablation.py repeats FOLDER --kind recorded --out FILE.jsonl
    python scripts/released_ablation.py table FILE.jsonl ...

`score` encodes each FLAC of FOLDER whole, gives the model all of it without its bitrate, and compares the middle
`--seconds`; `listen` asks ViSQOL about the sounds that it kept. `time` counts the processor's seconds (one thread) that
restoring in chunks takes. `repeats` holds what mixing with repetitions wins against how alike they are, passage by
passage, and what cheaper looks at a passage would have said. Each appends a line of JSON per result and goes on where
it was; `table` makes Markdown tables of them.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from upscale.codec import CodecSpec, roundtrip
from upscale.metrics import lsd, si_sdr, visqol
from upscale.models import SpectralFill, repeats, spectral_fill
from upscale.models.guard import spare
from upscale.restore import Restorer
from upscale.restore.bundle import load_bundle
from upscale.restore.restorer import RELEASED

RATE = 44_100
NOTHING_DONE = "nothing done"
KEYS = ("model", "variant", "kind", "clip", "bitrate")  # of a score
GAINS = {"si_sdr": "SI-SDR dB", "lsd": "LSD", "visqol": "ViSQOL"}
Settings = dict[str, Any]


class NeverGood(nn.Module):
    """In the place of `Guard`: no passage is left alone."""

    context, stride = 0, 1

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        return torch.zeros_like(wav[:, :1])

    def spare(self, restore: Callable[[Tensor, Tensor | None], Tensor], wav: Tensor, bitrate: Tensor | None) -> Tensor:
        return restore(wav, bitrate)


# What is set on the model; in groups, within which much that variants have in common is computed once.
MIXER_ONLY: Settings = {"repeat": None, "num_alike": 0, "num_steps": 0}
NEAR = MIXER_ONLY | {"filter.repeat": None}
VARIANTS: dict[str, list[dict[str, Settings]]] = {
    "fidelity": [
        {
            "full": {},
            "no mixer": {"repeat": None},
            "no third filter": {"brief": None},
            "no guard": {"guard": NeverGood()},
            "no mixer, no third filter": {"repeat": None, "brief": None},
        }
    ],
    "perceptual": [
        {
            "full": {},
            "near": NEAR,
            "near, 8 rounds": NEAR | {"num_rounds": 8},
            "near, 4 rounds": NEAR | {"num_rounds": 4},
            "near, 4 rounds, 4 steps": NEAR | {"num_rounds": 4, "num_steps": 4},
            "no mixer": {"filter.repeat": None},
            "no steps": {"num_steps": 0},
            "no repeated levels": {"repeat": None},
            "near, alike": NEAR | {"num_alike": 256},
            "near, no third filter": NEAR | {"filter.brief": None},
            "near, no correlation": NEAR | {"with_levels": "uncorrelated"},
        },
        {"mixer only": MIXER_ONLY, "mixer only, 8 rounds": MIXER_ONLY | {"num_rounds": 8}},
        {
            "near, 4 steps": NEAR | {"num_steps": 4},
            "near, 8 rounds, 4 steps": NEAR | {"num_rounds": 8, "num_steps": 4},
            "near, 1 round, 8 steps": NEAR | {"num_rounds": 1, "num_steps": 8},
        },
        {
            "no alike": {"num_alike": 0},
            "no third filter": {"filter.brief": None},
            "no correlation": {"with_levels": "uncorrelated"},
            "8 rounds": {"num_rounds": 8},
            "8 rounds, no steps": {"num_rounds": 8, "num_steps": 0},
            "4 rounds, no steps": {"num_rounds": 4, "num_steps": 0},
        },
    ],
}


@contextmanager
def changed(model: nn.Module, settings: Settings) -> Iterator[None]:
    """The model with these attributes, as long as the block runs."""
    before = []
    for path, value in settings.items():
        *owners, name = path.split(".")
        owner = model.get_submodule(".".join(owners))
        kept = getattr(owner, name)
        before.append((owner, name, kept))
        setattr(owner, name, without_correlation(kept) if value == "uncorrelated" else value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def without_correlation(with_levels: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`SpectralFill.with_levels` as if nothing were known of how alike left and right are."""
    return lambda spectrum, amplitude, correlation, **others: with_levels(
        spectrum, amplitude, torch.zeros_like(correlation), **others
    )


class Memory:
    """Methods of modules that compute nothing twice, until `forget`."""

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}

    def forget(self) -> None:
        self.known.clear()

    def keep(self, module: Any, name: str) -> None:
        function = getattr(module, name)

        def remembered(*args: Any, **kwargs: Any) -> Any:
            key = id(module), fingerprint(args), fingerprint(tuple(kwargs.items()))
            if key not in self.known:
                self.known[key] = function(*args, **kwargs)
            return self.known[key]

        setattr(module, name, remembered)


def fingerprint(value: Any) -> Any:
    if isinstance(value, Tensor):
        return hash(value.contiguous().numpy().tobytes())
    if isinstance(value, tuple | list):
        return tuple(map(fingerprint, value))
    return repr(value)


def load(name: str) -> nn.Module:
    return load_bundle(RELEASED / name)[0]


def with_memory(model: Any) -> Memory:
    memory = Memory()
    cascade = model.filter if isinstance(model, SpectralFill) else model
    for filter_ in cascade.filters:
        memory.keep(filter_, "forward")
    memory.keep(cascade.repeat, "mix")
    if isinstance(model, SpectralFill):
        memory.keep(model.level, "answer")
        memory.keep(model.repeat, "forward")
        memory.keep(spectral_fill, "rounds")
    return memory


def restored(model: Any, wav: Tensor, kept: slice) -> Tensor:
    """[C, T] -> [C, kept], as `Restorer` does it: mono goes in twice and comes out as the mean."""
    given = wav.expand(2, -1)[None]
    if isinstance(model, SpectralFill):
        filtered, matches = model.filter.mixed(given)
        filled = model.fill(given, filtered, None, matches, kept)
        result = spare(given, filled, model.filter.guard(given))
    else:
        result = model(given)
    result = result[0, :, kept]
    return result if len(wav) == 2 else result.mean(dim=0, keepdim=True)


def read(path: Path) -> Tensor:
    wav, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == RATE, f"{path}: {rate} Hz"
    return torch.from_numpy(wav.T.copy())


def middle(num_samples: int, seconds: float) -> slice:
    length = min(num_samples, round(seconds * RATE))
    start = (num_samples - length) // 2
    return slice(start, start + length)


def share(paths: list[Path], part: str) -> list[Path]:
    """Those of one of several processes: I/N."""
    first, step = map(int, part.split("/"))
    return paths[first::step]


def clips(args: argparse.Namespace) -> list[Path]:
    return share(sorted(args.music.glob("*.flac")), args.part)


class Results:
    """Lines of JSON in a file; those that are there already are not made again."""

    def __init__(self, path: Path, *keys: str) -> None:
        self.path, self.keys = path, keys
        self.done = {self.key(line) for line in read_lines([path])}

    def key(self, line: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(line.get(key) for key in self.keys)

    def add(self, line: dict[str, Any]) -> None:
        self.done.add(self.key(line))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_lines(paths: list[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def score(args: argparse.Namespace) -> None:
    results = Results(args.out, *KEYS)
    model = load(args.model)
    memory = with_memory(model)
    for group in VARIANTS[args.model][args.groups]:
        for path in clips(args):
            clean = read(path)
            kept = middle(clean.shape[-1], args.seconds)
            for bitrate in args.bitrates:
                case = {"kind": args.kind, "clip": path.stem, "channels": len(clean), "bitrate": bitrate}
                wanted = {
                    name: settings
                    for name, settings in ({NOTHING_DONE: {}} | group).items()
                    if (args.model, name, args.kind, path.stem, bitrate) not in results.done
                }
                degraded = roundtrip(clean, CodecSpec(bitrate=bitrate)) if wanted else clean
                for name, settings in wanted.items():
                    with changed(model, settings):
                        wav = degraded[:, kept] if name == NOTHING_DONE else restored(model, degraded, kept)
                    found = {"si_sdr": float(si_sdr(clean[:, kept], wav)), "lsd": float(lsd(clean[:, kept], wav))}
                    results.add({"model": args.model, "variant": name} | case | found)
                    if args.sounds:
                        keep_sounds(args.sounds, args.model, name, case, clean[:, kept], wav)
                memory.forget()


def keep_sounds(folder: Path, model: str, variant: str, case: dict[str, Any], clean: Tensor, wav: Tensor) -> None:
    """What `listen` compares; the order of the names is that in which it does."""
    names = [NOTHING_DONE, *(name for group in VARIANTS[model] for name in group)]
    folder.mkdir(parents=True, exist_ok=True)
    name = "@".join([f"{names.index(variant):02}", model, variant, *map(str, case.values())])
    np.save(folder / f"{name}.npy", torch.stack([clean, wav]).numpy())


def listen(args: argparse.Namespace) -> None:
    """ViSQOL of what `score` kept, which takes about as long as the sounds do."""
    results = Results(args.out, *KEYS)
    for path in share(sorted(args.sounds.glob("*.npy")), args.part):
        number, model, variant, kind, clip, _channels, bitrate = path.stem.split("@")
        line = {"model": model, "variant": variant, "kind": kind, "clip": clip, "bitrate": int(bitrate)}
        if int(number) < args.first and int(bitrate) in args.bitrates and results.key(line) not in results.done:
            clean, wav = torch.from_numpy(np.load(path))
            results.add(line | {"visqol": visqol(clean, wav, RATE)})


def measure_time(args: argparse.Namespace) -> None:
    """Each variant restores the clips, one behind the other, as one sound."""
    results = Results(args.out, "model", "variant", "cpu")
    model = load(args.model)
    wav = torch.cat([read(path)[:, : 24 * RATE].expand(2, -1) for path in clips(args)], dim=-1)
    degraded = roundtrip(wav, CodecSpec(bitrate=args.bitrates[0])).numpy()
    for name, settings in (pair for group in VARIANTS[args.model][args.groups] for pair in group.items()):
        with changed(model, settings):
            restorer = Restorer.from_module(model, device="cpu")
            began = time.process_time()
            restorer(degraded, RATE)
            seconds = time.process_time() - began
        results.add({"model": args.model, "variant": name, "cpu": seconds / wav.shape[-1] * RATE})


def measure_repeats(args: argparse.Namespace) -> None:
    """For passages of `GRID` samples: how like their best matches are, and how much nearer mixing brings them."""
    results = Results(args.out, "kind", "clip", "bitrate")
    model: Any = load("fidelity")
    for path in clips(args):
        given = read(path)
        clean = given.expand(2, -1)
        for bitrate in args.bitrates:
            if (args.kind, path.stem, bitrate) not in results.done:
                degraded = roundtrip(given, CodecSpec(bitrate=bitrate)).expand(2, -1)
                case = {"kind": args.kind, "clip": path.stem, "bitrate": bitrate}
                results.add(case | of_repeats(model, clean, degraded))


def of_repeats(model: Any, clean: Tensor, degraded: Tensor) -> dict[str, Any]:
    filtered = model.filtered(degraded[None])
    (starts, likeness), search_time = timed(repeats.find_repeats, filtered, model.repeat.num_matches)
    matches, gather_time = timed(repeats.gather_repeats, filtered, starts)
    mixed, mix_time = timed(model.repeat.combine, degraded[None], filtered, matches, likeness)
    tests = {
        "every fourth": timed(every_fourth, filtered),
        "given": timed(every_fourth, degraded[None]),
        "energy": timed(envelope_likeness, filtered),
    }
    passages = []
    for first in range(0, repeats.num_blocks(clean.shape[-1]) - 1, repeats.GROUP):
        part = slice(first * repeats.HOP, first * repeats.HOP + repeats.GRID)
        errors = [float((wav[0, :, part] - clean[:, part]).square().sum()) for wav in (filtered, mixed)]
        looks = {name: float(values[first // repeats.GROUP]) for name, (values, _) in tests.items()}
        blocks = likeness[0, 0, first : first + repeats.GROUP].tolist()
        passages.append({"error": errors[0], "mixed_error": errors[1], "likeness": blocks} | looks)
    times = {"search": search_time, "gather": gather_time, "mix": mix_time}
    times |= {name: seconds for name, (_, seconds) in tests.items()}
    return {
        "filtered": float(si_sdr(clean, filtered[0])),
        "mixed": float(si_sdr(clean, mixed[0])),
        "cpu": {name: seconds / clean.shape[-1] * RATE for name, seconds in times.items()},
        "passages": passages,
    }


def timed(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    began = time.process_time()
    return function(*args), time.process_time() - began


def every_fourth(wav: Tensor) -> Tensor:
    """The rough search for each fourth block of a passage alone: the likeness of its best, the highest [passages]."""
    hop, block = repeats.HOP // repeats.FACTOR, repeats.BLOCK // repeats.FACTOR
    low = repeats._emphasised(repeats._decimated(wav[0].mean(dim=0)))
    padded = torch.nn.functional.pad(low, (repeats.LEAD + hop, repeats.REGION + block + repeats.GROUP * hop))
    places = torch.arange(repeats.REGION - block + 1)
    offsets = hop * torch.arange(1, repeats.GROUP, 4)
    near = (places - repeats.LEAD - offsets[:, None]).abs() < repeats.NEAREST
    best = []
    for first in range(0, repeats.num_blocks(wav.shape[-1]) - 1, repeats.GROUP):
        region = padded[first * hop : first * hop + repeats.REGION]
        blocks = padded[first * hop + repeats.LEAD :].unfold(0, block, hop)[1 : repeats.GROUP : 4]
        best.append(repeats._likeness(region, blocks).masked_fill_(near, -2.0).amax())
    return torch.stack(best)


def envelope_likeness(wav: Tensor) -> Tensor:
    """How well the rise of a passage's energy, 172 times a second, fits elsewhere within 6 s: 0 to 1 [passages]."""
    step = 256
    mono = repeats._emphasised(wav[0].mean(dim=0))
    energy = torch.log10(mono[: len(mono) // step * step].view(-1, step).square().mean(dim=1) + 1e-8)
    rise = torch.nn.functional.pad(energy.diff().clamp(min=0), (1, 0)).numpy()
    length, reach = repeats.GRID // step, 1024
    best = []
    for first in range(0, math.ceil(wav.shape[-1] / step), length):
        own = rise[first : first + length]
        region = np.pad(rise[max(first - reach, 0) : first + length + reach], (0, length))
        windows = np.lib.stride_tricks.sliding_window_view(region, max(len(own), 1))
        value = windows @ own / np.sqrt((windows**2).sum(axis=1) * (own**2).sum() + 1e-9)
        here = first - max(first - reach, 0)
        value[max(here - 8, 0) : here + 9] = 0
        best.append(value.max())
    return torch.tensor(np.array(best))


def table(args: argparse.Namespace) -> None:
    lines = read_lines(args.files)
    merged: dict[Any, dict[str, Any]] = defaultdict(dict)
    for line in lines:
        merged[tuple(line.get(key) for key in KEYS)].update(line)
    scores = [line for line in merged.values() if "si_sdr" in line]
    cpu = {(line["model"], line["variant"]): line["cpu"] for line in lines if "variant" in line and "cpu" in line}
    for model, groups in VARIANTS.items():
        names = [NOTHING_DONE, *(name for group in groups for name in group)]
        found = {(line["variant"], line["kind"], line["clip"], line["bitrate"]): line for line in scores
                 if line["model"] == model}  # fmt: skip
        for kind, channels, title in (
            ("recorded", (2,), "recorded, stereo"),
            ("recorded", (1,), "recorded, mono"),
            ("recorded", (1, 2), "recorded, all"),
            ("val", (1, 2), "val"),
        ):
            print_table(f"{model}, {title}", names, found, model, kind, channels, cpu)

    passages = [line for line in lines if "passages" in line]
    for kind in sorted({line["kind"] for line in passages}):
        print_repeats(kind, [line for line in passages if line["kind"] == kind])


def print_repeats(kind: str, lines: list[dict[str, Any]]) -> None:
    """What mixing wins beside how alike passages are, then what is left where only those above a threshold are mixed.

    SDR out of the errors of the passages, as those that are not mixed stay as they were filtered.
    """
    cpu = {name: fmean(line["cpu"][name] for line in lines) for name in lines[0]["cpu"]}
    print(f"\n### mixing with repetitions, {kind}\n\nCPU s/s: {', '.join(f'{n} {v:.3f}' for n, v in cpu.items())}\n")
    print("| clip | SI-SDR won, dB | mean likeness | highest | every fourth, highest |\n|---|---|---|---|---|")
    for clip in sorted({line["clip"] for line in lines}):
        its = [line for line in lines if line["clip"] == clip]
        gains = " / ".join(f"{line['mixed'] - line['filtered']:+.2f}" for line in its)
        likeness = [value for line in its for passage in line["passages"] for value in passage["likeness"]]
        rough = max(passage["every fourth"] for line in its for passage in line["passages"])
        print(f"| {clip} | {gains} | {fmean(likeness):.2f} | {max(likeness):.2f} | {rough:.2f} |")
    print("\n| test | threshold | passages mixed | SDR won, dB | of all | most lost by a clip | CPU s/s |")
    print("|---" * 7 + "|")
    always = cpu["search"] + cpu["gather"] + cpu["mix"]
    everywhere = [won_where(line, lambda passage: True) for line in lines]
    tests: dict[str, tuple[Callable[[dict[str, Any]], float], float, float]] = {
        "likeness, highest": (lambda passage: max(passage["likeness"]), cpu["search"], always - cpu["search"]),
        "likeness, mean": (lambda passage: fmean(passage["likeness"]), cpu["search"], always - cpu["search"]),
        **{
            name: (lambda passage, name=name: passage[name], cpu[name], always)  # type: ignore[misc]
            for name in ("every fourth", "given", "energy")
        },
    }
    for name, (value, fixed, each) in tests.items():
        for threshold in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95):
            chosen = [value(passage) >= threshold for line in lines for passage in line["passages"]]
            won = [won_where(line, lambda passage: value(passage) >= threshold) for line in lines]  # noqa: B023
            lost = max(most - some for most, some in zip(everywhere, won, strict=True))
            share, of_all = fmean(chosen), fmean(won) / fmean(everywhere)
            print(f"| {name} | {threshold} | {share:.2f} | {fmean(won):.3f} | {of_all:.2f} | {lost:.2f} "
                  f"| {fixed + share * each:.3f} |")  # fmt: skip


def won_where(line: dict[str, Any], chosen: Callable[[dict[str, Any]], bool]) -> float:
    """dB of SDR by which a clip is nearer to the clean one where these passages of it are mixed."""
    before = sum(passage["error"] for passage in line["passages"])
    after = sum(passage["mixed_error" if chosen(passage) else "error"] for passage in line["passages"])
    return 10 * math.log10(before / after) if after else 0.0


def print_table(
    title: str,
    names: list[str],
    found: dict[tuple[Any, ...], dict[str, Any]],
    model: str,
    kind: str,
    channels: tuple[int, ...],
    cpu: dict[tuple[str, str], float],
) -> None:
    """Of each variant what `full` has; of the others how far above it they are, on the clips that both have."""
    bitrates = sorted({key[3] for key, line in found.items() if key[1] == kind and line["channels"] in channels})
    columns = [(name, rate) for name in GAINS for rate in bitrates]
    columns = [(name, rate) for name, rate in columns if any(name in v for k, v in found.items() if k[3] == rate)]
    if not columns:
        return
    print(f"\n### {title}\n\n| variant | cases | {' | '.join(f'{GAINS[n]} {r}' for n, r in columns)}", end="")
    print(" | worst clip: gain, dB | CPU s/s | of full |\n" + "|---" * (len(columns) + 5) + "|")
    for name in names:
        both: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
        gains: dict[str, list[float]] = defaultdict(list)
        for (variant, its_kind, clip, bitrate), line in found.items():
            full = found.get(("full", kind, clip, bitrate))
            if variant != name or its_kind != kind or line["channels"] not in channels or full is None:
                continue
            both[bitrate].append((line, full))
            given = found[NOTHING_DONE, kind, clip, bitrate]
            gains[clip].append(line["si_sdr"] - given["si_sdr"])
        if not both:
            continue
        cells = []
        for metric, bitrate in columns:
            pairs = [
                (line[metric], full[metric]) for line, full in both[bitrate] if {metric} <= line.keys() & full.keys()
            ]
            if not pairs:
                cells.append("")
            elif name == "full":
                cells.append(f"{fmean(value for value, _ in pairs):.3f}")
            else:
                cells.append(f"{fmean(value - full for value, full in pairs):+.3f}")
        worst = min(gains, key=lambda clip: fmean(gains[clip]))
        seconds, of_full = cpu.get((model, name)), cpu.get((model, "full"))
        times = f"{seconds:.3f} | {seconds / of_full:.2f}" if seconds and of_full else " | "
        cases = sum(map(len, both.values()))
        print(f"| {name} | {cases} | {' | '.join(cells)} | {worst}: {fmean(gains[worst]):+.2f} | {times} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("score", score), ("time", measure_time), ("repeats", measure_repeats)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        if function is not measure_repeats:
            command.add_argument("model", choices=VARIANTS)
        command.add_argument("music", type=Path)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--kind", default="val", help="what the clips are called in the tables")
        command.add_argument("--seconds", type=float, default=8.0)
        command.add_argument("--bitrates", type=int, nargs="+", default=[64, 96, 128])
        command.add_argument("--part", default="0/1", help="I/N: every Nth clip from the Ith on")
        command.add_argument("--sounds", type=Path, help="where to keep what `listen` compares")
        command.add_argument(
            "--groups", type=lambda text: slice(*map(int, text.split(":"))), default=slice(None), help="of variants"
        )
    command = commands.add_parser("listen")
    command.set_defaults(function=listen)
    command.add_argument("sounds", type=Path)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--bitrates", type=int, nargs="+", default=[64, 96])
    command.add_argument("--first", type=int, default=100, help="so many variants, doing nothing among them")
    command.add_argument("--part", default="0/1", help="I/N: every Nth sound from the Ith on")
    command = commands.add_parser("table")
    command.set_defaults(function=table)
    command.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        args.function(args)


if __name__ == "__main__":
    main()

"""A network starts from parts of others: each finds its place, and what does not fit is refused in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_NET, Compose, last_checkpoint
from torch import nn

from upscale.errors import UserError
from upscale.models import SpectralCascade, SpectralFilter
from upscale.restore.bundle import save_bundle
from upscale.training.arguments import with_open_init
from upscale.training.fit import fit
from upscale.training.initial_weights import load_weights

FILTER: dict[str, Any] = {"width": 4, "num_blocks": 1, "fold": 4, "num_bands": 4, "frame_width": 4, "average_frames": 4}
SIZES = {"window_size": 256, "fine_window_size": 512}


def cascade(seed: int, **arguments: Any) -> SpectralCascade:
    torch.manual_seed(seed)
    return SpectralCascade(**FILTER, **SIZES, **arguments)


def load(network: nn.Module, **init: Any) -> list[str]:
    return load_weights(network, ckpt=None, init=init, model={})


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of a filter alone, of a cascade, and of one with a brief filter."""
    folder = tmp_path_factory.mktemp("bundles")
    torch.manual_seed(1)
    filter_arguments = {**FILTER, "window_size": 256}
    save_bundle(folder / "filter", SpectralFilter(**filter_arguments), arguments=filter_arguments)
    save_bundle(folder / "cascade", cascade(2), arguments=FILTER | SIZES)
    brief = {"brief_window_size": 128}
    save_bundle(folder / "brief", cascade(3, **brief), arguments=FILTER | SIZES | brief)
    return {name: folder / name for name in ("filter", "cascade", "brief")}


def test_part_is_loaded_from_a_file_that_is_the_part_and_from_one_that_has_it(files: dict[str, Path]) -> None:
    net, filter_ = cascade(0), SpectralFilter(**FILTER, window_size=256)
    load(filter_, net=files["filter"])
    lines = load(net, coarse=files["filter"], fine=files["cascade"])
    assert same(net.coarse, filter_)
    assert same(net.fine, cascade(2).fine)
    count = len(net.coarse.state_dict())
    assert lines == [
        f"init.coarse: {count} tensors from {files['filter']}",
        f"init.fine: {len(net.fine.state_dict())} tensors from {files['cascade']} (fine)",
    ]


def test_whole_network_starts_from_one_that_lacks_a_part(files: dict[str, Path]) -> None:
    net = cascade(0, brief_window_size=128)
    [line] = load(net, net=files["cascade"])
    assert line.endswith("not in it, so untrained: brief")
    assert same(net.coarse, cascade(2).coarse)
    assert same(net.fine, cascade(2).fine)
    assert net.brief is not None and same(net.brief, cascade(0, brief_window_size=128).brief)  # type: ignore[arg-type]


def test_nested_part_and_shipped_model_are_found(files: dict[str, Path]) -> None:
    net = nn.ModuleDict({"filter": cascade(0)})
    load(net, filter={"fine": files["cascade"]})
    assert same(net["filter"].fine, cascade(2).fine)  # type: ignore[arg-type]
    shipped = SpectralFilter()
    assert load(nn.ModuleDict({"coarse": shipped}), coarse="fidelity")[0].endswith("tensors from fidelity (coarse)")


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (
            {"net": "brief"},
            r"^init.net=\S+ holds tensors that the part lacks: brief\S+, brief\S+, brief\S+ and \d+ more$",
        ),
        ({"fine": "filter"}, r"^init.fine=\S+ has other shapes: .* instead of "),
        ({"coarse.head": "brief", "corse": "filter"}, r"^init.corse: the network has no part 'corse'; it has coarse"),
        ({"bypass": "filter"}, r"^init.bypass=\S+: that part has no weights$"),
        ({"net": "nothing"}, r"^no model at nothing"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(files: dict[str, Path], init: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_weights(cascade(0), ckpt=None, init={name: files.get(file, file) for name, file in init.items()}, model={})
    assert "\n" not in str(refused.value)


def test_single_tensor_that_the_file_lacks_is_refused(files: dict[str, Path]) -> None:
    net = cascade(0)
    net.coarse.register_parameter("extra", nn.Parameter(torch.zeros(1)))
    with pytest.raises(UserError, match=r"lacks tensors of the part: coarse.extra"):
        load(net, net=files["cascade"])


def test_init_and_ckpt_exclude_each_other(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"ckpt= loads the whole network, init.PART= parts of it"):
        load_weights(cascade(0), ckpt=str(files["cascade"]), init={"coarse": files["filter"]}, model={})


def test_command_line_names_any_part_without_a_plus() -> None:
    assert with_open_init(["experiment=debug", "init.filter=a.ckpt"]) == ["experiment=debug", "++init.filter=a.ckpt"]


def test_training_starts_from_a_part_of_a_checkpoint(
    compose_debug: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [*TINY_NET, "trainer.max_epochs=1", "data.num_batches=2"]
    fit(compose_debug(*tiny, output_dir=tmp_path / "before"))
    start = f"++init.blocks={tmp_path}/before/checkpoints/last.ckpt"
    fit(compose_debug(*tiny, start, "freeze=[blocks]", "seed=1", output_dir=tmp_path / "after"))
    assert "init.blocks: 4 tensors from" in capsys.readouterr().err
    before, after = (last_checkpoint(tmp_path / run)["state_dict"] for run in ("before", "after"))
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if ".blocks." in name} <= kept
    assert "net.head.weight" not in kept

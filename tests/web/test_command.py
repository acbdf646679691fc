import re
import socket
import sys
from pathlib import Path

import pytest

from upscale.errors import UserError
from upscale.web import command
from upscale.web.request_filter import LOOPBACK
from upscale.web.service import find_models


def test_without_gradio_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert command.main([]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .*gradio.*pip install 'upscalemp3\[web\]'\n", error)


def test_a_missing_model_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert command.main(["--model", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith(f"error: no model at {tmp_path / 'none'}")


@pytest.mark.slow  # imports gradio
def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str], tiny_model: Path) -> None:
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert command.main(["--port", str(port), "--model", str(tiny_model)]) == 1
    assert re.match(rf"error: cannot listen on 127\.0\.0\.1 port {port} .*--port", capsys.readouterr().err)


def test_the_default_host_is_loopback() -> None:
    assert command._parser().parse_args([]).host in LOOPBACK


def test_models_are_offered_by_name_and_those_of_the_operator_first(tiny_model: Path) -> None:
    models = find_models([str(tiny_model)])
    assert next(iter(models.items())) == ("tiny", tiny_model)


def test_two_models_of_one_name_are_both_offered(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny"
    other.symlink_to(tiny_model)
    models = find_models([str(tiny_model), str(other)])
    assert {tiny_model, other} <= set(models.values())


def test_a_server_without_models_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("upscale.web.service.RELEASED", tmp_path)
    with pytest.raises(UserError, match="nothing to restore with"):
        find_models([])

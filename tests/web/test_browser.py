"""The page in a real browser: what a visitor does, sees, hears and takes home."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from live import ARGUMENTS, CHROMIUM, Server, serving, wait_for
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TIT2

from upscale import audio
from upscale.codec import CodecSpec, encode
from upscale.corpus.demo import compose
from upscale.models import WaveletUNet
from upscale.restore import Restorer
from upscale.restore.bundle import save_bundle

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
PATIENCE_MS = 300_000
RECORD = (Path(__file__).parent / "record.js").read_text()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, but not a model that returns its input: before and after must differ."""
    arguments = {"channels": 1, "num_layers": 2, "num_filters": 4, "kernel_size": 4}
    torch.manual_seed(0)
    module = WaveletUNet(**arguments)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return save_bundle(tmp_path_factory.mktemp("models") / "rough", module, arguments=arguments, bitrates=(128,))


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("music") / "Ün, song = [1].mp3"
    path.write_bytes(encode(compose(5, 6.0), CodecSpec(bitrate=128)))
    tags = ID3()
    tags.add(TIT2(encoding=3, text="A song"))
    tags.save(path)
    return path


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--model", str(model), "--max-mb", "0.5", "--max-minutes", "0.25"]
    with serving(tmp_path_factory.mktemp("server"), *options) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visitor:
    """One browser profile with one tab; what it asked of whom, and every error it saw, is kept."""

    def __init__(self, chromium: Any, server: Server, bypass_csp: bool = False, script: str | None = None) -> None:
        self.server = server
        self.context = chromium.new_context(bypass_csp=bypass_csp, viewport={"width": 1200, "height": 1200})
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.requested: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        if script:
            self.page.add_init_script(script)
        self.page.goto(server.url)
        self.page.wait_for_selector("upscale-drop .up-drop")

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def drop(self, file: Any) -> None:
        self.page.set_input_files("upscale-drop input[type=file]", file)

    def press(self, button: str) -> None:
        self.page.click(f"#{button}:not([disabled])")

    def restore(self, file: Any) -> str:
        """Drop, restore, wait; returns the token of the result."""
        self.drop(file)
        self.page.wait_for_selector(".up-drop.ready")
        self.press("restore")
        self.page.wait_for_selector("upscale-result .up-play")
        return self.page.get_attribute("upscale-result", "token")

    def download(self, kind: str, folder: Path) -> Path:
        with self.page.expect_download() as waiting:
            self.page.click(f"[data-kind={kind}]")
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path


def test_the_page_restores_shows_and_downloads_a_file(
    chromium: Any, server: Server, music: Path, model: Path, tmp_path: Path
) -> None:
    with Visitor(chromium, server) as visitor:
        visitor.restore(music)
        flac, wav = visitor.download("flac", tmp_path), visitor.download("wav", tmp_path)
        assert flac.name == "Ün, song = [1] (restored).flac" and wav.name == "Ün, song = [1] (restored).wav"

        given, rate = audio.read(music)
        expected = Restorer.load(model, "cpu")(given, rate, bitrate=128)
        taken, taken_rate = audio.read(flac)
        assert taken_rate == rate and taken.shape == given.shape
        gain = np.vdot(expected, taken) / np.vdot(expected, expected)
        np.testing.assert_allclose(taken, expected * gain, atol=1e-5)
        assert np.abs(taken - given).max() > 0.01, "the model of this test changes the sound"
        np.testing.assert_array_equal(audio.read(wav)[0], taken)
        assert FLAC(flac)["title"] == ["A song"]

        for picture in visitor.page.query_selector_all(".up-picture img"):
            assert picture.evaluate("image => image.complete && image.naturalWidth") > 100
        assert "MP3, 128 kbit/s" in visitor.page.inner_text("upscale-result")
        visitor.press("forget")
        visitor.page.wait_for_selector("text=Deleted: the file")
        assert server.files() == []
        assert visitor.page.query_selector("upscale-result") is None


def test_the_player_plays_the_file_and_switching_keeps_the_position(
    chromium: Any, server: Server, music: Path, tmp_path: Path
) -> None:
    """What reaches the loudspeaker, recorded: `before` to the sample, then from the switch on `after`, in step."""
    with Visitor(chromium, server, bypass_csp=True, script=RECORD) as visitor:
        page = visitor.page
        visitor.restore(music)
        before, rate = audio.read(music)
        after, _ = audio.read(visitor.download("flac", tmp_path))
        page.click(".up-play")
        page.wait_for_function("window.recorded() > 1.5 * 44100")
        shown = page.inner_text(".up-time")
        page.click("[data-side=after]")
        assert page.get_attribute("[data-side=after]", "aria-checked") == "true"
        assert page.inner_text(".up-time") >= shown
        page.wait_for_function("window.recorded() > 3.5 * 44100")
        page.click(".up-play")
        heard = np.array(json.loads(page.evaluate("window.recording()")), dtype=np.float32)

        levels = np.sqrt([(before**2).sum(), (after**2).sum()])
        sides = [before * min(1, levels[1] / levels[0]), after * min(1, levels[0] / levels[1])]
        start = int(np.argmax(np.abs(heard).max(0) > 1e-4))
        lag = find_lag(sides[0], heard[:, start : start + 22_050])
        aligned = [side[:, lag : lag + heard.shape[1] - start] for side in sides]
        heard = heard[:, start : start + aligned[0].shape[1]]
        is_side = [np.abs(heard - side).max(0) < 1e-3 for side in aligned]
        change = int(np.argmin(is_side[0]))  # the first sample that is not `before`
        assert 1.0 * rate < change < 3.0 * rate
        fade = round(0.03 * rate)
        end = 3 * rate
        assert is_side[1][change + fade : end].all(), "from the switch on it is `after`, at the same place"
        assert not is_side[0][change + fade : end].all()


def find_lag(reference: np.ndarray, part: np.ndarray) -> int:
    """Where in `reference` `[C, T]` the shorter `part` lies."""
    from scipy.signal import correlate

    return int(np.argmax(correlate(reference.mean(0), part.mean(0), mode="valid")))


def test_the_blind_test_counts_answers(chromium: Any, server: Server, music: Path) -> None:
    with Visitor(chromium, server) as visitor:
        page = visitor.page
        visitor.restore(music)
        page.click(".up-blind summary")
        for number in range(1, 4):
            page.click("[data-abx=start]")
            for side in "ABX":
                page.click(f"[data-abx=play-{side}]:not([disabled])")
                page.wait_for_selector(f"[data-abx=play-{side}][aria-pressed=true]")
            page.click("[data-abx=answer-A]")
            page.wait_for_selector(f"text=of {number} right")
            said = page.inner_text("[data-abx=say]")
            assert said in ("Right: X was A.", "Wrong: X was B.")
        assert "p = " in page.inner_text("[data-abx=tally]")
        assert page.is_disabled("[data-abx=answer-A]"), "a trial is answered once"
        assert visitor.errors == []


def test_the_page_requests_nothing_from_other_hosts(chromium: Any, server: Server, music: Path) -> None:
    with Visitor(chromium, server) as visitor:
        visitor.restore(music)
        assert [url for url in visitor.requested if not url.startswith((server.url, "data:", "blob:"))] == []
        assert visitor.errors == [], "nothing was refused by the content policy, nothing failed"


def test_a_broken_file_is_one_clear_line_and_the_next_one_works(chromium: Any, server: Server, music: Path) -> None:
    with Visitor(chromium, server) as visitor:
        visitor.drop({"name": "broken.mp3", "mimeType": "audio/mpeg", "buffer": b"this is no music " * 50})
        visitor.page.wait_for_selector(".up-drop.ready")
        visitor.press("restore")
        line = visitor.page.inner_text(".up-problem")
        assert line.startswith("broken.mp3: ") and "\n" not in line and "/" not in line and "Traceback" not in line
        visitor.restore(music)
        assert visitor.page.query_selector(".up-problem") is None


def test_too_large_and_too_long_are_refused(chromium: Any, server: Server) -> None:
    with Visitor(chromium, server) as visitor:
        page = visitor.page
        visitor.drop({"name": "large.mp3", "mimeType": "audio/mpeg", "buffer": bytes(600_000)})
        page.wait_for_selector(".up-drop.failed")
        assert "larger than the 0.5 MB" in page.inner_text(".up-drop")
        assert page.is_disabled("#restore")
        long = encode(compose(1, 20.0), CodecSpec(bitrate=64))
        visitor.drop({"name": "long.mp3", "mimeType": "audio/mpeg", "buffer": long})
        page.wait_for_selector(".up-drop.ready")
        visitor.press("restore")
        assert "long.mp3: is longer than the 0.25 minutes" in page.inner_text(".up-problem")


def test_an_endless_upload_is_cut_off_by_the_server(server: Server) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**16
            yield bytes(2**16)

    try:
        answer = httpx.post(f"{server.url}upload?name=a.mp3", content=endless(), timeout=60)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it hung up on us, which is as good
    assert sent < 50 * 2**20 and server.files() == []


def test_a_file_name_with_folders_is_only_a_name(chromium: Any, server: Server, music: Path, tmp_path: Path) -> None:
    with Visitor(chromium, server) as visitor:
        visitor.restore({"name": "../../../evil.mp3", "mimeType": "audio/mpeg", "buffer": music.read_bytes()})
        assert visitor.download("flac", tmp_path).name == "evil (restored).flac"
        assert {path.name for path in server.files()} >= {"input.mp3", "restored.flac"}
        assert not list(server.temporary.rglob("*evil*"))


def test_two_visitors_at_once_never_see_each_others_files(
    chromium: Any, server: Server, music: Path, tmp_path: Path
) -> None:
    other = {"name": "other.mp3", "mimeType": "audio/mpeg", "buffer": encode(compose(9, 3.0), CodecSpec(bitrate=96))}
    with Visitor(chromium, server) as anna, Visitor(chromium, server) as bert:
        anna.drop(music)
        bert.drop(other)
        for visitor in (anna, bert):
            visitor.page.wait_for_selector(".up-drop.ready")
            visitor.press("restore")
        for visitor in (anna, bert):
            visitor.page.wait_for_selector("upscale-result .up-play")
        assert anna.page.inner_text(".up-time") == "0:00 / 0:06" and bert.page.inner_text(".up-time") == "0:00 / 0:03"
        token = anna.page.get_attribute("upscale-result", "token")
        for path in ("about", "show/preview", "show/before", "download/flac", "download/wav"):
            fetch = f"fetch('files/{token}/{path}').then(async answer => [answer.status, await answer.text()])"
            assert anna.page.evaluate(fetch)[0] == 200
            status, text = bert.page.evaluate(fetch)
            assert status == 400 and "no longer here" in text
        cached = [f"gradio_api/file={path}" for path in server.files()]
        assert {bert.page.request.get(server.url + path).status for path in cached} == {404}


def test_stop_ends_the_job_and_a_closed_tab_takes_its_files_along(chromium: Any, server: Server, music: Path) -> None:
    with Visitor(chromium, server) as visitor:
        visitor.drop(music)
        visitor.page.wait_for_selector(".up-drop.ready")
        visitor.press("restore")
        visitor.press("stop")
        visitor.page.wait_for_selector("text=Stopped.")
        assert visitor.page.query_selector("upscale-result") is None
        visitor.press("restore")
        visitor.page.wait_for_selector("upscale-result .up-play")
        assert len(server.files()) > 1
    wait_for(lambda: server.files() == [], 60)


def test_the_server_deletes_all_files_when_it_ends(model: Path, music: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--model", str(model)) as server:
        answer = httpx.post(f"{server.url}upload?name=a.mp3", content=music.read_bytes(), timeout=60)
        assert answer.status_code == 200 and len(server.files()) == 1
        server.stop()
        assert list(tmp_path.glob("upscale-web-*")) == []

"""Shards behind a URL, with a web server on loopback."""

import functools
import http.server
import shutil
import threading

import pytest

from upscale.errors import UserError
from upscale.shards import local_shards

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset opens http:// with curl")


@pytest.fixture
def server(root, tmp_path):
    """(URL, folder behind it, list of the paths asked for)."""
    folder = tmp_path / "served"
    shutil.copytree(root, folder)
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder, asked
        httpd.shutdown()


def test_batches_from_a_web_server_are_the_same(make, server, tmp_path, digest):
    url, _, asked = server
    data = make(root=url, cache=str(tmp_path / "cache"))
    assert digest(list(data.train_dataloader())) == digest(list(make().train_dataloader()))
    asked.clear()
    make(root=url, cache=str(tmp_path / "cache"))
    assert all(path.endswith("manifest.json") for path in asked)  # shards came from the cache


def test_a_pipe(make, root, tmp_path, digest):
    data = make(root=f"pipe:cat {root}/%s", cache=str(tmp_path / "cache"))
    assert digest(list(data.val_dataloader())) == digest(list(make().val_dataloader()))


def test_a_damaged_copy_is_refused_and_leaves_nothing(server, tmp_path):
    url, folder, _ = server
    shard = sorted((folder / "train").glob("*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"shard-000000.tar: does not match its manifest"):
        local_shards(url, "train", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if "shard-000000" in path.name]


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("http://127.0.0.1:9/none", "manifest.json: cannot be read"),
        ("pipe:false %s", "cannot be read|not a manifest"),
        ("nonsense://x/y", "nonsense://x/y/train/manifest.json: cannot be read"),
    ],
)
def test_what_cannot_be_reached(root, message, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(UserError, match=message):
        local_shards(root, "train", tmp_path)

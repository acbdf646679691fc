"""Shards behind a URL, with a web server on loopback."""

import functools
import http.server
import shutil
import ssl
import subprocess
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


def test_shards_through_a_pipe_give_the_same_batches(make, root, tmp_path, digest):
    data = make(root=f"pipe:cat {root}/%s", cache=str(tmp_path / "cache"))
    assert digest(list(data.val_dataloader())) == digest(list(make().val_dataloader()))


def test_a_missing_remote_shard_is_one_line(server, tmp_path):
    url, folder, _ = server
    sorted((folder / "train").glob("*.tar"))[0].unlink()
    with pytest.raises(UserError, match=r"shard-000000.tar: cannot be copied to"):
        local_shards(url, "train", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if "shard-000000" in path.name]


@pytest.fixture
def secure_server(root, tmp_path):
    """(https URL, certificate): signed by nobody but itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{httpd.server_port}", certificate
        httpd.shutdown()


def test_https_with_a_certificate_that_curl_trusts(make, secure_server, tmp_path, digest, monkeypatch):
    url, certificate = secure_server
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))
    data = make(root=url, cache=str(tmp_path / "cache"))
    assert digest(list(data.val_dataloader())) == digest(list(make().val_dataloader()))


def test_https_with_a_certificate_that_nobody_signed_is_refused(secure_server, tmp_path):
    url, _ = secure_server
    with pytest.raises(UserError, match=r"https://.*manifest.json: cannot be read"):
        local_shards(url, "train", tmp_path / "cache")


@pytest.mark.parametrize(
    ("url", "command", "arguments"),
    [
        ("s3://bucket/some/shards", "aws", "s3 cp s3://bucket/some/shards/{} -"),
        ("gs://bucket/some/shards", "gsutil", "cat gs://bucket/some/shards/{}"),
    ],
)
def test_buckets_are_read_by_their_own_tools(make, root, tmp_path, digest, monkeypatch, url, command, arguments):
    """A program of the tool's name, first on the path, writes down how it was called and serves the folder."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / command
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f'for word; do case $word in {url}/*) cat "{root}/${{word#{url}/}}";; esac; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    data = make(root=url, cache=str(tmp_path / "cache"))
    assert digest(list(data.val_dataloader())) == digest(list(make().val_dataloader()))
    calls = (tmp_path / "calls").read_text().splitlines()
    shards = [path.relative_to(root).as_posix() for path in sorted(root.glob("*/shard-*.tar"))]
    expected = [arguments.format(f"{split}/manifest.json") for split in ("train", "val")]
    assert sorted(set(calls)) == sorted({*expected, *(arguments.format(name) for name in shards)})


@pytest.mark.parametrize("url", ["s3://bucket/shards", "gs://bucket/shards"])
def test_a_tool_that_is_not_installed_is_one_line(url, tmp_path, monkeypatch):
    (tmp_path / "tools").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/tools")
    with pytest.raises(UserError, match=f"{url}/train/manifest.json: cannot be read"):
        local_shards(url, "train", tmp_path / "cache")


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
def test_roots_that_cannot_be_reached_are_one_line(root, message, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(UserError, match=message):
        local_shards(root, "train", tmp_path)

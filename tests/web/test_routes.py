"""What a browser, a stranger and an attacker get over HTTP; gradio's own page is not needed for it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from upscale import audio
from upscale.errors import UserError
from upscale.web.job import AFTER_PICTURE, BEFORE_PICTURE, PREVIEW, RESTORED
from upscale.web.limits import Limits
from upscale.web.preview import write_preview
from upscale.web.request_filter import COOKIE, LOOPBACK, RequestFilter
from upscale.web.routes import receive_file, routes
from upscale.web.runner import Runner
from upscale.web.service import Service
from upscale.web.workspaces import Workspace, Workspaces

LIMITS = replace(Limits(), upload_bytes=1000)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(LIMITS, {"tiny": Path("tiny")}, "cpu", Workspaces(LIMITS, tmp_path), Runner(LIMITS))
    yield service
    service.close()


def browser(service: Service) -> TestClient:
    client = TestClient(
        RequestFilter(Starlette(routes=routes(service)), hosts=LOOPBACK), base_url="http://127.0.0.1:7860"
    )
    client.get("/page/page.js")  # the first answer brings the session cookie
    return client


def restored(service: Service, client: TestClient) -> Workspace:
    """An uploaded file as a finished job leaves it: one second of noise, and the same backwards and 6 dB louder."""
    token = client.post("/upload", params={"name": "My söng.mp3"}, content=b"x").json()["token"]
    workspace = service.workspaces.get(client.cookies[COOKIE], token)
    before = np.random.default_rng(0).uniform(-0.4, 0.4, (2, 44_100)).astype(np.float32)
    audio.write(workspace.folder / "before.flac", before, 44_100)
    audio.write(workspace.folder / RESTORED, 2 * before[:, ::-1], 44_100)
    write_preview(workspace.folder / PREVIEW, workspace.folder / "before.flac", workspace.folder / RESTORED)
    for name in (BEFORE_PICTURE, AFTER_PICTURE):
        (workspace.folder / name).write_bytes(b"picture of " + name.encode())
    workspace.result = {"sample_rate": 44_100, "channels": 2, "num_samples": 44_100}
    return workspace


def test_an_upload_arrives_byte_for_byte(service: Service) -> None:
    client = browser(service)
    content = bytes(range(256)) * 3
    answer = client.post("/upload", params={"name": "a b.mp3"}, content=content).json()
    assert (answer["name"], answer["bytes"]) == ("a b.mp3", len(content))
    workspace = service.workspaces.get(client.cookies[COOKIE], answer["token"])
    assert workspace.input.read_bytes() == content and workspace.input.name == "input.mp3"


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..%2f..%2fx.mp3", "/etc/passwd", "..\\x", "\x00.mp3", "a/" * 500]
)
def test_upload_names_cannot_leave_their_folder(service: Service, name: str, tmp_path: Path) -> None:
    client = browser(service)
    token = client.post("/upload", params={"name": name}, content=b"x").json()["token"]
    written = {path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"x"}
    assert written == {service.workspaces.get(client.cookies[COOKIE], token).input}


def test_too_large_is_refused_and_nothing_stays(service: Service) -> None:
    client = browser(service)
    answer = client.post("/upload", params={"name": "a.mp3"}, content=bytes(1001))
    assert answer.status_code == 413 and "larger than" in answer.json()["error"]
    assert [path for path in service.workspaces.root.iterdir() if path.is_dir()] == []
    assert client.post("/upload", params={"name": "a.mp3"}, content=bytes(1000)).status_code == 200


def test_an_empty_file_is_refused(service: Service) -> None:
    answer = browser(service).post("/upload", params={"name": "a.mp3"}, content=b"")
    assert answer.status_code == 400 and answer.json()["error"] == "this file is empty"


class _Slow:
    """A request whose body comes in chunks, `pause` seconds apart, and breaks off with `error`."""

    def __init__(self, num_chunks: int, pause: float, chunk: bytes = b"x", error: Exception | None = None) -> None:
        self.num_chunks, self.pause, self.chunk, self.error = num_chunks, pause, chunk, error

    async def stream(self) -> AsyncIterator[bytes]:
        for _ in range(self.num_chunks):
            await asyncio.sleep(self.pause)
            yield self.chunk
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (_Slow(10**9, pause=0, chunk=bytes(300)), "larger than"),
        (_Slow(2, pause=10), "stopped"),
        (_Slow(1000, pause=0.05), "stopped"),
        (_Slow(2, pause=0, error=ClientDisconnect()), "broken off"),
    ],
)
def test_an_endless_stalled_slow_or_broken_upload_is_ended(request_: Any, line: str, tmp_path: Path) -> None:
    limits = replace(LIMITS, upload_stall_seconds=0.2, upload_seconds=0.5)
    with pytest.raises(UserError, match=line):
        asyncio.run(receive_file(request_, tmp_path / "input.mp3", limits))


def test_two_users_never_reach_each_others_files(service: Service) -> None:
    anna, bert = browser(service), browser(service)
    workspace = restored(service, anna)
    base = f"/files/{workspace.token}"
    gets = [f"{base}/about", *(f"{base}/show/{kind}" for kind in ("preview", "before", "after"))]
    gets += [f"{base}/download/{kind}" for kind in ("flac", "wav")]
    posts = [f"{base}/{verb}" for verb in ("trial", "answer", "stop", "forget")]
    body = {"start": 0, "seconds": 0.5, "trial": "x", "answer": "A"}
    for url in gets:
        assert anna.get(url).status_code == 200
        assert bert.get(url).status_code == 400 and b"no longer here" in bert.get(url).content
    for url in posts:
        assert b"no longer here" in bert.post(url, json=body).content
    bert.cookies.clear()
    assert bert.get(gets[0]).status_code == 400
    assert workspace.folder.exists()
    assert anna.cookies[COOKIE] != bert.cookies.get(COOKIE)


def test_downloads_have_the_visitors_file_name_and_the_same_samples(service: Service, tmp_path: Path) -> None:
    client = browser(service)
    workspace = restored(service, client)
    expected, _ = audio.read(workspace.folder / RESTORED)
    for kind in ("flac", "wav"):
        answer = client.get(f"/files/{workspace.token}/download/{kind}")
        assert "My%20s%C3%B6ng%20%28restored%29" in answer.headers["content-disposition"]
        assert "no-store" in answer.headers["cache-control"]
        path = tmp_path / f"downloaded.{kind}"
        path.write_bytes(answer.content)
        np.testing.assert_array_equal(audio.read(path)[0], expected)


def test_the_preview_comes_in_ranges(service: Service) -> None:
    client = browser(service)
    workspace = restored(service, client)
    whole = (workspace.folder / PREVIEW).read_bytes()
    answer = client.get(f"/files/{workspace.token}/show/preview", headers={"Range": "bytes=800-1599"})
    assert answer.status_code == 206 and answer.content == whole[800:1600]


@pytest.mark.parametrize("kind", ["input", "input.mp3", "..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "restored.flac"])
def test_other_kinds_of_file_are_not_served(service: Service, kind: str) -> None:
    client = browser(service)
    workspace = restored(service, client)
    for route in ("show", "download"):
        assert client.get(f"/files/{workspace.token}/{route}/{kind}").status_code in (400, 404)
    assert client.get(f"/page/{kind}").status_code == 404


def test_a_file_that_is_not_restored_yet_says_so(service: Service) -> None:
    client = browser(service)
    token = client.post("/upload", params={"name": "a.mp3"}, content=b"x").json()["token"]
    for path in ("about", "show/before", "download/flac"):
        assert client.get(f"/files/{token}/{path}").json()["error"] == "this file is not restored yet"


def test_forget_deletes_the_folder_at_once(service: Service) -> None:
    client = browser(service)
    workspace = restored(service, client)
    assert client.post(f"/files/{workspace.token}/forget").status_code == 200
    assert not workspace.folder.exists()
    assert client.get(f"/files/{workspace.token}/about").status_code == 400


def test_a_trial_plays_x_as_one_of_two_equally_loud_sides(service: Service) -> None:
    client = browser(service)
    workspace = restored(service, client)
    drawn = set()
    for _ in range(20):
        answer = client.post(f"/files/{workspace.token}/trial", json={"start": 0.2, "seconds": 0.5})
        facts = json.loads(answer.headers["X-Trial"])
        assert set(facts) == {"trial", "louder_db", "num_trials", "num_correct", "p_value"}, "nothing says what X is"
        assert facts["louder_db"] == pytest.approx(6.02, abs=0.2)
        a, b, x = np.frombuffer(answer.content, "<i2").reshape(-1, 3, 2).transpose(1, 0, 2)
        assert len(a) == 22_050
        assert np.std(a.astype(float)) == pytest.approx(np.std(b.astype(float)), rel=1e-3)
        assert not np.array_equal(a, b)
        x_is = "A" if np.array_equal(x, a) else "B"
        assert x_is == "A" or np.array_equal(x, b)
        outcome = client.post(f"/files/{workspace.token}/answer", json={"trial": facts["trial"], "answer": x_is}).json()
        drawn.add(outcome["x_was"])
        assert outcome["correct"] is True, "what sounds like A is A"
    assert drawn == {"A", "B"} and outcome["num_trials"] == 20


@pytest.mark.parametrize(
    "place", [{}, {"start": "x", "seconds": 1}, {"start": 0, "seconds": 1e9}, {"start": -1, "seconds": 1}]
)
def test_an_impossible_excerpt_is_one_line(service: Service, place: dict[str, Any]) -> None:
    client = browser(service)
    workspace = restored(service, client)
    answer = client.post(f"/files/{workspace.token}/trial", json=place)
    assert answer.status_code == 400 and answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/file=/etc/passwd"),
        ("GET", "/gradio_api/proxy=http://example.com/"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/restore"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/monitoring"),
        ("PUT", "/upload"),
        ("DELETE", "/files/x/about"),
        ("GET", "/static/../../../etc/passwd"),
    ],
)
def test_other_routes_answer_404(method: str, path: str) -> None:
    """Whatever the application behind the filter would answer."""

    async def answers_everything(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("here I am")(scope, receive, send)

    client = TestClient(RequestFilter(answers_everything, hosts=LOOPBACK), base_url="http://127.0.0.1:7860")
    assert client.get("/theme.css").status_code == 200
    assert client.request(method, path).status_code == 404


def test_other_hosts_and_other_pages_are_refused(service: Service) -> None:
    client = browser(service)
    assert client.get("/page/page.js", headers={"Host": "evil.example:7860"}).status_code == 403
    assert client.get("/page/page.js", headers={"Host": "localhost:7860"}).status_code == 200
    post = {"params": {"name": "a.mp3"}, "content": b"x"}
    assert client.post("/upload", headers={"Origin": "http://evil.example"}, **post).status_code == 403
    assert client.post("/upload", headers={"Origin": "http://127.0.0.1:7860"}, **post).status_code == 200


def test_the_session_cookie_is_random_private_and_kept(service: Service) -> None:
    client = TestClient(
        RequestFilter(Starlette(routes=routes(service)), hosts=LOOPBACK), base_url="http://127.0.0.1:7860"
    )
    first = client.get("/page/page.js").headers["set-cookie"]
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict", first)
    assert "set-cookie" not in client.get("/page/page.js").headers
    client.cookies.clear()
    forged = client.get("/page/page.js", headers={"Cookie": f"{COOKIE}=../../x"}).headers["set-cookie"]
    assert "../" not in forged


def test_other_bodies_are_bounded_whatever_length_they_declare(service: Service) -> None:
    assert browser(service).post("/files/x/trial", content=bytes(2**17)).status_code == 413
    received: list[str] = []

    async def endless() -> dict[str, Any]:
        received.append("http.request")
        return {"type": "http.request", "body": bytes(2**10), "more_body": True}

    async def reads_everything(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    scope = {"type": "http", "method": "POST", "path": "/files/x/trial", "headers": [(b"host", b"localhost")]}
    asyncio.run(RequestFilter(reads_everything, hosts=LOOPBACK)(scope, endless, None))
    assert len(received) <= 65


def test_the_content_policy_allows_this_host_only(service: Service) -> None:
    policy = browser(service).get("/page/page.js").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http:" not in policy and "https:" not in policy

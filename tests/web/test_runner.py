"""The server's side of the worker, against small scripts that behave as badly as a decoder can."""

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from live import wait_for

from upscale.errors import UserError
from upscale.web.job import Request
from upscale.web.limits import Limits
from upscale.web.runner import Cancelled, Runner

REQUEST = Request(folder="/f", source="/f/input.mp3", name="a.mp3", model="m", device="cpu", audio_seconds=1.0)
READ = "import sys, time, json, os\nfor line in sys.stdin:\n    name = json.loads(line)['name']\n    "
SAY = "say = lambda **message: print(json.dumps(message), flush=True)\n    "


def runner_of(body: str, **limits: float) -> Runner:
    return Runner(replace(Limits(), **limits), command=(sys.executable, "-c", READ + SAY + body))


def test_messages_arrive_in_order_and_the_worker_is_kept() -> None:
    runner = runner_of("say(stage='Restoring', fraction=0.5); say(result={'pid': os.getpid()})")
    runs = [list(runner.run(REQUEST)) for _ in range(2)]
    assert runs[0] == runs[1] and runs[0][0] == {"stage": "Restoring", "fraction": 0.5}
    runner.close()


def test_an_error_is_a_user_error_and_the_worker_is_kept() -> None:
    runner = runner_of("say(error=name + ': ' + str(os.getpid()))")
    messages = []
    for _ in range(2):
        with pytest.raises(UserError, match=r"a\.mp3: \d+") as caught:
            list(runner.run(REQUEST))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    runner.close()


@pytest.mark.parametrize("crash", ["os.kill(os.getpid(), 11)", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_crash_is_one_line_and_the_next_file_gets_a_new_worker(crash: str) -> None:
    runner = runner_of(f"{crash} if name == 'bad' else say(result={{}})")
    assert list(runner.run(REQUEST)) == [{"result": {}}]
    with pytest.raises(UserError, match="damaged"):
        list(runner.run(replace(REQUEST, name="bad")))
    assert list(runner.run(REQUEST)) == [{"result": {}}]
    runner.close()


def test_a_hanging_worker_is_ended() -> None:
    runner = runner_of("time.sleep(60)", job_stall_seconds=0.4)
    started = time.monotonic()
    with pytest.raises(UserError, match="too long"):
        list(runner.run(REQUEST))
    assert time.monotonic() - started < 20
    runner.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is watched on Linux only")
def test_a_worker_over_the_memory_limit_is_ended() -> None:
    hungry = "held = []\n    while True: held.append(bytearray(2**24)); time.sleep(0.01); say(stage='x', fraction=0)"
    runner = runner_of(hungry, worker_bytes=200 * 2**20)
    with pytest.raises(UserError, match="memory"):
        list(runner.run(REQUEST))
    runner.close()


def test_cancelling_stops_the_job_that_runs_and_no_other() -> None:
    runner = runner_of("say(stage='x', fraction=0); time.sleep(60)")
    runner.cancel("/f")  # nothing runs: must not hit the next job
    messages = runner.run(REQUEST)
    assert next(messages)["stage"] == "x"
    runner.cancel("/another")
    threading.Timer(0.3, runner.cancel, ["/f"]).start()
    with pytest.raises(Cancelled):
        next(messages)
    runner.close()


def test_closing_the_messages_stops_the_job() -> None:
    runner = runner_of("say(stage=str(os.getpid()), fraction=0); time.sleep(60)")
    messages = runner.run(REQUEST)
    pid = int(next(messages)["stage"])
    messages.close()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    runner.close()


def test_a_dropped_generator_does_not_hold_the_worker() -> None:
    """As gradio does with a visitor who has gone: no close, and a reference that lives on."""
    runner, ended = runner_of("say(stage='x', fraction=0); time.sleep(60 if name == 'slow' else 0); say(result={})"), []
    dropped = runner.run(replace(REQUEST, name="slow"), after=lambda: ended.append(True))
    next(dropped)
    threading.Timer(0.3, runner.cancel, ["/f"]).start()
    assert list(runner.run(replace(REQUEST, folder="/other")))[-1] == {"result": {}}
    wait_for(lambda: ended == [True])
    runner.close()


def test_a_waiting_job_can_be_cancelled() -> None:
    runner = runner_of("say(stage='x', fraction=0); sys.stdin.read(1); say(result={})")
    first, second = runner.run(REQUEST), runner.run(replace(REQUEST, folder="/other"))
    next(first)
    seen: list[Exception] = []

    def wait() -> None:
        try:
            list(second)
        except Cancelled as error:
            seen.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for(lambda: "/other" in runner._jobs)
    runner.cancel("/other")
    assert waiting.is_alive(), "it hears of it when its turn comes"
    runner.cancel("/f")
    waiting.join()
    assert len(seen) == 1
    runner.close()


def test_jobs_run_one_at_a_time() -> None:
    """Were two jobs with the worker at once, one would be handed messages of the other."""
    runner = runner_of("say(stage=name, fraction=0); time.sleep(0.2); say(result={'name': name})")
    seen: dict[str, list[object]] = {}

    def job(name: str) -> None:
        seen[name] = list(runner.run(replace(REQUEST, folder=f"/{name}", name=name)))

    names = ["first", "second", "third"]
    threads = [threading.Thread(target=job, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {name: [{"stage": name, "fraction": 0}, {"result": {"name": name}}] for name in names}
    runner.close()


def test_close_ends_a_running_job() -> None:
    runner = runner_of("say(stage='x', fraction=0); time.sleep(60)")
    messages = runner.run(REQUEST)
    next(messages)
    threading.Timer(0.3, runner.close).start()
    with pytest.raises(UserError):
        next(messages)

"""Training that is killed, terminated or robbed of its checkpoint ends as if nothing had happened, bit for bit."""

import random
import signal
import time
from pathlib import Path

import pytest
from conftest import Fault, MakeRun, Run, assert_same_run

from upscale.restore import Restorer

NUM_BATCHES = 8


def lengths(full: bool) -> tuple[int, int]:
    """(number of kills, number of epochs)."""
    return (20, 20) if full else (3, 5)


def settings(num_epochs: int) -> list[str]:
    return [f"data.num_batches={NUM_BATCHES}", f"trainer.max_epochs={num_epochs}", "callbacks.last.every_n_steps=3"]


def finished(run: Run) -> Run:
    assert run.start().wait() == 0, run.log()[-2000:]
    return run


def test_training_killed_at_random_moments_equals_an_uninterrupted_run(
    make_run: MakeRun, full: bool, fault: Fault
) -> None:
    num_kills, num_epochs = lengths(full)
    reference = finished(make_run("reference", *settings(num_epochs)))
    run = make_run("killed", *settings(num_epochs), "data.num_workers=1", pause_seconds=0.01)
    generator = random.Random(8)
    survived = kills = 0
    while kills < num_kills:
        run.resume()
        before = len(run.diary())
        # Some while it starts or loads, most between its steps, in them, in a validation or while it saves.
        more = 0 if generator.random() < 0.2 else generator.randrange(1, 10)
        running = run.wait_for(lambda before=before, more=more: len(run.diary()) >= before + more)
        time.sleep(generator.uniform(0.0, 0.6 if more == 0 else 0.06))
        if not running or run.process is None or run.process.exitcode is not None:
            break  # the run was faster than the kills: the count below says so
        assert run.strike(signal.SIGKILL) == -signal.SIGKILL
        kills += 1
        hidden = [path.name for path in (run.output / "checkpoints").glob("*.ckpt")] if run.output.exists() else []
        survived += set(hidden) <= {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert run.resume().wait() == 0, run.log()[-2000:]
    assert kills == num_kills
    assert_same_run(run, reference, num_steps=num_epochs * NUM_BATCHES)
    Restorer.load(run.output / "checkpoints" / "best.ckpt")
    fault("training killed (SIGKILL)", injected=kills, lost=kills - survived)


def test_sigterm_saves_a_checkpoint_before_the_run_ends(make_run: MakeRun, full: bool, fault: Fault) -> None:
    num_terms, num_epochs = (5, 8) if full else (2, 4)
    reference = finished(make_run("reference", *settings(num_epochs)))
    run = make_run("terminated", *settings(num_epochs), pause_seconds=0.01)
    generator = random.Random(9)
    for number in range(num_terms):
        run.resume()
        until = len(run.diary()) + generator.randrange(2, 9)
        assert run.wait_for(lambda until=until: len(run.diary()) >= until)
        time.sleep(generator.uniform(0.0, 0.02))
        assert run.strike(signal.SIGTERM) == 130, run.log()[-2000:]
        assert run.checkpoint()["global_step"] == max(run.steps()), f"termination {number} lost a step"
        assert "go on with: python train.py resume=" in run.log()
    assert run.resume().wait() == 0, run.log()[-2000:]
    assert_same_run(run, reference, num_steps=num_epochs * NUM_BATCHES)
    fault("training terminated (SIGTERM)", injected=num_terms)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    """In the middle of the weights, where only a checksum notices it."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_in_half, flip_a_bit, empty])
def test_a_damaged_checkpoint_is_detected_and_the_previous_one_used(damage, make_run: MakeRun, fault: Fault) -> None:
    reference = finished(make_run("reference", *settings(2)))
    run = make_run("damaged", *settings(2), pause_seconds=0.01)
    run.start()
    assert run.wait_for(lambda: max(run.steps(), default=0) >= 10)
    run.strike(signal.SIGKILL)
    damage(run.output / "checkpoints" / "last.ckpt")
    assert run.resume().wait() == 0, run.log()[-2000:]
    assert "last.ckpt is damaged and passed over" in run.log()
    assert_same_run(run, reference, num_steps=2 * NUM_BATCHES)
    fault("checkpoint damaged on disk")


def test_a_finished_run_goes_on_with_more_epochs(make_run: MakeRun) -> None:
    reference = finished(make_run("reference", *settings(3)))
    run = finished(make_run("longer", *settings(1)))
    assert run.resume("trainer.max_epochs=3").wait() == 0, run.log()[-2000:]
    assert_same_run(run, reference, num_steps=3 * NUM_BATCHES)


def test_a_run_that_ended_within_an_epoch_goes_on(make_run: MakeRun) -> None:
    run = make_run("short", *settings(3), "trainer.max_steps=5")
    assert run.start().wait() == 0, run.log()[-2000:]
    assert "Traceback" not in run.log()
    assert run.checkpoint()["global_step"] == 5


def test_the_same_seed_gives_the_same_loss_for_20_steps(make_run: MakeRun) -> None:
    one, other = (finished(make_run(name, "data.num_batches=20", "trainer.max_epochs=1")) for name in ("one", "other"))
    assert len(one.steps()) == 20
    assert_same_run(one, other, num_steps=20)

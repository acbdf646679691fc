"""Loop counters in a checkpoint, normalised so that Lightning resumes at exactly the right batch.

A checkpoint can be written after any batch, in the middle of a validation, or between two epochs. Lightning stores its
counters as they happen to be. At some of these moments the resumed run would skip a validation or an epoch. Therefore
the counters are put into one of three states from which Lightning resumes exactly:

    between epochs        every counter of the epoch says "completed"
    within an epoch       the batch in hand counts as completed, no validation is open
    a validation is due   all that was trained counts as completed, and the validation starts again
"""

from typing import Any

from lightning.pytorch import Trainer

COUNTERS = ("ready", "started", "processed", "completed")
MID_VALIDATION = {"ready": 1, "started": 1, "processed": 0, "completed": 0}  # how Lightning knows that one is open


def normalise_loop_counters(loops: dict[str, Any], trainer: Trainer) -> None:
    """Change `checkpoint["loops"]` in place into one of the three states."""
    state = loops["fit_loop"]
    epochs, batches = state["epoch_progress"], state["epoch_loop.batch_progress"]
    validation, own = state["epoch_loop.val_loop.batch_progress"], state["epoch_loop.state_dict"]
    for progress in (epochs, batches):
        for counts in (progress["total"], progress["current"]):
            counts["completed"] = counts["processed"]
    within_epoch = epochs["current"]["started"] > epochs["current"]["processed"]
    validation_due = within_epoch and (trainer.validating or batches["is_last_batch"])
    for counts in (epochs["total"], epochs["current"]):
        counts["ready"] = counts["started"]  # an epoch that is ready but not started is not begun
    for part in ("total", "current"):
        validation[part] = dict(MID_VALIDATION) if validation_due else dict.fromkeys(COUNTERS, 0)
    # Loggers count the batches that stepped; the last one counts when its validation is over.
    own["_batches_that_stepped"] = trainer.global_step - int(validation_due)


def count_resumed_epoch(trainer: Trainer) -> None:
    """Call after a validation: Lightning would not step the plateau schedule in an epoch that was resumed."""
    trainer.fit_loop.restarting = False

"""What one visitor may ask of the page: sizes, lengths, counts and times."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what an uploaded file may cost."""

    upload_bytes: int = 300 * 2**20
    audio_seconds: float = 20 * 60.0
    files_per_user: int = 4  # a further upload replaces the oldest
    disk_bytes: int = 20 * 2**30  # of all users together
    worker_bytes: int = 8 * 2**30  # resident memory of the process that opens files
    keep_seconds: float = 60 * 60.0  # after a file was last used
    queue_size: int = 20  # jobs that wait
    upload_stall_seconds: float = 30.0  # without a byte
    upload_seconds: float = 15 * 60.0
    job_stall_seconds: float = 5 * 60.0  # without progress

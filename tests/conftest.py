"""What every test shares: one thread a process, because tests run in parallel."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

"""What every test shares: one thread a process, because tests run in parallel; and Triton's kernels run on a CPU."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")

"""Fixtures shared by every test; two threads at most, so that parallel tests do not fight for the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

"""Speed, measured: `python -m scripts.benchmark blocks|codec|data|margin|model ...`; `NAME -h` lists its options."""

import importlib
import sys
from pathlib import Path

BENCHMARKS = sorted(path.stem for path in (Path(__file__).parent / "benchmarks").glob("[a-z]*.py"))


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in BENCHMARKS:
        sys.exit(f"name a benchmark: python -m scripts.benchmark {'|'.join(BENCHMARKS)}")
    importlib.import_module(f"scripts.benchmarks.{name}").main(sys.argv[2:])


if __name__ == "__main__":
    main()

"""`python -m tests.conformance.kafka [SCENE ...] [--brokers 1,3] [--modes plain] [--out FOLDER]`; exits 1 when a difference is not explained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mesh_core.lab import Missing

from .modes import MODES
from .play import play_all
from .scenes import SCENES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.kafka")
    parser.add_argument("scenes", nargs="*", choices=[[], *SCENES], metavar="SCENE", help=", ".join(SCENES))
    parser.add_argument("--brokers", default="1,3", help="sizes of the cluster")
    parser.add_argument("--modes", default=",".join(MODES), help="how the sidecar stands before it: " + ", ".join(MODES))
    parser.add_argument("--out", type=Path, default=Path("dist/conformance/kafka"), help="folder for outputs and reports")
    options = parser.parse_args()
    scenes = {name: SCENES[name] for name in options.scenes or SCENES}
    modes = [MODES[name] for name in options.modes.split(",")]
    try:
        return 0 if play_all(scenes, modes, [int(size) for size in options.brokers.split(",")], options.out) else 1
    except Missing as missing:
        print(f"not installed: {missing.package}; run .ci/servers as root", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

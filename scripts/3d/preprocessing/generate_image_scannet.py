"""ScanNet's videos (.sens) -> DATA/scannet/posed_images/<scene>/. --fast takes every 10th frame, --every N every Nth;
without them long videos give every 10th frame and short ones all."""

from pathlib import Path
from typing import Literal

from llava.captures.sens import SAMPLED_EVERY
from llava.complaints import run_script
from llava.prepare.run import run_step


def main(
    data: Path = Path("data"),
    workers: int | None = None,
    ray: str | None = None,
    fast: bool = False,
    every: int | None = None,
    compat: Literal["video3d"] | None = None,
) -> None:
    run_step("posed images", data, workers, ray, every=SAMPLED_EVERY if fast else every, compat=compat)


if __name__ == "__main__":
    run_script(main, __doc__)

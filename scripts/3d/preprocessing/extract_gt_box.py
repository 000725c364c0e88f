"""Boxes of the labelled objects -> DATA/metadata/scannet_{train,val}_gt_box.json."""

from pathlib import Path
from typing import Literal

from llava.complaints import run_script
from llava.prepare.run import run_step


def main(
    data: Path = Path("data"),
    workers: int | None = None,
    ray: str | None = None,
    compat: Literal["video3d"] | None = None,
) -> None:
    run_step("gt boxes", data, workers, ray, compat=compat)


if __name__ == "__main__":
    run_script(main, __doc__)

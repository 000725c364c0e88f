"""The frames that together cover most of each scan -> DATA/metadata/scannet_select_frames.json."""

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
    run_step("frame choice", data, workers, ray, compat=compat)


if __name__ == "__main__":
    run_script(main, __doc__)

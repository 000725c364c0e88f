"""Meshes, segments and labels -> DATA/scannet/pcd_with_object_aabbs/<split>/<scene>.pth."""

from pathlib import Path

from llava.complaints import run_script
from llava.prepare.run import run_step


def main(data: Path = Path("data"), workers: int | None = None, ray: str | None = None) -> None:
    run_step("points", data, workers, ray)


if __name__ == "__main__":
    run_script(main, __doc__)

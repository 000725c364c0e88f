"""The voxels that each scan occupies -> DATA/metadata/pcd_discrete_0.1.pkl."""

from pathlib import Path

from llava.complaints import run_script
from llava.prepare.run import run_step


def main(data: Path = Path("data"), workers: int | None = None, ray: str | None = None) -> None:
    run_step("voxels", data, workers, ray)


if __name__ == "__main__":
    run_script(main, __doc__)

"""ScanRefer's descriptions -> DATA/processed/scanrefer_vg_<split>_llava_style.json, for each split that is there."""

from pathlib import Path

import tyro

from llava.tasks import process_splits


def main(data: Path = Path("data")) -> None:
    process_splits("scanrefer", data)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

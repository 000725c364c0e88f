"""ScanRefer as captions -> DATA/processed/scan2cap_<split>_llava_style.json, for each split that is there."""

from pathlib import Path

import tyro

from llava.tasks import process_splits


def main(data: Path = Path("data")) -> None:
    process_splits("scan2cap", data)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

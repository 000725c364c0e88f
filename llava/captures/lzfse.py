"""Apple's LZFSE compression, unpacked only where the result has the size that it must have.

A few kilobytes can unpack to gigabytes, and the library takes no limit. The data tell before they are unpacked: they
are a row of blocks, each beginning with four letters that say of what kind it is, and its size unpacked (Apple's
reference implementation, github.com/lzfse/lzfse, ``lzfse_internal.h``).
"""

from __future__ import annotations

import struct

END = b"bvx$"
LEAST_V2 = 32  # bytes of the header of a "bvx2" block without its table


def unpack(packed: bytes, size: int) -> bytes:
    """The ``size`` bytes that ``packed`` holds. ValueError: it is damaged, or holds another number of bytes."""
    import lzfse

    promised = unpacked_size(packed)
    if promised != size:
        raise ValueError(f"it unpacks to {promised} bytes, expected {size}")
    try:
        data = lzfse.decompress(packed)
    except lzfse.error as error:
        raise ValueError("its LZFSE data are damaged") from error
    if len(data) != size:
        raise ValueError(f"it unpacks to {len(data)} bytes, expected {size}")
    return data


def unpacked_size(packed: bytes) -> int:
    """How many bytes the blocks of ``packed`` say that they unpack to. ValueError: they are no LZFSE blocks."""
    at = total = 0
    try:
        while (kind := packed[at : at + 4]) != END:
            total += struct.unpack_from("<I", packed, at + 4)[0]
            at += _block_length(kind, packed, at)
    except (KeyError, struct.error) as error:
        raise ValueError(f"it is no LZFSE data, or cut short ({len(packed)} bytes)") from error
    return total


def _block_length(kind: bytes, packed: bytes, at: int) -> int:
    """Bytes of the block at ``at``; KeyError: of an unknown kind, struct.error: it is cut short."""
    if kind == b"bvx-":  # as it is
        return 8 + struct.unpack_from("<I", packed, at + 4)[0]
    if kind == b"bvxn":  # LZVN, for little data
        return 12 + struct.unpack_from("<I", packed, at + 8)[0]
    if kind != b"bvx2":
        raise KeyError(kind)
    literals, matches, header = struct.unpack_from("<3Q", packed, at + 8)
    return max(LEAST_V2, header & 0xFFFFFFFF) + (literals >> 20 & 0xFFFFF) + (matches >> 40 & 0xFFFFF)

"""One setting of the C library that makes convolutions on a CPU faster."""

from __future__ import annotations

import ctypes
import sys


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system after every layer.

    On a CPU, allocating and zeroing the pages again takes longer than many of the layers (benchmarks/speed/allocator.py).
    """
    if not sys.platform.startswith('linux'):
        return
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):  # not glibc
        return
    trim_threshold, mmap_max = -1, -4
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)

"""Import time of fgvc_zoo and timm, and the time of `fgvc-zoo --help`: medians over alternating fresh processes, as JSON.

    python benchmarks/speed/import_time.py [pairs]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time


def seconds(*arguments: str) -> float:
    """Wall clock seconds of one fresh Python process."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    seconds('-c', 'import fgvc_zoo')  # the first one reads from the disk
    timm, ours, help_page, bare = [], [], [], []
    for _ in range(pairs):
        timm.append(seconds('-c', 'import timm'))
        ours.append(seconds('-c', 'import fgvc_zoo'))
        help_page.append(seconds('-m', 'fgvc_zoo_cli', '--help'))
        bare.append(seconds('-c', 'pass'))
    print(json.dumps(dict(
        pairs=pairs,
        import_timm_seconds=round(statistics.median(timm), 3),
        import_fgvc_zoo_seconds=round(statistics.median(ours), 3),
        ratio=round(statistics.median(b / a for a, b in zip(timm, ours, strict=True)), 3),
        help_seconds=round(statistics.median(help_page), 3),
        bare_python_seconds=round(statistics.median(bare), 3)), indent=2))


if __name__ == '__main__':
    main()

"""What importing the package adds to importing timm, and how soon `fgvc-zoo --help` answers: medians over fresh processes.

    python benchmarks/speed/import_time.py
"""

import json
import statistics
import subprocess
import sys
import time

RUNS = 7


def seconds(*command: str) -> float:
    """Wall time of one process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    measured = dict(timm=[], fgvc_zoo=[], help=[])
    for _ in range(RUNS + 1):  # the first round warms the disk cache
        measured['timm'].append(seconds(sys.executable, '-c', 'import timm'))
        measured['fgvc_zoo'].append(seconds(sys.executable, '-c', 'import timm, fgvc_zoo'))
        measured['help'].append(seconds('fgvc-zoo', '--help'))
    added = [ours - theirs for ours, theirs in zip(measured['fgvc_zoo'], measured['timm'], strict=True)]
    print(json.dumps(dict(
        import_timm=round(statistics.median(measured['timm'][1:]), 3), added_by_fgvc_zoo=round(statistics.median(added[1:]), 3),
        help=round(statistics.median(measured['help'][1:]), 3)), indent=2))


if __name__ == '__main__':
    main()

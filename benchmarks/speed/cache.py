"""How much of the decoded images do the processes that load images share? Linux only.

    python benchmarks/speed/cache.py --data cub200:PATH --json FILE

Decodes the training split, trains nothing, and reads the memory of each process from /proc. A page that several processes map counts in the
resident size of each, and in the proportional size (PSS) of all of them once.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from fgvc_zoo._files import write_json
from fgvc_zoo.data import EpochSampler, open_dataset, train_transform
from fgvc_zoo.data.transforms import Augmentation
from fgvc_zoo.training.setup import train_loader


def memory(pid: int) -> dict[str, float]:
    """Resident and proportional size of a process, and what belongs to it alone, in GB."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text(encoding='ascii').splitlines()[1:]
    sizes = {line.split(':')[0]: 1.024e-6 * int(line.split()[1]) for line in lines}  # of what the file calls kB, 1,024 bytes
    return dict(resident=round(sizes['Rss'], 2), proportional=round(sizes['Pss'], 2),
                private=round(sizes['Private_Clean'] + sizes['Private_Dirty'], 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', required=True, help='NAME:PATH')
    parser.add_argument('--side', type=int, default=336, help='short side of the decoded images in pixels')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = memory(os.getpid())['resident']
    transform = train_transform(224, (0.5,) * 3, (0.5,) * 3, 'bicubic', Augmentation())
    dataset = open_dataset(options.data, 'train', transform=transform)
    dataset.cache(options.side)
    loader = train_loader(dataset, EpochSampler(len(dataset), 32), 32, options.workers, pin=False)
    batches = iter(loader)
    for _ in range(len(loader) - 2 * options.workers):  # so that every image was read, and all workers still run
        next(batches)
    workers = [memory(worker.pid) for worker in batches._workers]  # type: ignore[attr-defined]
    main_process = memory(os.getpid())
    table: dict[str, Any] = dict(
        images=len(dataset), cache=round(dataset.cache_bytes(options.side) / 1e9, 2), before=before, main=main_process, workers=workers,
        all_processes=round(main_process['proportional'] + sum(worker['proportional'] for worker in workers), 2))
    print(table)
    if options.json:
        write_json(options.json, table)


if __name__ == '__main__':
    main()

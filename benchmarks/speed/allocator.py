"""Training throughput on a CPU with and without keeping freed memory, in alternating processes.

    python benchmarks/speed/allocator.py
"""

import json
import statistics
import subprocess
import sys

STEPS = '''
import sys, time
import timm, torch
import fgvc_zoo
from fgvc_zoo.tasks import create_task
from fgvc_zoo._memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
model = timm.create_model("tf_efficientnet_lite0", num_classes=50).to(memory_format=torch.channels_last)
task = create_task("baseline", model)
images = torch.randn(32, 3, 224, 224).to(memory_format=torch.channels_last)
targets = torch.randint(50, (32,))
def step():
    task(images, targets)["loss"].backward()
    model.zero_grad()
step()
begun = time.perf_counter()
for _ in range(3):
    step()
print(3 * 32 / (time.perf_counter() - begun))
'''


def rate(mode: str) -> float:
    """Images per second of a fresh process."""
    result = subprocess.run([sys.executable, '-c', STEPS, mode], capture_output=True, text=True, check=True)
    return float(result.stdout)


def main() -> None:
    pairs = [(rate('keep'), rate('default')) for _ in range(5)]
    print(json.dumps(dict(
        keep_images_per_second=statistics.median(pair[0] for pair in pairs),
        default_images_per_second=statistics.median(pair[1] for pair in pairs),
        ratio=statistics.median(pair[0] / pair[1] for pair in pairs)), indent=2))


if __name__ == '__main__':
    main()

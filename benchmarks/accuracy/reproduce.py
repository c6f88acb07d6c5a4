"""Measure every checkpoint of the manifest again and compare with what the manifest says.

    python benchmarks/accuracy/reproduce.py --data cub50=cub200:PATH --data grocery81=grocery:PATH

Fails if a top-1 accuracy differs by more than 0.2 points.
"""

import argparse

from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import evaluate
from fgvc_zoo.loading import eval_transform_for, load_model

TOLERANCE = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', action='append', required=True, metavar='TAG=LAYOUT:PATH')
    specs = dict(item.split('=', 1) for item in parser.parse_args().data)
    worst = 0.0
    for item in load_manifest():
        if item.tag not in specs:
            print(f'{item.name}: no data given, skipped')
            continue
        model = load_model(item.name)
        metrics = evaluate(model, open_dataset(specs[item.tag], 'test', transform=eval_transform_for(model)), workers=1)
        difference = metrics['top1'] - item.metrics['top1']
        worst = max(worst, abs(difference))
        print(f"{item.name}: {metrics['top1']:.2f} %, the manifest says {item.metrics['top1']:.2f} % ({difference:+.2f})")
    return int(worst > TOLERANCE)


if __name__ == '__main__':
    raise SystemExit(main())

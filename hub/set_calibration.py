"""Give a checkpoint of the zoo the calibration of a run: one of the same recipe that held photographs back.

    python hub/set_calibration.py wsdan_tf_efficientnet_lite0.grocery81 runs/grocery-wsdan-fit
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fgvc_zoo.calibration import calibration_of
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.loading import load_model
from fgvc_zoo.publishing import find_checkpoint, set_calibration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=[item.name for item in load_manifest()])
    parser.add_argument('run', type=Path, help='its config.json has a calibration: trained on the split fit, measured on holdout')
    options = parser.parse_args()
    item = find_checkpoint(options.name)
    assert item is not None  # argparse knows the names
    run = load_model(str(options.run))
    if run.pretrained_cfg['architecture'] != item.architecture or run.num_classes != item.num_classes:
        raise SystemExit(f'{options.run} is another architecture, or has other classes')
    calibration = calibration_of(run)
    if not calibration.images:
        raise SystemExit(f'{options.run} is not calibrated: train it on the split fit and measure holdout, or run fgvc-zoo calibrate')
    set_calibration(item, calibration)
    print(f'{item.name}: {calibration}')


if __name__ == '__main__':
    main()

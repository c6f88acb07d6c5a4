"""`fgvc-zoo calibrate`: fit a temperature on photographs that training did not see."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from fgvc_zoo_cli._common import BatchSize, Data, Device, Workers
from fgvc_zoo_cli._measuring import collect, trained_on, training_record
from fgvc_zoo_cli._terminal import console

if TYPE_CHECKING:
    from fgvc_zoo.data import ImageDataset


def calibrate(
        model: Annotated[str, typer.Argument(help='The folder of a run, or a name with weights.')],
        data: Data,
        split: Annotated[str, typer.Option(help='Photographs that training did not see, and no test split.')] = 'holdout',
        write: Annotated[Optional[Path], typer.Option(
            metavar='FOLDER', help="The model folder whose config.json gets the calibration, such as a run of the same recipe on all "
            "photographs; the model's own, if not given.")] = None,
        batch_size: BatchSize = 32,
        workers: Workers = 2,
        device: Device = None,
) -> None:
    """Make probabilities mean what they say: fit a temperature, and the threshold below which a photograph shows none of the classes."""
    from fgvc_zoo import metrics
    from fgvc_zoo._device import choose_device
    from fgvc_zoo._errors import UserError
    from fgvc_zoo._files import check_folder
    from fgvc_zoo.calibration import TOO_FEW, fit_calibration
    from fgvc_zoo.data import open_dataset
    from fgvc_zoo.loading import class_names, eval_transform_for, load_model
    from fgvc_zoo.saving import write_calibration

    folder = write or Path(model.removeprefix('local-dir:'))
    if not (folder / 'config.json').is_file():
        raise UserError(f"'{folder}' has no config.json to write the calibration to: name a model folder with --write")
    check_folder(folder)
    network = load_model(model, choose_device(device))
    dataset = open_dataset(data, split, transform=eval_transform_for(network))
    if _has_test_photographs(data, dataset):
        raise UserError('test photographs cannot calibrate a model, since what is measured on them afterwards would be too good: take '
                        'photographs that were held back from training (--split holdout)')
    if own := trained_on(model, data, dataset):
        raise UserError(f"this run was trained on the split '{own}', with photographs of '{split}': calibrate a run of the same "
                        "recipe on 'fit' (fgvc-zoo train --train-split fit --eval-split holdout), and name this one with --write")
    if training_record(model) is None:
        warnings.warn(f"nothing says which photographs '{model}' was trained on: if those of '{split}' are among them, its probabilities "
                      'will be too high', stacklevel=1)
    known = {'the data': dataset.class_names}
    if write:
        known[f"'{write}'"] = class_names(load_model(str(write)))
    for owner, names in known.items():
        if names != class_names(network):
            raise UserError(f"'{model}' and {owner} have other classes: calibrate with the photographs that the model was trained for")
    answers = collect(network, dataset, f'measuring on {split}', batch_size, workers)
    fitted = fit_calibration(answers.scores['combined'], answers.targets)
    write_calibration(folder, fitted)
    logits = answers.scores['combined']
    before, after = (metrics.calibration_error(value, answers.targets) for value in (logits.softmax(1), fitted.probabilities(logits)))
    err = console(stderr=True)
    err.print(f'{folder}: temperature {fitted.temperature:g}, threshold {fitted.threshold:g}, from {fitted.images} photographs')
    if not fitted.threshold:
        warnings.warn(TOO_FEW, stacklevel=1)
    err.print(f'on these, the expected calibration error was {before:.3f} and is {after:.3f}')


def _has_test_photographs(data: str, dataset: ImageDataset) -> bool:
    """Whether photographs are test photographs of the data, whatever the name of their split."""
    from fgvc_zoo._errors import UserError
    from fgvc_zoo.data import open_dataset

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # those of the split that is taken were shown
            return dataset.shared(open_dataset(data, 'test')) > 0
    except UserError:  # there is none
        return False

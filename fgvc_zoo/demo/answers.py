"""What the demo answers to one photograph: which models there are, and their predictions, within limits."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fgvc_zoo._errors import UserError
from fgvc_zoo.calibration import calibration_of
from fgvc_zoo.checkpoints import Checkpoint, load_manifest
from fgvc_zoo.data import image_size
from fgvc_zoo.loading import TimmModel, describe_classes, load_model
from fgvc_zoo.prediction import Prediction, predict

MAX_BYTES = 16 * 2**20
MAX_PIXELS = 50_000_000  # decoded, 150 MB
TOP = 5  # classes of an answer

_COMPARED = 'cub200'  # the tag of the checkpoints that the methods are compared with
_KINDS = {'cub200': 'Birds', 'grocery81': 'Groceries'}
_METHODS = {'apinet': 'API-Net', 'osme': 'OSME', 'racnn': 'RA-CNN', 'wsban': 'WS-BAN', 'wsdan': 'WS-DAN'}

# each model is loaded once; the page asks one at a time, so two threads never load the same one
load_once = cache(load_model)


def packaged_models() -> list[str]:
    """Names of the checkpoints in the package; first that of `fgvc-zoo predict`, then those that are compared."""
    return [item.name for item in sorted(_packaged(), key=lambda item: item.tag == _COMPARED)]


def compared_models() -> list[Checkpoint]:
    """The packaged checkpoints that differ in their method only: one of each method, trained on the same photographs."""
    return [item for item in _packaged() if item.tag == _COMPARED]


def label(name: str) -> str:
    """A model's name for people: 'Groceries: WS-DAN'; its own name if it is not in the package."""
    item = _checkpoint(name)
    return f'{_KINDS.get(item.tag, item.tag)}: {method_label(item)}' if item is not None else name


def method_label(item: Checkpoint) -> str:
    """The name of a checkpoint's method, as its paper writes it."""
    method = item.architecture.partition('_')[0]
    return _METHODS.get(method, method)


def describe(name: str) -> str:
    """What a model was trained on, how often it is right, and what it cannot do, in a few sentences."""
    model, item = load_once(name), _checkpoint(name)
    sentences = [f'{name}: {describe_classes(name, model)}.']
    if item is not None:
        accuracy = f'{item.metrics["top1"]:.1f}\N{NO-BREAK SPACE}%'
        sentences += [f'Top-1 accuracy on the test photographs: {accuracy}.', f'Licence of the weights: {item.license}.']
    if not calibration_of(model).images:
        sentences.append('It is not calibrated, so it names a class for any photograph.')
    return ' '.join(sentences)


def ask(name: str, photo: Path) -> tuple[Prediction, TimmModel]:
    """A model's prediction for a photograph, with its view and explanation, and the model.

    Args:
        name: What `load_model` loads.
        photo: An image file of at most `MAX_BYTES` and `MAX_PIXELS`.

    Raises:
        UserError: The file cannot be read or is too large. The message names it without its folder.
    """
    check_photo(photo)
    model = load_once(name)
    prediction, = predict(model, [photo], TOP, explain=True)
    if prediction.error is not None:
        raise UserError(_without_folder(prediction.error, photo))
    return prediction, model


def check_photo(photo: Path) -> None:
    """Raise a UserError, in one sentence without the photograph's folder, if it is too large or no image. Reads the header only."""
    size = photo.stat().st_size if photo.is_file() else 0
    if size > MAX_BYTES:
        raise UserError(f"the image '{photo.name}' has {size / 2**20:.1f} MB, more than the {MAX_BYTES // 2**20} MB allowed")
    try:
        width, height = image_size(photo)
    except UserError as error:
        raise UserError(_without_folder(str(error), photo)) from error
    if width * height > MAX_PIXELS:
        raise UserError(f"the image '{photo.name}' has {width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million allowed")


def _packaged() -> list[Checkpoint]:
    return [item for item in load_manifest() if item.in_package]


def _checkpoint(name: str) -> Checkpoint | None:
    return next((item for item in _packaged() if item.name == name), None)


def _without_folder(message: str, photo: Path) -> str:
    return message.replace(str(photo), photo.name)

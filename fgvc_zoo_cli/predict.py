"""`fgvc-zoo predict`: classify photographs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fgvc_zoo_cli._common import Device, Json
from fgvc_zoo_cli._terminal import console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from fgvc_zoo.prediction import Prediction

DEFAULT_MODEL = 'wsdan_tf_efficientnet_lite0.grocery81'
_BAR = 24


def predict(
        paths: Annotated[list[Path], typer.Argument(help='Image files, and folders of them.')],
        model: Annotated[str, typer.Option(help='A name with weights (see `fgvc-zoo models`), or the folder of a run.')] = DEFAULT_MODEL,
        top: Annotated[int, typer.Option(min=1, help='Number of classes to show.')] = 5,
        classes: Annotated[Optional[list[str]], typer.Option(
            help='Names of the classes that come into question, separated by commas; may be repeated. All, if not given.')] = None,
        as_json: Json = False,
        save: Annotated[Optional[Path], typer.Option(help='Folder for pictures of the attention and the enlarged region.')] = None,
        device: Device = None,
) -> None:
    """Classify photographs."""
    from fgvc_zoo._device import choose_device
    from fgvc_zoo._errors import plain
    from fgvc_zoo._files import check_folder
    from fgvc_zoo._progress import progress_bar
    from fgvc_zoo.data import find_images, free_names
    from fgvc_zoo.explain import draw_prediction
    from fgvc_zoo.loading import class_names, load_model
    from fgvc_zoo.prediction import predict as predict_images

    images = find_images(paths)
    network = load_model(model, choose_device(device))
    out, err = console(), console(stderr=True)
    if save:
        check_folder(save)
    among = _names(classes, class_names(network)) if classes else None
    pictures = free_names(images, save, '.explained.png') if save else []
    answers: list[Prediction] = []
    with progress_bar(err.is_terminal, err) as bar:
        task = bar.add_task('predicting', total=len(images))
        for answer in predict_images(network, images, top, explain=save is not None, classes=among):
            answers.append(answer)
            bar.advance(task)
            if not as_json and answer.error is None:
                _show(out, answer)
            if save and answer.error is None:
                picture = draw_prediction(answer, network.pretrained_cfg)
                with open(pictures[len(answers) - 1], 'xb') as file:  # another program may have made a file of this name meanwhile
                    picture.save(file, 'PNG')
                answers[-1] = dataclasses.replace(answer, view=None, explanation=None)  # drawn; a folder may hold many
    if as_json:
        print_json([_record(answer) for answer in answers])
    failed = [answer for answer in answers if answer.error is not None]
    for answer in failed:
        err.print(f'fgvc-zoo: {plain(answer.error or "")}', style='red')
    if failed:
        err.print(f'fgvc-zoo: {len(failed)} of {len(answers)} images could not be read', style='red')
        raise typer.Exit(1)


def _names(words: list[str], known: list[str]) -> list[str]:
    """The names in the words of `--classes`. A name may have a comma itself."""
    from fgvc_zoo.data import match_classes

    parts = [[word] if match_classes([word], known)[0] is not None else word.split(',') for word in words]
    return [name.strip() for names in parts for name in names if name.strip()]


def _show(out: Console, answer: Prediction) -> None:
    from fgvc_zoo._errors import plain

    sign = '#' if out.options.ascii_only else '█'
    out.print(plain(str(answer.path)), style='bold')
    for name, probability in zip(answer.names, answer.probabilities, strict=True):
        bar = sign * round(_BAR * probability)
        out.print(f'  {100 * probability:5.1f} %  {bar:<{_BAR}}  {plain(name)}')


def _record(answer: Prediction) -> dict[str, Any]:
    if answer.error is not None:
        return dict(path=str(answer.path), error=answer.error)
    best = [dict(name=name, probability=round(value, 6)) for name, value in zip(answer.names, answer.probabilities, strict=True)]
    return dict(path=str(answer.path), predictions=best)

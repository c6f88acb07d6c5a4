"""`fgvc-zoo explain`: pictures of what a model attended to in photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from fgvc_zoo_cli._common import MODEL, Device
from fgvc_zoo_cli._terminal import console
from fgvc_zoo_cli.predict import DEFAULT_MODEL

if TYPE_CHECKING:
    from fgvc_zoo.explain import Example, Examples
    from fgvc_zoo.loading import TimmModel
    from fgvc_zoo.prediction import Prediction


def explain(
        paths: Annotated[list[str], typer.Argument(help='Image files, and folders of them.')],
        output: Annotated[Path, typer.Option(help='Folder for the pictures.')],
        model: Annotated[str, typer.Option(help=MODEL)] = DEFAULT_MODEL,
        examples: Annotated[Optional[str], typer.Option(
            metavar='DATA', help='Show a photograph of each class from these data: NAME:PATH as --data has it, or a folder.')] = None,
        html: Annotated[bool, typer.Option('--html', help='Write one page with all photographs instead of a picture of each.')] = False,
        theme: Annotated[str, typer.Option(help='Background of the pictures: light or dark. A page follows its reader.')] = 'light',
        top: Annotated[int, typer.Option(min=1, help='Number of classes to show.')] = 5,
        device: Device = None,
) -> None:
    """Draw what a model attended to in photographs."""
    from rich.text import Text

    from fgvc_zoo._device import choose_device
    from fgvc_zoo._errors import check_choice, plain
    from fgvc_zoo._files import check_folder
    from fgvc_zoo._pages import check_page
    from fgvc_zoo._progress import progress_bar
    from fgvc_zoo.data import check_outside, find_images, free_names
    from fgvc_zoo.explain import PAGE, THEMES, draw_prediction, sheet_of, write_new, write_page
    from fgvc_zoo.loading import load_model
    from fgvc_zoo.prediction import predict

    check_choice('theme', theme, THEMES)
    images = find_images(paths)
    network = load_model(model, choose_device(device))
    found = _find_examples(network, examples) if examples else None
    if found:
        check_outside(found.dataset, output)
    check_folder(output)
    if html:
        check_page(output / PAGE)
    err = console(stderr=True)
    cfg, failed = network.pretrained_cfg, 0
    with progress_bar(err.is_terminal, err, unit='images') as bar:
        task = bar.add_task('explaining', total=len(images))

        def answered() -> Iterator[tuple[Path, Prediction, list[Example]]]:
            """What could be read: where its picture goes, the prediction, examples."""
            nonlocal failed
            answers = predict(network, images, top, batch_size=1, explain=True)
            for path, answer in zip(free_names(images, output, '.explained.png'), answers, strict=True):
                if answer.error is not None:
                    failed += 1
                    err.print(Text(f'fgvc-zoo: {plain(answer.error)}', style='red'))
                else:
                    yield path, answer, found.of(answer) if found else []
                bar.advance(task)

        if html:
            write_page(output / PAGE, model, (sheet_of(answer, cfg, shown) for _, answer, shown in answered()))
        else:
            for path, answer, shown in answered():
                write_new(draw_prediction(answer, cfg, shown, theme), path)
    done = len(images) - failed
    err.print(f"fgvc-zoo: {done} {'photograph is' if done == 1 else 'photographs are'} in {plain(str(output / PAGE if html else output))}")
    if failed:
        err.print(f'fgvc-zoo: {failed} of {len(images)} images could not be read', style='red')
        raise typer.Exit(1)


def _find_examples(model: TimmModel, data: str) -> Examples:
    from fgvc_zoo.data import open_dataset
    from fgvc_zoo.explain import Examples

    return Examples(model, open_dataset(data, 'train'))

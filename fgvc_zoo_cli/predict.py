"""`fgvc-zoo predict`: classify photographs, one or many."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from fgvc_zoo_cli._common import MODEL, BatchSize, Device, Json, Workers
from fgvc_zoo_cli._paths import read_paths
from fgvc_zoo_cli._rows import STDOUT, Csv, Format, JsonArray, JsonLines, Output
from fgvc_zoo_cli._terminal import console

if TYPE_CHECKING:
    from rich.console import Console

    from fgvc_zoo.prediction import Prediction

DEFAULT_MODEL = 'wsdan_tf_efficientnet_lite0.grocery81'
_BAR = 24


def predict(
        paths: Annotated[Optional[list[str]], typer.Argument(help='Image files, and folders of them.')] = None,
        model: Annotated[str, typer.Option(help=MODEL)] = DEFAULT_MODEL,
        top: Annotated[int, typer.Option(min=1, help='Number of classes to show.')] = 5,
        classes: Annotated[Optional[list[str]], typer.Option(
            help='Names of the classes that come into question, separated by commas; may be repeated. All, if not given.')] = None,
        min_probability: Annotated[float, typer.Option(min=0, max=1, help='Leave out classes with a lower probability.')] = 0,
        as_json: Json = False,
        jsonl: Annotated[Optional[Path], typer.Option(help='Write one JSON object a line to this file; - for standard output.')] = None,
        csv: Annotated[Optional[Path], typer.Option(help='Write a table to this file; - for standard output.')] = None,
        stdin: Annotated[bool, typer.Option('--stdin', help='Read paths from standard input, one a line, as they come.')] = False,
        null: Annotated[bool, typer.Option('--null', '-0', help='As --stdin, with a NUL character after each path.')] = False,
        save: Annotated[Optional[Path], typer.Option(help='Folder for pictures of the attention and the enlarged region.')] = None,
        batch_size: BatchSize = 16,
        input_size: Annotated[Optional[int], typer.Option(help="Side of the input in pixels; the model's own if not given.")] = None,
        workers: Workers = 2,
        device: Device = None,
) -> None:
    """Classify photographs."""
    from fgvc_zoo._device import choose_device
    from fgvc_zoo._errors import UserError
    from fgvc_zoo._files import check_folder
    from fgvc_zoo.data import find_images, free_names
    from fgvc_zoo.loading import class_names, describe_classes, load_model
    from fgvc_zoo.prediction import check_input_size, find_classes, predict as predict_images

    stdin = stdin or null
    if bool(paths) == stdin:
        raise UserError('give photographs as arguments or with --stdin, not both' if stdin else
                        'there is nothing to predict: give image files or folders, or --stdin')
    if stdin and save:
        raise UserError('--save must know all photographs before it names the pictures: give them as arguments instead of --stdin')
    images = find_images(paths or [])
    network = load_model(model, choose_device(device))
    names = class_names(network)
    among = _names(classes, names) if classes else None
    columns = min(top, len(find_classes(names, among) if among is not None else names))
    if input_size is not None:
        check_input_size(network, input_size)
    if save:
        check_folder(save)
    outputs = _outputs(as_json, jsonl, csv, columns)
    shown = not any(str(output.target) == STDOUT for output in outputs)  # machines read standard output, or nobody
    err = console(stderr=True)
    if shown:
        err.print(f'{model}: {describe_classes(model, network)}; `fgvc-zoo models` lists other models, --model chooses one', style='dim')
    source: Iterable[str | Path] = read_paths(0, null) if stdin else images
    if not stdin and len(images) <= batch_size:
        workers = 0  # one batch: there is nothing to do beside it
    answers = predict_images(
        network, source, top, batch_size, explain=save is not None, classes=among, workers=workers, input_size=input_size,
        min_probability=min_probability)
    report = _Report(outputs, total=None if stdin else len(images), show_answers=shown and not outputs)
    with closing(answers):
        report.run(answers, network.pretrained_cfg, free_names(images, save, '.explained.png') if save else [])


def _outputs(as_json: bool, jsonl: Path | None, csv: Path | None, columns: int) -> list[Output]:
    """The outputs asked for, checked.

    Raises:
        UserError: Two of them are the same, or one cannot be written.
    """
    from fgvc_zoo._errors import UserError

    asked: list[tuple[Path, Format]] = []
    if as_json:
        asked.append((Path(STDOUT), JsonArray()))
    if jsonl is not None:
        asked.append((jsonl, JsonLines()))
    if csv is not None:
        asked.append((csv, Csv(columns)))
    if len({STDOUT if str(target) == STDOUT else str(target.resolve()) for target, _ in asked}) < len(asked):
        raise UserError('--json, --jsonl and --csv cannot write to the same place: give one of them another file')
    return [Output(target, format) for target, format in asked]


class _Report:
    """Shows and writes answers as they come.

    Args:
        outputs: Where rows are written.
        total: Number of photographs; None if it is not known.
        show_answers: Print the answers for people.
    """

    def __init__(self, outputs: list[Output], total: int | None, show_answers: bool) -> None:
        self.outputs, self.total, self.show_answers = outputs, total, show_answers
        self.done = self.failed = 0
        self.begun = time.monotonic()
        self.out, self.err = console(), console(stderr=True)
        rows_on_screen = self.out.is_terminal and any(str(output.target) == STDOUT for output in outputs)
        # on one terminal, answers and bar go through one console, which keeps the bar below the answers
        self.screen = self.out if show_answers and self.out.is_terminal else self.err
        self.bar = self.screen.is_terminal and not rows_on_screen

    def run(self, answers: Iterable[Prediction], cfg: dict[str, object], pictures: list[Path]) -> None:
        """Show and write every answer; exit with status 1 if an image could not be read, and with 130 if the user interrupts.

        Args:
            answers: In the order of the photographs.
            cfg: The model's pretrained_cfg.
            pictures: Where the picture of each answer is saved; empty for none.
        """
        from fgvc_zoo._progress import ProgressLog, progress_bar

        log = ProgressLog(not self.bar, file=sys.stderr)
        opened: list[Output] = []
        try:
            for output in self.outputs:
                output.open()
                opened.append(output)
            with progress_bar(self.bar, self.screen, unit='images', redirect_stdout=False) as bar:
                task = bar.add_task('predicting', total=self.total)
                for answer in answers:
                    self._take(answer)
                    if pictures and answer.error is None:
                        _draw(answer, pictures[self.done - 1], cfg)
                    bar.advance(task)
                    log.update(self._pace)
        except KeyboardInterrupt:
            self.err.print(f'fgvc-zoo: stopped after {self._state()}', style='red')
            raise typer.Exit(130) from None
        finally:
            for output in opened:
                output.close()
        self._conclude()

    def _take(self, answer: Prediction) -> None:
        from rich.text import Text

        from fgvc_zoo._errors import plain

        for output in self.outputs:
            output.write(answer)
        self.done += 1
        if answer.error is not None:
            self.failed += 1
            place = self.screen if self.err.is_terminal else self.err
            place.print(Text(f'fgvc-zoo: {plain(answer.error)}', style='red'))  # print's own `style` would colour the bar too
        elif self.show_answers:
            _show(self.out, answer)

    def _state(self) -> str:
        return f'{self.done} of {self.total} images' if self.total is not None else f'{self.done} images'

    def _pace(self) -> str:
        from fgvc_zoo._progress import time_left

        rate = self.done / (time.monotonic() - self.begun)
        left = f', {time_left((self.total - self.done) / rate)} left' if self.total is not None else ''
        return f'fgvc-zoo: {self._state()}, {rate:.1f} images/s{left}'

    def _conclude(self) -> None:
        files = [str(output.target) for output in self.outputs if str(output.target) != STDOUT]
        if files:
            self.err.print(f"fgvc-zoo: {self.done} answers are in {' and '.join(files)}")
        if self.failed:
            self.err.print(f'fgvc-zoo: {self.failed} of {self.done} images could not be read', style='red')
            raise typer.Exit(1)


def _draw(answer: Prediction, path: Path, cfg: dict[str, object]) -> None:
    from fgvc_zoo.explain import draw_prediction, write_new

    write_new(draw_prediction(answer, cfg), path)


def _names(words: list[str], known: list[str]) -> list[str]:
    """The names in the words of `--classes`. A name may have a comma itself."""
    from fgvc_zoo.data import match_classes

    parts = [[word] if match_classes([word], known)[0] is not None else word.split(',') for word in words]
    return [name.strip() for names in parts for name in names if name.strip()]


def _show(out: Console, answer: Prediction) -> None:
    from rich.text import Text

    from fgvc_zoo._errors import plain

    sign = '#' if out.options.ascii_only else '█'
    out.print(Text(plain(str(answer.path)), style='bold'))
    if answer.unknown:
        out.print('  perhaps none of these: it does not look like photographs of the classes')
    for name, probability in zip(answer.names, answer.probabilities, strict=True):
        bar = sign * round(_BAR * probability)
        out.print(f'  {100 * probability:5.1f} %  {bar:<{_BAR}}  {plain(name)}')
    if not answer.names:
        out.print('  no class is probable enough')

"""`fgvc-zoo predict`: the main job."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from fgvc_zoo.cli._common import choose_device, progress_bar
from fgvc_zoo.data import find_images, load_image
from fgvc_zoo.explain import explain_image
from fgvc_zoo.loading import load_model
from fgvc_zoo.prediction import Prediction, predict

_BAR = 24


def run(paths: list[Path], model_name: str, top: int, as_json: bool, save: Path | None, device: str | None) -> int:
    """Answer every image; returns the exit status: 1 if any image could not be read, else 0."""
    images = find_images(paths)
    model = load_model(model_name, choose_device(device))
    out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
    names = _picture_names(images) if save else []
    answers: list[Prediction] = []
    with progress_bar(err) as bar:
        shown = bar.add_task('looking', total=len(images))
        for answer in predict(model, images, top):
            answers.append(answer)
            bar.advance(shown)
            if not as_json and answer.error is None:
                _show(out, answer)
            if save and answer.error is None:
                save.mkdir(parents=True, exist_ok=True)
                explain_image(model, load_image(answer.path)).save(save / names[len(answers) - 1])
    if as_json:
        print(json.dumps([_record(answer) for answer in answers], indent=2, ensure_ascii=False))
    failed = [answer for answer in answers if answer.error is not None]
    for answer in failed:
        err.print(f'fgvc-zoo: {escape(answer.error or "")}', style='red')
    if failed:
        err.print(f'fgvc-zoo: {len(failed)} of {len(answers)} images could not be read', style='red')
    return int(bool(failed))


def _show(out: Console, answer: Prediction) -> None:
    out.print(f'[bold]{escape(str(answer.path))}[/bold]')
    for name, probability in zip(answer.names, answer.probabilities, strict=True):
        bar = '█' * round(_BAR * probability)
        out.print(f'  {100 * probability:5.1f} %  {bar:<{_BAR}}  {escape(name)}')


def _record(answer: Prediction) -> dict:
    if answer.error is not None:
        return dict(path=str(answer.path), error=answer.error)
    best = [dict(name=name, probability=round(value, 6)) for name, value in zip(answer.names, answer.probabilities, strict=True)]
    return dict(path=str(answer.path), predictions=best)


def _picture_names(images: list[Path]) -> list[str]:
    """A file name for each picture: the image's, with a number where several would be equal."""
    seen: Counter[str] = Counter()
    names = []
    for path in images:
        seen[path.stem] += 1
        number = f'_{seen[path.stem]}' if seen[path.stem] > 1 else ''
        names.append(f'{path.stem}{number}.png')
    return names

"""The demo's answers as HTML: headings, lists and pictures with a text, for every screen and for screen readers."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from fgvc_zoo._errors import UserError, plain
from fgvc_zoo.demo.answers import ask, compared_models, describe, method_label
from fgvc_zoo.explain import panels_html, sheet_of
from fgvc_zoo.prediction import Prediction

NO_PHOTO = '<p class="hint">Give a photograph to see the answer here.</p>'
UNKNOWN = 'Perhaps none of these'
_TOP_COMPARED = 3  # classes of each method's answer
_WHY_UNKNOWN = 'It does not look like photographs of the classes.'


def render_answer(name: str, photo: str | Path | None) -> str:
    """One model's answer: the classes, pictures of the attention, and what the model is.

    Args:
        name: What `load_model` loads.
        photo: An image file; None if there is none yet.

    Returns:
        HTML. A photograph that cannot be used becomes one sentence.
    """
    if photo is None:
        return NO_PHOTO
    try:
        prediction, model = ask(name, Path(photo))
    except UserError as error:
        return _problem(error)
    note = f'<p class="unknown">{_WHY_UNKNOWN}</p>' if prediction.unknown else ''
    return (
        f'<h2>{UNKNOWN if prediction.unknown else escape(plain(prediction.names[0]))}</h2>{note}{_classes(prediction)}'
        f'{panels_html(sheet_of(prediction, model.pretrained_cfg).panels)}'
        f'<p class="about">{escape(plain(describe(name)))}</p>')


def render_comparison(photo: str | Path | None) -> str:
    """The answers of all methods to one photograph, side by side.

    Args:
        photo: An image file; None if there is none yet.

    Returns:
        HTML. A photograph that cannot be used becomes one sentence.
    """
    if photo is None:
        return NO_PHOTO
    cards = []
    for item in compared_models():
        try:
            prediction, model = ask(item.name, Path(photo))
        except UserError as error:
            return _problem(error)
        panels = panels_html(sheet_of(prediction, model.pretrained_cfg).panels[:2])  # the photograph with boxes, the attention
        note = f'<p class="unknown">{UNKNOWN}</p>' if prediction.unknown else ''
        cards.append(f'<article><h3>{method_label(item)}</h3>{note}{_classes(prediction, _TOP_COMPARED)}{panels}</article>')
    accuracies = ((method_label(item), item.metrics['top1'] / 100) for item in compared_models())
    others = [method_label(item) for item in compared_models() if item.calibration is None]
    low = f" The probabilities of {', '.join(others)} are too low, since they are not calibrated." if others else ''
    cards.append(f'<article><h3>How often each is right</h3>{_bars(accuracies)}<p class="about">Top-1 accuracy on the test photographs '
                 f'of birds, which none of them was trained on.{low}</p></article>')
    return f'<div class="methods">{"".join(cards)}</div>'


def _problem(error: UserError) -> str:
    text = plain(str(error))
    return f'<p class="problem" role="alert">{escape(text[:1].upper() + text[1:])}.</p>'


def _classes(prediction: Prediction, top: int | None = None) -> str:
    return _bars(list(zip(prediction.names, prediction.probabilities, strict=True))[:top])


def _bars(rows: Iterable[tuple[str, float]]) -> str:
    """A list of names with their shares in [0, 1], as numbers and bars."""
    items = ''.join(
        f'<li><span class="name">{escape(plain(name))}</span> <span class="share">{100 * share:.1f} %</span>'
        f'<span class="bar" aria-hidden="true"><span style="width: {100 * share:.1f}%"></span></span></li>' for name, share in rows)
    return f'<ol>{items}</ol>'

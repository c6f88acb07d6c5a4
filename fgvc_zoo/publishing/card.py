"""The model card: metadata for the Hub, and a text made from the result files."""

from __future__ import annotations

import html
import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from fgvc_zoo._errors import plain
from fgvc_zoo.comparison import compare_records
from fgvc_zoo.data import LAYOUTS
from fgvc_zoo.models import Paper

OPPONENTS = dict(plain='plain fine-tuning', baseline='baseline')
TEMPLATE = Path(__file__).with_name('card.md.jinja')
# licences that the Hub knows; any other is 'other', with its text in license_name
_LICENSES = ('apache-2.0', 'mit', 'bsd-2-clause', 'bsd-3-clause', 'cc0-1.0', 'cc-by-4.0', 'cc-by-sa-4.0', 'cc-by-nc-4.0', 'cc-by-nc-sa-4.0')
LISTED_CLASSES = 1000
_FIGURES = (('top1', 'top-1'), ('top5', 'top-5'), ('mean_per_class', 'mean per class'))


def render_card(
        repo_id: str, config: dict[str, Any], record: dict[str, Any], opponents: dict[str, dict[str, Any]], license: str, about: str,
        picture: str, rounded: bool, files: list[str], paper: Paper | None = None, package: str = 'fgvc-zoo', base_model: str = '',
        trained_images: int = 0) -> str:
    """Render `card.md.jinja`.

    Args:
        repo_id: 'ORG/NAME'.
        config: The model's config.json.
        record: The model's result file.
        opponents: Result files to compare with: 'plain' (plain fine-tuning in the papers' protocol) and 'baseline' (tuned), if there are.
        license: Licence of the weights.
        about: The training data, in words; may be empty.
        picture: Name of the picture in the repository, or ''.
        rounded: Whether the weights were measured in single precision and then rounded to half precision.
        files: Names of the files in the repository.
        paper: The paper of the method that it was trained with; None for the baseline.
        package: The distribution that registers the model; '' if unknown.
        base_model: The repository on the Hub of the weights that training began with; '' if unknown.
        trained_images: Number of photographs that it was trained on; 0 if unknown.
    """
    metrics = record['metrics']
    parts = [(f'its {name} prediction alone', value) for name, value in metrics.items()
             if isinstance(value, dict) and 'mean_per_class' in value and name != 'combined']
    rows = [('**this model**', metrics), *parts, *((OPPONENTS[name], opponent['metrics']) for name, opponent in opponents.items())]
    comparisons = [(OPPONENTS[name], compare_records(record, opponent)) for name, opponent in opponents.items()
                   if 'correct' in metrics and 'correct' in opponent['metrics']]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters['text'] = as_text
    text = environment.from_string(TEMPLATE.read_text(encoding='utf-8')).render(
        metadata=_metadata(repo_id.split('/')[-1], record, license, base_model).to_yaml(), repo_id=repo_id,
        architecture=config['architecture'], packages=['fgvc-zoo', *({package} - {'fgvc-zoo', ''})], project=project_page(),
        data_title=data_title(record), measured_images=len(metrics.get('correct', '')), trained_images=trained_images,
        base_model=base_model, labels=config['label_names'], shown_labels=config['label_names'][:LISTED_CLASSES], about=about.rstrip('.'),
        paper=paper, package=package, picture=picture, result=record, rows=rows, opponents=opponents, comparisons=comparisons,
        rounded=rounded, license=license, files=files, confusions='; '.join(
            f"{as_text(pair['true'])} taken for {as_text(pair['predicted'])}" for pair in metrics.get('confusions', [])[:5]))
    return re.sub('\n{3,}', '\n\n', text)


def as_text(text: str) -> str:
    """Text from outside as Markdown that shows it as it is: no markup, HTML, picture, link or heading of its own, on one line."""
    escaped = re.sub(r'([\\`*_\[\]|~])', r'\\\1', html.escape(plain(text), quote=False))
    return re.sub(r'^(\d*)([#+\-=.)])', r'\1\\\2', escaped)


def data_title(record: dict[str, Any]) -> str:
    """What a result was measured on, for people: a data set's title, or the name of an own folder."""
    if 'dataset' in record:
        return record['dataset']['title']
    layout = LAYOUTS.get(record['data'])
    return layout.info.title if layout else f"own photographs (the folder '{record['data']}')"


def project_page(package: str = 'fgvc-zoo') -> str:
    """The first web page that an installed distribution names in its metadata; '' if it names none."""
    try:
        pages = metadata(package).get_all('Project-URL') or []
    except PackageNotFoundError:
        return ''
    return pages[0].partition(',')[2].strip() if pages else ''


def _metadata(name: str, record: dict[str, Any], license: str, base_model: str) -> ModelCardData:
    spdx = '-'.join(license.lower().split())  # 'CC BY-NC 4.0' is how people write it
    license_id = spdx if spdx in _LICENSES else 'other'
    first_words = re.sub('[^a-z0-9.]+', '-', license.lower().partition(',')[0]).strip('-')
    return ModelCardData(
        library_name='timm', pipeline_tag='image-classification', metrics=['accuracy'], model_name=name, license=license_id,
        base_model=base_model or None,
        license_name=first_words if license_id == 'other' else None,
        tags=['timm', 'transformers', 'fgvc-zoo', 'fine-grained', *filter(None, [record['method']])],
        eval_results=[EvalResult(
            task_type='image-classification', dataset_type=record['data'], dataset_name=data_title(record), dataset_split=record['split'],
            metric_type='accuracy', metric_name=f'{title} (%)', metric_value=record['metrics'][key]) for key, title in _FIGURES])

"""One loss a file."""

from fgvc_zoo.losses.center import center_loss, update_centers
from fgvc_zoo.losses.cross_entropy import WeightedCrossEntropy, balanced_weights
from fgvc_zoo.losses.distillation import distillation_loss
from fgvc_zoo.losses.mamc import attention_sets, mamc_loss
from fgvc_zoo.losses.ranking import inter_scale_ranking_loss, score_ranking_loss, true_class_probability

__all__ = [
    'WeightedCrossEntropy', 'attention_sets', 'balanced_weights', 'center_loss', 'distillation_loss', 'inter_scale_ranking_loss',
    'mamc_loss', 'score_ranking_loss', 'true_class_probability', 'update_centers',
]

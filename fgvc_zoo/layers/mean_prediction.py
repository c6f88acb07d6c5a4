"""The mean of several predictions of one image (the passes of WS-DAN and WS-BAN, the scales of RA-CNN)."""

import math

import torch
from torch import Tensor


def mean_prediction(logits: list[Tensor]) -> Tensor:
    """Log of the mean of several predictions' probabilities.

    Probabilities are averaged, not logits; the two can rank classes differently. Computed in float32 and in log space to avoid underflow.

    Args:
        logits: (B, K) for each prediction.

    Returns:
        Log probabilities (B, K) in the logits' dtype.

    Example:
        >>> import torch
        >>> sure, unsure = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.4, 0.6]]).log()
        >>> mean_prediction([sure, unsure]).exp()
        tensor([[0.6500, 0.3500]])
    """
    each = torch.stack([single.float().log_softmax(1) for single in logits])
    return (each.logsumexp(0) - math.log(len(logits))).to(logits[0].dtype)

"""How several predictions of one image become one (WS-DAN and WS-BAN: two passes; RA-CNN: scales)."""

import math

import torch
from torch import Tensor


def mean_prediction(logits: list[Tensor]) -> Tensor:
    """Log of the mean of several predictions' probabilities.

    The mean of probabilities, not of logits: the two rank classes differently. Computed in float32 and in log space, so that no
    probability underflows.

    Args:
        logits: Logits (B, K) of each prediction.

    Returns:
        Log probabilities (B, K) in the logits' dtype.
    """
    each = torch.stack([single.float().log_softmax(1) for single in logits])
    return (each.logsumexp(0) - math.log(len(logits))).to(logits[0].dtype)

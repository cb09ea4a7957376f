"""The loss: next-token cross-entropy on the assistant's tokens (paper section 3).

Shapes: B conversations, L tokens, D width, V vocabulary, S supervised tokens.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from comem_core.backbone.reader import Reader


def compute_token_losses(
    reader: Reader, hidden_BLD: Tensor, ids_BL: Tensor, supervised_BL: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the cross-entropy of each supervised token, in nats: (losses_S, predicted ids_S, right ids_S).

    For the arguments see `compute_supervised_logits`.
    """
    logits_SV, right_S = compute_supervised_logits(reader, hidden_BLD, ids_BL, supervised_BL)
    return cross_entropy(logits_SV, right_S, reduction="none"), logits_SV.argmax(dim=-1), right_S


def compute_divergence(logits_SV: Tensor, taught_SV: Tensor) -> Tensor:
    """Compute how far each token's distribution is from the one that is taught: the Kullback-Leibler divergence, in
    nats, as losses_S."""
    found_SV, wanted_SV = logits_SV.log_softmax(dim=-1), taught_SV.log_softmax(dim=-1)
    return kl_div(found_SV, wanted_SV, reduction="none", log_target=True).sum(dim=-1)


def compute_supervised_logits(
    reader: Reader, hidden_BLD: Tensor, ids_BL: Tensor, supervised_BL: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the logits of each supervised token alone, in float32: (logits_SV, right ids_S).

    `hidden_BLD` may be longer than `ids_BL`, because memory is in front; both end at the same token.
    """
    length = ids_BL.shape[1]
    if hidden_BLD.shape[1] > length:
        before_BLD = hidden_BLD[:, -length - 1 : -1]
    else:
        before_BLD, supervised_BL, ids_BL = hidden_BLD[:, :-1], supervised_BL[:, 1:], ids_BL[:, 1:]
    return reader.logits(before_BLD[supervised_BL]).float(), ids_BL[supervised_BL]

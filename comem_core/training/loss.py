"""The loss: next-token cross-entropy on the assistant's tokens (paper section 3).

Shapes: B conversations, L tokens, D width, V vocabulary, S supervised tokens.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from comem_core.backbone.reader import Reader


def compute_token_losses(
    reader: Reader, hidden_BLD: Tensor, ids_BL: Tensor, supervised_BL: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the cross-entropy of each supervised token, in nats, with logits at these positions only.

    `hidden_BLD` may be longer than `ids_BL`, because memory is in front; both end at the same token. Returns
    (losses_S, predicted ids_S, right ids_S).
    """
    length = ids_BL.shape[1]
    if hidden_BLD.shape[1] > length:
        before_BLD = hidden_BLD[:, -length - 1 : -1]
    else:
        before_BLD, supervised_BL, ids_BL = hidden_BLD[:, :-1], supervised_BL[:, 1:], ids_BL[:, 1:]
    logits_SV = reader.logits(before_BLD[supervised_BL])
    right_S = ids_BL[supervised_BL]
    return cross_entropy(logits_SV.float(), right_S, reduction="none"), logits_SV.argmax(dim=-1), right_S

"""Scale-invariant signal-to-noise ratio (SI-SNR, also SI-SDR with zero mean)."""

from torch import Tensor


def si_snr(*, estimate: Tensor, reference: Tensor, eps: float = 0.0) -> Tensor:
    r"""SI-SNR of estimates in dB; higher is better.

    With both signals made zero-mean, :math:`s_t = \frac{\langle \hat s, s\rangle}{\|s\|^2} s` and
    :math:`10 \log_{10} \|s_t\|^2 / \|\hat s - s_t\|^2` (Luo and Mesgarani, 2018, equation 3; Le Roux
    et al., 2019).

    Args:
        estimate: ``[..., time]``.
        reference: ``[..., time]``, broadcast against ``estimate``.
        eps: added to every energy. 0 is the definition: a silent reference or a silent estimate gives
            nan and a perfect estimate inf. A loss needs about 1e-8 to have a gradient there.

    Returns:
        One value per item, ``[...]``.
    """
    estimate = estimate - estimate.mean(-1, keepdim=True)
    reference = reference - reference.mean(-1, keepdim=True)
    energy = reference.square().sum(-1, keepdim=True) + eps
    target = (estimate * reference).sum(-1, keepdim=True) / energy * reference
    noise = estimate - target
    return 10 * ((target.square().sum(-1) + eps) / (noise.square().sum(-1) + eps)).log10()

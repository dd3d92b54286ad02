"""What a listener may want to know of how a recording was worked on."""

from dataclasses import dataclass

from septool.inference.streaming import FileEstimate


@dataclass(frozen=True)
class Finding:
    """A warning, and the recording that it is about."""

    text: str
    recording: str | None = None  # as messages name it; None if it holds for all of them


def report_caveats(
    recording: str, estimate: FileEstimate, *, channel: int | None, model: str, model_rate: int
) -> list[Finding]:
    """Return what is worth a word of a recording whose voices were written.

    Args:
        recording: what it is called in messages.
        estimate: what it was found to be.
        channel: the one that was listened to; None if all were averaged.
        model: the checkpoint's name.
        model_rate: Hz.
    """
    info = estimate.info
    caveats: list[Finding] = []
    caveats += [Finding(each.describe(recording), recording) for each in info.findings if not each.is_harmless]
    if info.channels > 1 and channel is None:
        averaged = f"{recording}: {info.channels} channels were averaged to one; --channel takes one of them"
        caveats.append(Finding(averaged, recording))
    if info.rate > model_rate:
        caveats.append(Finding(f"{model} hears up to {model_rate // 2} Hz; what lies above is left out"))
    if estimate.clipped:
        clipped = f"{recording}: {estimate.clipped} samples went over full scale and were clipped"
        caveats.append(Finding(clipped, recording))
    return caveats

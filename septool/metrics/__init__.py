"""The metrics, one line each: name, unit, function, direction."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

from septool.errors import UsageError
from septool.registry import Registry
from septool.version import __version__


class UndefinedError(ValueError):
    """A metric has no value here, and why; it is counted apart and never becomes a number."""


@dataclass(frozen=True)
class Measure:
    """A number by which results are judged."""

    name: str
    unit: str
    better: Literal["higher", "lower"] = "higher"
    definition: str = ""
    weight: str = ""  # measure that weights items in the mean over all; without one they count alike

    @property
    def key(self) -> str:
        """The name as a key in logs and headers."""
        return self.name.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Metric(Measure):
    """A measure of an estimate e against its reference s, by one of :data:`FUNCTIONS`."""

    base: str  # name of the function
    improvement: bool = False  # the gain over the unprocessed mixture
    needs_others: bool = False  # its function takes the item's other references, too
    needs_text: bool = False  # its function takes what is said in the reference
    packages: tuple[str, ...] = ()  # that have to be there besides septool's own
    extra: str = ""  # extra of septool that installs those


# Each takes (estimate=, reference=, rate=) as float64 arrays [time], those that need them also others= [source, time],
# and returns one number or raises UndefinedError.
FUNCTIONS: Registry[Callable[..., float]] = Registry(
    "metric",
    {
        "si-snr": "septool.metrics.si_snr:si_snr_item",
        "snr": "septool.metrics.snr:snr_item",
        "sdr": "septool.metrics.sdr:sdr_item",
        "sir": "septool.metrics.interference:sir_item",
        "sar": "septool.metrics.interference:sar_item",
        "pesq": "septool.metrics.pesq:pesq_item",
        "stoi": "septool.metrics.stoi:stoi_item",
        "estoi": "septool.metrics.stoi:estoi_item",
        "lsd": "septool.metrics.spectral:log_spectral_distance_item",
        "wer": "septool.metrics.wer:wer_item",
        "dnsmos-sig": "septool.metrics.dnsmos:sig_item",
        "dnsmos-bak": "septool.metrics.dnsmos:bak_item",
        "dnsmos-ovrl": "septool.metrics.dnsmos:ovrl_item",
    },
)

GAIN = "{}(e, s) - {}(mixture, s)"
_SI_SNR = (
    "10 log10 |t|^2 / |e - t|^2 of zero-mean signals, t = <e, s> / |s|^2 s (Luo and Mesgarani 2018, eq. 3; "
    "Le Roux et al. 2019)"
)
_DNSMOS = (
    "DNSMOS P.835 (Reddy et al. 2022) of e at 16000 Hz and -26 dB RMS, without s: {}; the network of speechmos "
    "(Microsoft, MIT licence)"
)
_DNSMOS_PACKAGES = ("speechmos", "onnxruntime")
_BSS_EVAL = "BSS Eval 3 (Vincent et al. 2006), a distortion filter of 512 taps is allowed"
SAME_BY_NAME = {"si-sdr": "si-snr", "si-sdri": "si-snri"}  # the field uses both
METRICS = {
    metric.name: metric
    for metric in (
        Metric("si-snr", "dB", base="si-snr", definition=_SI_SNR),
        Metric("si-snri", "dB", base="si-snr", improvement=True, definition=GAIN.format("si-snr", "si-snr")),
        Metric("si-sdr", "dB", base="si-snr", definition=f"{SAME_BY_NAME['si-sdr']} by another name: {_SI_SNR}"),
        Metric("si-sdri", "dB", base="si-snr", improvement=True, definition=GAIN.format("si-sdr", "si-sdr")),
        Metric("snr", "dB", base="snr", definition="10 log10 |s|^2 / |e - s|^2"),
        Metric("snri", "dB", base="snr", improvement=True, definition=GAIN.format("snr", "snr")),
        Metric("sdr", "dB", base="sdr", definition=f"{_BSS_EVAL}: e by the reference's filters against the rest"),
        Metric("sdri", "dB", base="sdr", improvement=True, definition=GAIN.format("sdr", "sdr")),
        Metric(
            "sir", "dB", base="sir", needs_others=True, definition=f"{_BSS_EVAL}: the reference against the others in e"
        ),
        Metric(
            "sar", "dB", base="sar", needs_others=True, definition=f"{_BSS_EVAL}: all references in e against the rest"
        ),
        Metric(
            "pesq", "MOS", base="pesq", definition="MOS-LQO of ITU-T P.862.1 (8000 Hz, narrow band) or P.862.2 (16000)"
        ),
        Metric("stoi", "", base="stoi", definition="Taal et al. 2011, at 10000 Hz, silent frames left out"),
        Metric("estoi", "", base="estoi", definition="Jensen and Taal 2016, at 10000 Hz, silent frames left out"),
        Metric(
            "lsd",
            "dB",
            base="lsd",
            better="lower",
            definition="mean over 32 ms frames of the RMS over frequency of 10 log10 P_s / P_e, powers floored 80 dB "
            "below the reference's highest",
        ),
        Metric(
            "wer",
            "%",
            base="wer",
            better="lower",
            needs_text=True,
            definition="word error rate of --asr: (substitutions + deletions + insertions) / words of the reference's "
            "text, a voice each, in lower case without punctuation",
        ),
        *(
            Metric(name, "MOS", base=name, definition=_DNSMOS.format(of), packages=_DNSMOS_PACKAGES, extra="dnsmos")
            for name, of in (("dnsmos-sig", "speech"), ("dnsmos-bak", "noise"), ("dnsmos-ovrl", "the whole"))
        ),
    )
}

# Packages whose versions the scores depend on.
PACKAGES = ("fast-bss-eval", "pesq", "pystoi", "numpy", "scipy", "torch")


def metric_versions(metrics: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of this package and of those that scores depend on, some of them for these metrics alone."""
    packages = [*PACKAGES, *(package for name in metrics for package in METRICS[name].packages)]
    return {"septool": __version__, **{name: version(name) for name in packages}}


def check_installed(metrics: Iterable[str]) -> None:
    """Refuse metrics whose packages are not there.

    Raises:
        UsageError: naming the first, and what to install.
    """
    for name in metrics:
        missing = [package for package in METRICS[name].packages if find_spec(package) is None]
        if missing:
            extra = METRICS[name].extra
            raise UsageError(f"{name} needs {missing[0]}; install it with: pip install 'septool[{extra}]'")


# What else they are called, "_" read as "-".
ALIASES = {name.replace("-", ""): name for name in METRICS if "-" in name} | {"log-spectral-distance": "lsd"}

"""What can be evaluated: manifests of mixtures or of conversations, lists of trials, and files of references.

Each kind says which metrics it has, where its estimates come from and how what was measured is summarized;
:func:`septool.tasks.evaluate.evaluate` is the same for all.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from septool import catalogue
from septool.audio import SUFFIXES
from septool.data.conversations import holds_conversations
from septool.data.manifest import Mixture, read_manifest
from septool.errors import UsageError
from septool.files import sha256_of
from septool.inference.cascade import find_speaker_network
from septool.inference.dtype import TORCH_DTYPES
from septool.metrics.eer import EER
from septool.metrics.wer import check_recognizer
from septool.models import SPEAKER_MODEL
from septool.scoring.breakdown import parse_groups, summarize_groups
from septool.scoring.conversations import MEASURES
from septool.scoring.file_estimates import estimates_in_folders, estimates_of_manifest, pair_files
from septool.scoring.items import Item, ScoringInput, parse_metric_names
from septool.scoring.jobs import ScoringJob
from septool.scoring.layouts import is_table, parse_template
from septool.scoring.model_estimates import estimates_from_model, trial_scores
from septool.scoring.summary import (
    PRESENCE,
    Detection,
    Summary,
    summarize_detections,
    summarize_items,
    summarize_measures,
    summarize_words,
)

# Parameters of ``evaluate`` that not every source takes.
CONDITIONAL = ("speaker_model", "extract", "metric", "passes", "consistency", "dtype", "by", "asr")
OF_MODELS = ("model", "speaker_model", "extract", "passes", "consistency", "dtype")
OF_FILES = ("sample_rate", "pair", "mixture")
REPORTED = ("si-snr", "si-snri")  # whose difference is how bad the mixture was


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Where estimates come from: files, or a model and how it is run. The fields are ``evaluate``'s arguments.

    Raises:
        UsageError: neither or both of ``files`` and ``model``, or what goes with the other one.
    """

    files: Path | None = None  # a folder, or the estimate of one reference
    model: str | None = None
    speaker_model: str | None = None  # SPEAKER_MODEL by default, where one is needed
    extract: bool = False  # the enrolled voice alone, by a separator
    sample_rate: int | None = None
    pair: str | None = None
    mixture: str | None = None
    passes: int | None = None
    consistency: bool = False
    dtype: str = "fp32"
    device: str = "auto"
    limit: int | None = None
    on_workers: bool = False  # a cluster's, which run the model where they score

    def __post_init__(self) -> None:
        if (self.files is None) == (self.model is None):
            raise UsageError("give a folder of estimates or --model, one of the two")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is {self.limit}; it has to be at least 1")
        if self.passes is not None and self.model is None:
            raise UsageError("--passes is for --model; estimates are there already")
        if self.consistency and (self.model is None or self.extract):
            raise UsageError("--consistency is for all voices that a --model gives")
        if self.dtype not in ("fp32", *TORCH_DTYPES):  # auto would give other scores on other machines
            raise UsageError(f"--dtype is {self.dtype!r}; it can be fp32, {', '.join(TORCH_DTYPES)}")
        if self.dtype != "fp32" and self.model is None:
            raise UsageError("--dtype is for --model; estimates are there already")
        if self.files is None:
            options = {"--sample-rate": self.sample_rate, "--pair": self.pair, "--mixture": self.mixture}
            for option, value in options.items():
                if value is not None:
                    raise UsageError(f"{option} is for a folder of estimates; a model is scored at its own rate")
        if self.extract and self.model is None:
            raise UsageError("--extract is for --model; estimates are there already")
        if self.pair is not None and not is_table(self.pair):
            parse_template(self.pair)


class EvaluationSource(ABC):
    """A manifest, list or reference, and where its estimates come from."""

    takes: ClassVar[frozenset[str]] = frozenset()  # those of CONDITIONAL that apply
    default_metrics: ClassVar[str] = "si-snri,sdri"
    is_one_file: ClassVar[bool] = True  # by whose hash its scores are known again
    has_voices: ClassVar[bool] = True  # to hear in a report
    rows_describe_sources: ClassVar[bool] = False  # by sex, text and noise, say
    detection: ClassVar[Detection] = PRESENCE
    made_apart: ClassVar[bool] = True  # estimates are made first and scored then, by whoever is free

    def __init__(self, path: Path, estimates: Estimates, *, by: str | None = None, asr: str | None = None) -> None:
        """Set up; nothing is read yet.

        Args:
            path: the manifest, list, folder or file.
            estimates: of what is in it.
            by: groups of items that scores are also summarized by.
            asr: command of a recognizer, by which words are scored too.

        Raises:
            UsageError: one of them does not go with what the path is.
        """
        self.path, self.estimates, self.asr = path, estimates, asr
        if estimates.passes is not None and "passes" not in self.takes:
            raise UsageError(f"--passes is for mixtures and conversations, which {path} does not hold")
        if estimates.speaker_model is not None and "speaker_model" in self.inapplicable(extract=estimates.extract):
            raise UsageError(f"--speaker-model is for conversations and --extract; {path} is scored without one")
        if estimates.extract and not self.rows_describe_sources:
            raise UsageError(f"--extract is for a manifest of mixtures with enrollments, which {path} is not")
        for option, given in (("--consistency", estimates.consistency), ("--dtype", estimates.dtype != "fp32")):
            if given and not self.rows_describe_sources:
                raise UsageError(f"{option} is for a manifest of mixtures, which {path} is not")
        self.groups = parse_groups(by) if by is not None else []
        if self.groups and not self.rows_describe_sources:
            raise UsageError(f"--by is for a manifest of mixtures, which {path} is not")
        if asr is not None:
            check_recognizer(asr)
            if not self.rows_describe_sources:
                raise UsageError(f"--asr is for a manifest of mixtures whose sources have a text, which {path} is not")

    @classmethod
    def inapplicable(cls, *, extract: bool, files: bool = False) -> set[str]:
        """Return the parameters of ``evaluate`` that are refused here, as they would say nothing about the scores.

        Args:
            extract: the enrolled voice alone is scored.
            files: estimates are files, and not a model's.
        """
        names = {name for name in CONDITIONAL if name not in cls.takes} | {*(OF_MODELS if files else OF_FILES)}
        if cls.rows_describe_sources:
            names.add("consistency" if extract else "speaker_model")
        return names

    @abstractmethod
    def open(self) -> ScoringJob:
        """Read what there is to score, and load the model."""

    def choose_metrics(self, names: str | None) -> list[str]:
        """Return the metrics of ``--metric``, or those that are usual here.

        Raises:
            UsageError: an unknown one, or one that cannot be chosen here.
        """
        metrics = parse_metric_names(names or self.default_metrics)
        if self.asr is not None:
            return list(dict.fromkeys([*metrics, "wer"]))
        if "wer" in metrics:
            raise UsageError("wer needs a recognizer; give its command with --asr")
        return metrics

    def in_report(self, metrics: Sequence[str]) -> list[str]:
        """Return the metrics that an HTML report shows."""
        return list(dict.fromkeys([*metrics, *REPORTED]))

    def identify(self) -> dict[str, str]:
        """Return the hashes and settings that scores were measured on and with."""
        facts = {"manifest_sha256": sha256_of(self.path)} if self.is_one_file else {}
        if self.estimates.model is not None:
            facts["model_sha256"] = sha256_of(catalogue.resolve_checkpoint(self.estimates.model)[1])
        if self.estimates.passes is not None:
            facts["passes"] = str(self.estimates.passes)
        if self.estimates.consistency:
            facts["consistency"] = "true"
        if self.estimates.dtype != "fp32":
            facts["dtype"] = self.estimates.dtype
        if self.asr is not None:
            facts["asr"] = self.asr
        return facts

    def summarize(self, items: Sequence[Item], metrics: Sequence[str]) -> list[Summary]:
        """Summarize everything that was measured of the items."""
        detected = summarize_detections(items, self.detection)
        return [*summarize_items(items, metrics), *summarize_words(items), *detected]

    def load_again(self, job: ScoringJob, ids: Sequence[str]) -> Iterator[ScoringInput]:
        """Make the signals of a few items once more, for a report; none of what was scored by whoever made it."""
        if not self.made_apart:
            return
        for task in job.tasks({id for id in job.ids if id not in ids}):
            if not isinstance(task, Item):
                yield job.load(task)


class MixtureManifest(EvaluationSource):
    """A manifest of mixtures."""

    takes = frozenset(CONDITIONAL)
    rows_describe_sources = True

    @cached_property
    def rows(self) -> list[Mixture]:
        """The mixtures, by their ids."""
        return sorted(read_manifest(self.path), key=lambda row: row.id)

    def open(self) -> ScoringJob:
        given = self.estimates
        if given.model is not None:
            return estimates_from_model(
                self.rows,
                given.model,
                given.device,
                given.limit,
                on_workers=given.on_workers,
                passes=given.passes,
                consistency=given.consistency,
                dtype=given.dtype,
                extract=given.extract,
                speaker_model=given.speaker_model,
            )
        assert given.files is not None
        if given.pair is not None and is_table(given.pair):
            raise UsageError(f"--pair {given.pair} pairs the files of two folders; for a manifest give a template")
        return estimates_of_manifest(self.rows, given.files, given.limit, given.sample_rate, given.pair)

    def identify(self) -> dict[str, str]:
        facts = super().identify()
        if self.estimates.extract:
            model = catalogue.resolve_checkpoint(str(self.estimates.model))[1]
            if (speaker := find_speaker_network(model, self.estimates.speaker_model)) is not None:
                facts["speaker_model_sha256"] = sha256_of(speaker)
        return facts

    def summarize(self, items: Sequence[Item], metrics: Sequence[str]) -> list[Summary]:
        return super().summarize(items, metrics) + summarize_groups(items, self.rows, metrics, self.groups)


class ConversationManifest(EvaluationSource):
    """A manifest of conversations, which a model takes apart as ``separate --speakers auto`` does."""

    takes = frozenset({"speaker_model", "passes"})
    default_metrics = "si-snri"
    made_apart = False  # they are scored by whoever makes them

    def __init__(self, path: Path, estimates: Estimates, *, by: str | None = None, asr: str | None = None) -> None:
        super().__init__(path, estimates, by=by, asr=asr)
        if estimates.model is None:
            raise UsageError(f"{path} holds conversations; give the separator with --model")

    def open(self) -> ScoringJob:
        from septool.tasks.conversation_scores import conversations_by_model  # SciPy's clustering takes a while

        given = self.estimates
        assert given.model is not None
        return conversations_by_model(
            self.path, given.model, given.speaker_model or SPEAKER_MODEL, given.device, given.limit, given.passes
        )

    def choose_metrics(self, names: str | None) -> list[str]:
        if names is not None:
            raise UsageError(f"{self.path} holds conversations, which have measures of their own; leave out --metric")
        return super().choose_metrics(names)

    def in_report(self, metrics: Sequence[str]) -> list[str]:
        return [*metrics]

    def identify(self) -> dict[str, str]:
        speaker = catalogue.resolve_checkpoint(self.estimates.speaker_model or SPEAKER_MODEL)[1]
        return super().identify() | {"speaker_model_sha256": sha256_of(speaker)}

    def summarize(self, items: Sequence[Item], metrics: Sequence[str]) -> list[Summary]:
        return summarize_measures(items, MEASURES.values()) + super().summarize(items, metrics)


class TrialList(EvaluationSource):
    """A list of trials, which a speaker network says "same" or "different" of."""

    has_voices = False
    made_apart = False
    detection = Detection(EER.name, positive="same", negative="different")

    def open(self) -> ScoringJob:
        given = self.estimates
        if given.model is None:
            raise UsageError(f"{self.path} is a list of trials; give the speaker network with --model")
        return trial_scores(self.path, given.model, given.device, given.limit)

    def choose_metrics(self, names: str | None) -> list[str]:
        if names is not None:
            parse_metric_names(names)
            raise UsageError(f"{self.path} is a list of trials, scored by its equal error rate; leave out --metric")
        return []


class ReferenceFolder(EvaluationSource):
    """A folder of references, whose estimates are in another one."""

    takes = frozenset({"metric"})
    is_one_file = False

    def open(self) -> ScoringJob:
        given = self.estimates
        if given.files is None:
            raise UsageError(f"{self.path} is a folder of references; give the folder of estimates, or a manifest")
        return estimates_in_folders(self.path, given.files, given.limit, given.sample_rate, given.pair, given.mixture)


class ReferenceFile(EvaluationSource):
    """A recording and its estimate."""

    takes = frozenset({"metric"})
    default_metrics = "si-snr,sdr"  # two files have no mixture to improve on
    is_one_file = False  # but for its estimate

    def open(self) -> ScoringJob:
        given = self.estimates
        if given.files is None or given.files.is_dir():
            raise UsageError(f"{self.path} is one reference; give its estimate, a file, beside it")
        return pair_files(self.path, given.files, given.sample_rate)


def find_source(path: Path, estimates: Estimates, *, by: str | None = None, asr: str | None = None) -> EvaluationSource:
    """Say what a path is, by its name and, for a manifest, what is in it; see :class:`EvaluationSource`."""
    kind = source_kind(path)
    if estimates.mixture is not None and kind is not ReferenceFolder:
        raise UsageError(f"--mixture is for a folder of references, which {path} is not")
    return kind(path, estimates, by=by, asr=asr)


def source_kind(path: Path) -> type[EvaluationSource]:
    """Return what a path is, by its name and, for a manifest, by what is in it."""
    if path.is_dir():
        return ReferenceFolder
    if path.suffix.lower() in SUFFIXES:
        return ReferenceFile
    if path.suffix == ".txt":
        return TrialList
    return ConversationManifest if holds_conversations(path) else MixtureManifest

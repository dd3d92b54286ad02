"""The Python interface: ``separate`` and ``extract`` for arrays and tensors in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Union

import numpy as np

from septool import audio, catalogue
from septool.device import choose_device, processor
from septool.errors import AudioError, UsageError
from septool.headers import Header
from septool.inference import EXTRACTION_OVERLAP_S, EXTRACTION_SEGMENT_S, OVERLAP_S, SEGMENT_S
from septool.inference.accelerators import accelerator_of
from septool.inference.dtype import TORCH_DTYPES, check_dtype, choose_dtype, torch_dtype
from septool.inference.engines import Engine, OnnxSeparator, TorchSeparator, engine_for, load_engine, may_use_onnx
from septool.inference.level import ArrayEstimator, on_arrays
from septool.inference.live import EstimateStream
from septool.inference.onnx_runtime import Precision
from septool.inference.streaming import WindowedEstimator, check_segment
from septool.limits import HIGHEST_RATE, LOWEST_RATE

if TYPE_CHECKING:  # ONNX Runtime does without torch
    import torch
    from torch import Tensor

    from septool.inference.enrollment import KnownVoicesEstimator
    from septool.models.base import Extractor, Separator

Samples = Union[np.ndarray, "Tensor"]


class ExtractionResult(NamedTuple):
    """A voice, and how sure the model is that it is in the recording."""

    voice: np.ndarray  # [time]
    presence: float  # the highest score of a segment; above ``header.presence_threshold`` it counts as there


class ExtractionStream(EstimateStream):
    """A recording that arrives block by block, and the voice that is extracted from it; see :class:`EstimateStream`."""

    def __init__(
        self,
        estimator: "KnownVoicesEstimator",
        device: "torch.device",
        *,
        rate: int,
        model_rate: int,
        segment: float,
        overlap: float,
    ) -> None:
        super().__init__(
            on_arrays(estimator, device), voices=1, rate=rate, model_rate=model_rate, segment=segment, overlap=overlap
        )
        self._estimator = estimator

    @property
    def presence(self) -> float | None:
        """The highest score of a segment so far, as in :class:`ExtractionResult`; None before the first segment."""
        return next(iter(self._estimator.presence()[0]), None)


@dataclass(frozen=True)
class SeparationPipeline:
    """A separator ready for recordings in memory."""

    name: str
    model: "Separator | OnnxSeparator"
    header: Header
    device: "torch.device"
    dtype: str = "fp32"  # what it computes in: fp32, bf16, fp16 or int8

    def _estimator(self, *, consistency: bool, passes: int | None) -> ArrayEstimator:
        separator = self.model if isinstance(self.model, OnnxSeparator) else TorchSeparator(self.model, self.header)
        return separator.estimator(self.device, consistency=consistency, dtype=torch_dtype(self.dtype), passes=passes)

    def separate(
        self,
        recording: Samples,
        rate: int,
        *,
        segment: float = SEGMENT_S,
        overlap: float = OVERLAP_S,
        consistency: bool = True,
        passes: int | None = None,
    ) -> np.ndarray:
        """Take a recording apart, as ``septool separate`` does a file.

        It is brought to the model's rate and level; the voices come back at the recording's, together as loud as it.

        Args:
            recording: ``[time]``, of any length, level and floating type.
            rate: of the recording, Hz.
            segment: seconds given to the model at once; longer recordings are cut and stitched together.
            overlap: seconds that two segments share.
            consistency: makes the voices add up to the recording, as the model hears it.
            passes: over the recording, whose voices are averaged; as the checkpoint says by default.

        Returns:
            ``[voice, time]`` in float32, as long as the recording.

        Raises:
            AudioError: it holds non-finite samples.
            UsageError: it has more than one channel, or ``segment`` and ``overlap`` do not go together.
        """
        return _estimate(
            self._estimator(consistency=consistency, passes=passes),
            recording,
            rate,
            model_rate=self.header.sample_rate,
            segment=segment,
            overlap=overlap,
            device=self.device,
        )

    def stream(
        self,
        rate: int,
        *,
        segment: float = SEGMENT_S,
        overlap: float = OVERLAP_S,
        consistency: bool = True,
        passes: int | None = None,
    ) -> EstimateStream:
        """Return what takes a recording apart while it arrives: blocks in, blocks out.

        The voices come ``segment`` seconds late at most, and are the same as of the whole recording::

            stream = load_separator("galr").stream(16000, segment=4.0, overlap=1.0)
            for block in microphone:  # [time]
                play(stream.push(block))  # [voice, time], often of no samples
            play(stream.finish())

        Args:
            rate: of the recording, Hz.
            segment: seconds given to the model at once.
            overlap: seconds that two segments share.
            consistency: makes the voices add up to the recording, as the model hears it.
            passes: over each segment, whose voices are averaged; as the checkpoint says by default.

        Raises:
            UsageError: ``segment`` and ``overlap`` do not go together.
        """
        _check_request(rate, segment, overlap)
        return EstimateStream(
            self._estimator(consistency=consistency, passes=passes),
            voices=self.header.sources,
            rate=rate,
            model_rate=self.header.sample_rate,
            segment=segment,
            overlap=overlap,
        )


@dataclass(frozen=True)
class ExtractionPipeline:
    """An extractor ready for recordings in memory."""

    name: str
    model: "Extractor"
    header: Header
    device: "torch.device"
    dtype: str = "fp32"  # what it computes in: fp32, bf16 or fp16

    def extract(
        self,
        recording: Samples,
        rate: int,
        references: Sequence[Samples],
        *,
        threshold: float | None = None,
        segment: float = EXTRACTION_SEGMENT_S,
        overlap: float = EXTRACTION_OVERLAP_S,
        passes: int | None = None,
    ) -> ExtractionResult:
        """Extract a known voice from a recording, as ``septool extract`` does from a file.

        Args:
            recording: ``[time]``, of any length, level and floating type.
            rate: of the recording and of the references, Hz.
            references: recordings of the wanted voice alone, ``[time]`` each, a second of speech or more.
            threshold: silence segments whose score is lower; none are by default.
            segment: seconds given to the model at once; longer recordings are cut and stitched together.
            overlap: seconds that two segments share.
            passes: over the recording, whose voices are averaged; as the checkpoint says by default.

        Returns:
            The voice, ``[time]`` in float32, as long as the recording, and its presence.

        Raises:
            AudioError: non-finite samples, or a reference with too little of a voice.
            UsageError: no reference, one with more than one channel, or segments that do not go together.
        """
        estimator = self._known_voice(references, rate, threshold, passes)
        voices = _estimate(
            on_arrays(estimator, self.device),
            recording,
            rate,
            model_rate=self.header.sample_rate,
            segment=segment,
            overlap=overlap,
            device=self.device,
        )
        return ExtractionResult(voices[0], estimator.presence()[0][0])

    def stream(
        self,
        rate: int,
        references: Sequence[Samples],
        *,
        threshold: float | None = None,
        segment: float = EXTRACTION_SEGMENT_S,
        overlap: float = EXTRACTION_OVERLAP_S,
        passes: int | None = None,
    ) -> ExtractionStream:
        """Return what extracts a known voice from a recording while it arrives; see :meth:`SeparationPipeline.stream`.

        The stream's ``presence``, the highest score so far, says whether the voice is there.

        Args:
            rate: of the recording and of the references, Hz.
            references: of the speaker, each ``[time]``, as for :meth:`extract`.
            threshold: as for :meth:`extract`.
            segment: seconds given to the model at once.
            overlap: seconds that two segments share.
            passes: over each segment, whose voices are averaged; as the checkpoint says by default.

        Raises:
            AudioError: a reference with non-finite samples, or with too little of a voice.
            UsageError: no reference, one with more than one channel, or segments that do not go together.
        """
        _check_request(rate, segment, overlap)
        return ExtractionStream(
            self._known_voice(references, rate, threshold, passes),
            self.device,
            rate=rate,
            model_rate=self.header.sample_rate,
            segment=segment,
            overlap=overlap,
        )

    def _known_voice(
        self, references: Sequence[Samples], rate: int, threshold: float | None, passes: int | None
    ) -> "KnownVoicesEstimator":
        from septool.inference.enrollment import (
            MAX_REFERENCE_S,
            KnownVoicesEstimator,
            check_reference,
            embed_references,
        )

        if hasattr(references, "ndim"):  # whose rows or samples would be taken for references
            raise UsageError("references is a list of recordings of the wanted voice; put this one in brackets")
        if not references:
            raise UsageError("give a recording of the wanted voice")
        _check_request(rate, EXTRACTION_SEGMENT_S, EXTRACTION_OVERLAP_S)
        model_rate = self.header.sample_rate
        resampled = []
        for number, reference in enumerate(references, 1):
            name = f"reference {number}"
            samples = _one_channel(reference, name)[: round(MAX_REFERENCE_S * rate)]
            resampled.append(audio.resample(samples, rate, model_rate).astype(np.float32))
            check_reference(resampled[-1], model_rate, name)
        embedding = embed_references(self.model.speaker, resampled, model_rate, self.device)
        passes = self.header.choose_passes(passes)
        return KnownVoicesEstimator(self.model, embedding, threshold, torch_dtype(self.dtype), passes)


def load_separator(
    name: str = "galr", device: str = "auto", *, engine: Engine = "torch", dtype: str = "auto"
) -> SeparationPipeline:
    """Load a separator, fetching its weights if they are published and not here.

    Args:
        name: a checkpoint, a model (its default one), ``hf:OWNER/NAME[@REVISION]``, a ``.safetensors`` file, or a
            folder or file of another toolkit.
        device: auto, cpu, cuda, cuda:N or mps.
        engine: ``torch``, whose network is ``model`` then; ``onnx``, which is ONNX Runtime on the processor: exported
            to once, it starts without importing torch; ``auto`` takes what was exported and is about as fast.
        dtype: what the network computes in: ``fp32``, ``bf16``, on a GPU ``fp16``, or, with the engine ``onnx``,
            ``int8`` in linear and LSTM layers; ``auto`` is bf16 where the device has it in hardware and scores,
            measured on a CPU, stay as they are, else fp32.

    Raises:
        UsageError: no such checkpoint, device, engine or dtype.
        CheckpointError: a damaged file, one that cannot be fetched, or a model that does not separate.
        SeptoolError: a network that has no form in ONNX.
    """
    check_dtype(dtype, None, others=["int8"])
    torch_only = [f"dtype {dtype}"] if dtype in TORCH_DTYPES else []
    engine = engine_for(engine, dtype)
    onnx = may_use_onnx(engine, device, torch_only)
    if not onnx:
        check_dtype(dtype, choose_device(device))  # before anything is downloaded
    entry, path = _resolve(name)
    precision: Precision = "int8" if dtype == "int8" else "fp32"
    separator = load_engine(engine, entry, path, onnx=onnx, precision=precision)
    if isinstance(separator, OnnxSeparator):
        return SeparationPipeline(entry, separator, separator.header, processor(), precision)
    chosen = choose_device(device)
    computed_in = choose_dtype(dtype, chosen, separator.header.measured).name
    return SeparationPipeline(entry, separator.model.to(chosen), separator.header, chosen, computed_in)


def load_extractor(
    name: str = "galr", device: str = "auto", *, speaker_model: str | None = None, dtype: str = "auto"
) -> ExtractionPipeline:
    """Load an extractor, by any name that :func:`load_separator` takes.

    Args:
        name: an extractor, or a separator, whose outputs a speaker network chooses from.
        device: auto, cpu, cuda, cuda:N or mps.
        speaker_model: that speaker network; by default the one of ``septool enroll``.
        dtype: as for :func:`load_separator`, without int8; speaker networks compute in float32.

    Raises:
        UsageError: no such checkpoint, device or dtype.
        CheckpointError: a damaged file, one that cannot be fetched, or a model that does not extract.
    """
    from septool.inference import cascade

    chosen = choose_device(device)  # before anything is downloaded
    check_dtype(dtype, chosen)
    entry, path = _resolve(name)
    if speaker_model is not None:
        _resolve(speaker_model)
    model, header = cascade.load_extractor(path, speaker_model)
    return ExtractionPipeline(
        entry, model.to(chosen), header, chosen, choose_dtype(dtype, chosen, header.measured).name
    )


def _resolve(name: str) -> tuple[str, Path]:
    """Return a checkpoint's name and its file, which is fetched if it is not here."""
    try:
        return catalogue.resolve_checkpoint(name)
    except catalogue.NotFetchedError:
        catalogue.fetch_weights(name)
        return catalogue.resolve_checkpoint(name)


def _estimate(
    estimate: ArrayEstimator,
    recording: Samples,
    rate: int,
    *,
    model_rate: int,
    segment: float,
    overlap: float,
    device: "torch.device",
) -> np.ndarray:
    """Return the voices of a recording at its own rate, ``[voice, time]``."""
    _check_request(rate, segment, overlap)
    samples = _one_channel(recording)
    audio.check_finite(samples, "the recording")
    windows = WindowedEstimator(
        estimate, round(segment * model_rate), round(overlap * model_rate), accelerator=accelerator_of(device)
    )
    parts = windows.run([audio.resample(samples, rate, model_rate)[None]])
    voices = audio.resample(np.concatenate(list(parts), axis=1), model_rate, rate)[:, : len(samples)]
    return np.pad(voices, ((0, 0), (0, len(samples) - voices.shape[1])))


def _check_request(rate: float, segment: float, overlap: float) -> None:
    """Refuse what is no sample rate, and segments, in seconds, that cannot be joined.

    Raises:
        UsageError: saying which.
    """
    check_segment(segment, overlap)
    if not isinstance(rate, int | float | np.number) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UsageError(f"rate is {rate!r}; it is a number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}")


def _one_channel(recording: Samples, name: str = "the recording") -> np.ndarray:
    """Return samples as ``[time]`` in float32; ``name`` is what they are called in messages."""
    samples = audio.as_samples(recording, name)
    if not len(samples):
        raise AudioError(f"{name} has no samples")
    return samples

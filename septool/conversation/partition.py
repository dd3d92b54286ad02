"""Assigning runs to speakers by a probabilistic model of embeddings, with moves and merges.

A speaker's embeddings are Gaussian around the speaker's mean, and the means are Gaussian across speakers: the
two-covariance model (Brummer and de Villiers, "The speaker partitioning problem", Odyssey 2010), with both covariances
isotropic in a limited number of dimensions. The noise variance of a run grows as the run gets shorter and as more of
it overlaps with a second speaker. With the speaker means integrated out, the probability of a partition has a closed
form for any number of speakers; it includes the cost of an additional speaker, so that no threshold decides whether
two clusters are merged.

Runs of one speaker are less independent than the model assumes: those that overlap with the same second speaker are
correlated, and so are those in the same mood. In an hour there are enough of each kind to show that they differ, which
says nothing about the number of speakers. The total evidence of a recording is therefore capped at that of a few
minutes.
"""

import numpy as np

from septool.conversation.clustering import number_speakers
from septool.conversation.run_features import RunFeatures
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.conversation.statistics import EmbeddingStatistics

# Log probability, in nats, that a pair of runs adds if both have the same speaker.
DIFFERS = -8.0  # the runs are on two tracks that are active at once
IS_SAME = 2.0  # the runs are the same non-overlapped speech, seen in two windows
CONTINUES = 1.0  # one run follows the other on the same track after a short pause
SWEEPS = 10


class Partition:
    """A partition of runs into speakers, with the sums over each speaker's runs that its probability needs."""

    def __init__(
        self,
        features: RunFeatures,
        labels: np.ndarray,
        statistics: EmbeddingStatistics,
        count: SpeakerCount = ANY_COUNT,
    ) -> None:
        """Start from an initial partition.

        Args:
            features: those of the runs, whose embeddings have unit length.
            labels: initial speaker of each run, ``[run]``; no further speakers are added.
            statistics: statistics of the network's embeddings.
            count: allowed number of speakers.
        """
        unit, constraints = features.embeddings, features.constraints
        known = unit.any(axis=1)
        variance = (statistics.within + statistics.within_second / features.seconds) / statistics.dimensions
        variance *= 1 + statistics.overlap * features.overlap**2
        share = min(1.0, statistics.runs / max(len(unit), 1))
        self.precision = share * statistics.evidence * known / variance
        self.statistics = statistics
        self.voices = unit
        self.seconds, self.count = features.seconds, count
        self.neighbors: list[list[tuple[int, float]]] = [[] for _ in unit]
        for pairs, nats in (
            (constraints.cannot_link, DIFFERS),
            (constraints.must_link, IS_SAME),
            (constraints.follow, CONTINUES),
        ):
            for first, second in pairs.tolist():
                if first != second:
                    self.neighbors[first].append((second, share * nats))
                    self.neighbors[second].append((first, share * nats))
        self._set(labels)

    @property
    def speakers(self) -> int:
        return len(self.members)

    def log_probability(self) -> float:
        """Return the log probability of the partition in nats, up to a constant shared by all partitions."""
        evidence = self._log_evidence(self.weight, (self.sums**2).sum(1)).sum()
        return float(evidence + self._between().trace() / 2 - self.statistics.person * self.speakers)

    def improve(self) -> None:
        """Alternate moving runs and merging speakers until neither raises the probability of the partition."""
        while True:
            self.move_runs()
            if not self.merge_speakers():
                return

    def move_runs(self) -> None:
        """Reassign each run in turn to its most probable speaker, with all other runs held fixed."""
        for _ in range(SWEEPS):
            if sum(self._move(run) for run in range(len(self.labels))) == 0:
                break
        self._set(self.labels)

    def merge_speakers(self) -> bool:
        """Greedily merge the pair of speakers with the largest gain; return whether any were merged."""
        before = self.speakers
        merged_into = np.arange(before)  # speaker that each speaker was merged into
        weight, sums = self.weight.copy(), self.sums.copy()
        squares, between = (sums**2).sum(1), self._between()
        alone = self._log_evidence(weight, squares)

        def gains(who: np.ndarray) -> np.ndarray:
            products = sums[who] @ sums.T
            together = self._log_evidence(weight[who, None] + weight, squares[who, None] + squares + 2 * products)
            gains = together - alone[who, None] - alone + between[who] + self.statistics.person
            gains[np.arange(len(who)), who] = -np.inf
            return gains

        gain = gains(np.arange(before))
        left = before
        while left > max(self.count.least, 1):
            first, second = np.unravel_index(gain.argmax(), gain.shape)
            if gain[first, second] <= 0 and left <= self.count.most:
                break
            left -= 1
            merged_into[merged_into == second] = first
            weight[first] += weight[second]
            sums[first] += sums[second]
            squares[first] = (sums[first] ** 2).sum()
            alone[first] = self._log_evidence(weight[first], squares[first])
            between[first] += between[second]
            between[:, first] += between[:, second]
            gone = np.asarray(np.isneginf(gain).all(axis=1))
            gone[second] = True
            row = np.where(gone, -np.inf, gains(np.array([first]))[0])
            gain[first], gain[:, first] = row, row
            gain[second], gain[:, second] = -np.inf, -np.inf
        self._set(merged_into[self.labels])
        return left < before

    def reassign_minor_speakers(self, least: float) -> None:
        """Reassign the runs of speakers with less than ``least`` seconds of speech, starting with the shortest."""
        while self.speakers > max(self.count.least, 1):
            spoken = np.bincount(self.labels, self.seconds, self.speakers)
            name = int(spoken.argmin())
            if spoken[name] >= least:
                return
            for run in np.flatnonzero(self.labels == name).tolist():
                self._move(run, gone=name)
            self._set(self.labels)

    def _set(self, labels: np.ndarray) -> None:
        self.labels = number_speakers(labels)
        people = self.labels.max(initial=-1) + 1
        self.weight = np.bincount(self.labels, self.precision, people)
        self.sums = np.zeros((people, self.voices.shape[1]))
        np.add.at(self.sums, self.labels, self.precision[:, None] * self.voices)
        self.members = np.bincount(self.labels, minlength=people)

    def _move(self, run: int, gone: int | None = None) -> bool:
        """Move one run to its most probable speaker, excluding ``gone``; return whether its speaker changed."""
        now, weight = int(self.labels[run]), self.precision[run]
        last = self.members[now] == 1
        if last and gone is None and np.count_nonzero(self.members) <= self.count.least:
            return False
        part = weight * self.voices[run]
        self._add(now, -weight, -part, -1)
        gain = self._log_evidence(self.weight + weight, ((self.sums + part) ** 2).sum(1))
        gain -= self._log_evidence(self.weight, (self.sums**2).sum(1))
        for other, nats in self.neighbors[run]:
            gain[self.labels[other]] += nats
        if last:
            gain[now] -= self.statistics.person
        allowed = self.members > 0
        allowed[now] = gone is None
        best = int(np.where(allowed, gain, -np.inf).argmax())
        if gone is None and gain[best] <= gain[now] + 1e-9:
            best = now
        self.labels[run] = best
        self._add(best, weight, part, 1)
        return best != now

    def _add(self, person: int, weight: float, part: np.ndarray, runs: int) -> None:
        self.members[person] += runs
        self.weight[person] += weight
        self.sums[person] += part
        if not self.members[person]:  # clear rounding errors
            self.weight[person], self.sums[person] = 0.0, 0.0

    def _between(self) -> np.ndarray:
        """Return the log probability, in nats, that pairs of runs add if two speakers merge, ``[speaker, speaker]``."""
        between = np.zeros((self.speakers, self.speakers))
        for run, around in enumerate(self.neighbors):
            for other, nats in around:
                between[self.labels[run], self.labels[other]] += nats
        return between

    def _log_evidence(self, weight: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Return the log probability of a speaker's runs in nats, up to a constant shared by all partitions.

        Args:
            weight: sum of the precisions of the runs.
            squares: squared norm of the precision-weighted sum of their embeddings.
        """
        dimensions = self.statistics.dimensions
        between = self.statistics.between / dimensions
        spread = 1 + between * weight
        return (between * squares / spread - dimensions * np.log(spread)) / 2

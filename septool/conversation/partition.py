"""Assigning runs to speakers by a probabilistic model of embeddings, with moves and merges.

A person's embeddings are a Gaussian around that person's own mean, which is itself a Gaussian among people: the
two-covariance model (Brummer and de Villiers, "The speaker partitioning problem", Odyssey 2010), with both covariances
those of a number of directions that are alike. The noise of a run is the larger the shorter it is and the more of it
two people say at once. With the means of people integrated out, a partition has a probability in closed form, whatever
their number: what a person more costs is in it, so that no threshold says who is one.

Runs of one person are not as independent as the model takes them to be: those beside the same second voice are alike,
and so are those of one mood. In an hour there are enough of each kind to be sure that they differ, which is true and
says nothing of how many people there are. So the evidence of a recording is at most that of a few minutes.
"""

import numpy as np

from septool.conversation.clustering import number_speakers
from septool.conversation.constraints import Constraints
from septool.conversation.people import ANY_COUNT, SpeakerCount
from septool.conversation.statistics import GE2E, EmbeddingStatistics

# Nats that a pair of runs adds if both are of one person.
DIFFERS = -8.0  # two tracks that are busy at once
IS_SAME = 2.0  # the same part of the recording, heard alone in two windows
GOES_ON = 1.0  # one on the same track after a short pause
SWEEPS = 10


class Partition:
    """Runs and whose each is, with what the probability asks for: sums over the runs of each person."""

    def __init__(
        self,
        unit: np.ndarray,
        seconds: np.ndarray,
        overlap: np.ndarray,
        constraints: Constraints,
        labels: np.ndarray,
        count: SpeakerCount = ANY_COUNT,
        statistics: EmbeddingStatistics = GE2E,
    ) -> None:
        """Begin with a partition.

        Args:
            unit: what each run sounds like, of length one, or zero where that is not known, ``[run, embedding]``.
            seconds: of speech in each, ``[run]``.
            overlap: part of each with two people at once, ``[run]``.
            constraints: what is known of pairs of runs.
            labels: people so far, each with a run; no others are added, ``[run]``.
            count: how many people there may be.
            statistics: of the network whose embeddings they are.
        """
        known = unit.any(axis=1)
        variance = (statistics.within + statistics.within_second / seconds) / statistics.dimensions
        variance *= 1 + statistics.overlap * overlap**2
        share = min(1.0, statistics.runs / max(len(unit), 1))
        self.precision = share * statistics.evidence * known / variance
        self.statistics = statistics
        self.voices = unit
        self.seconds, self.count = seconds, count
        self.neighbors: list[list[tuple[int, float]]] = [[] for _ in unit]
        for pairs, nats in (
            (constraints.cannot_link, DIFFERS),
            (constraints.must_link, IS_SAME),
            (constraints.follow, GOES_ON),
        ):
            for one, other in pairs.tolist():
                if one != other:
                    self.neighbors[one].append((other, share * nats))
                    self.neighbors[other].append((one, share * nats))
        self._set(labels)

    @property
    def speakers(self) -> int:
        return len(self.members)

    def log_probability(self) -> float:
        """Return that of the partition, up to what is alike for all of them, in nats."""
        evidence = self._log_evidence(self.weight, (self.sums**2).sum(1)).sum()
        return float(evidence + self._between().trace() / 2 - self.statistics.person * self.speakers)

    def improve(self) -> None:
        """Move runs and merge people until neither makes the partition more probable."""
        while True:
            self.move_runs()
            if not self.merge_speakers():
                return

    def move_runs(self) -> None:
        """Give each run in turn to whose it most probably is, the others' being as they are."""
        for _ in range(SWEEPS):
            if sum(self._move(run) for run in range(len(self.labels))) == 0:
                break
        self._set(self.labels)

    def merge_speakers(self) -> bool:
        """Make one of two, those first that gain most by it, and say whether anybody was."""
        before = self.speakers
        place = np.arange(before)  # of each person, that who is now of one with another has too
        weight, sums = self.weight.copy(), self.sums.copy()
        squares, between = (sums**2).sum(1), self._between()
        alone = self._log_evidence(weight, squares)

        def gains(who: np.ndarray) -> np.ndarray:
            products = sums[who] @ sums.T
            together = self._log_evidence(weight[who, None] + weight, squares[who, None] + squares + 2 * products)
            found = together - alone[who, None] - alone + between[who] + self.statistics.person
            found[np.arange(len(who)), who] = -np.inf
            return found

        gain = gains(np.arange(before))
        left = before
        while left > max(self.count.least, 1):
            first, second = np.unravel_index(gain.argmax(), gain.shape)
            if gain[first, second] <= 0 and left <= self.count.most:
                break
            left -= 1
            place[place == second] = first
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
        self._set(place[self.labels])
        return left < before

    def reassign_minor_speakers(self, least: float) -> None:
        """Give to others what those people say who say less than ``least`` seconds, the least first."""
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
        """Move one run, to anybody but ``gone``, and say whether it is another's now."""
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
        if not self.members[person]:  # what rounding leaves
            self.weight[person], self.sums[person] = 0.0, 0.0

    def _between(self) -> np.ndarray:
        """Return what pairs of runs add if two people are one, in nats, ``[person, person]``."""
        found = np.zeros((self.speakers, self.speakers))
        for run, around in enumerate(self.neighbors):
            for other, nats in around:
                found[self.labels[run], self.labels[other]] += nats
        return found

    def _log_evidence(self, weight: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Return the log probability of a person's runs, less what is alike for all partitions, in nats.

        Args:
            weight: sum of the precisions of the runs.
            squares: squared length of the sum of their embeddings, each times its precision.
        """
        dimensions = self.statistics.dimensions
        between = self.statistics.between / dimensions
        spread = 1 + between * weight
        return (between * squares / spread - dimensions * np.log(spread)) / 2

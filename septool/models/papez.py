"""Papez: resource-efficient separation with an auditory working memory (Oh, Yi and Lee, ICASSP 2023).

One transformer layer is applied over and over (recurrence); a few memory tokens, shared by all chunks
and averaged after every step, stand in for the inter-chunk transformer; and every token decides by
itself after how many steps it has been iterated enough (adaptive computation time, section 3.3).

Where paper and released code differ, the code is followed, since the published numbers were made with
it: LeakyReLU for ReLU at both ends, instance normalization in the embedding and mask networks, signed
features times a tanh mask, and the halting probability read from the state that enters a step while
the weight goes to the state that leaves it. The released code transforms halted tokens all the same
and only gives them no weight, so what is saved depends on how halting is done (``Config.halting``):

``reference``
    the released code: every token is transformed until all have halted.
``freeze``
    a halted token keeps its last state; others still attend to it, its own queries and feed-forward
    are not computed. Its keys and values are those of its last state, whatever the step.
``drop``
    "prune from the input sequence", literally: halted tokens leave and the rest moves together.
``none``
    no token halts and the state after the last step is the output: Papez without adaptive pruning.

The memory has the paper's 16 slots; the released configurations of WSJ0-2mix, and of Libri2Mix without dynamic
mixing, have 10. The released code also mixes up the memories of a batch of more than one; here items are independent.

Rows (1) to (5) of Table 3 are configurations, read from released code that does not run as it is and from the
printed sizes, all met: one layer instead of eight in each half of a dual path (1), a network that decides when
tokens halt (2), no path across chunks (3), the memory, and chunks cut within the attention (4), norms that
belong to the step instead of a vector added to the states (5). As there, all five have ReLU at both ends; in rows (1)
to (3) positions are added to the states at every step, as in the Universal Transformer, and those of row (2) and (3)
know which round of the dual path a step is in.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import AdaptiveCompute, Separator, SeparatorConfig, at_least
from septool.models.layers.attention import SelfAttention, SinusoidalPosition
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.parts import in_parts
from septool.models.layers.states import record_outputs
from septool.signal import frames

Halting = Literal["reference", "freeze", "drop", "none"]


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """Table 2 and row (6) of Table 3."""

    width: int = 256  # H, channels of encoder and tokens
    window: int = 16  # encoder kernel, samples; the stride is half of it
    chunk: int = 150  # K, tokens
    memory: int = at_least(0, 16)  # M, working memory slots
    depth: int = 16  # N, most steps a token is given
    heads: int = 8
    feedforward: int = 1024
    threshold: float = 0.9  # P_th
    dropout: float = 0.1
    halting: Halting = "reference"
    inter: bool = False  # without a memory: another layer reads across the chunks
    time: Literal["norm", "sum"] = "norm"  # what tells the steps apart: gains and biases, or a vector added to states
    estimator: Literal["piggyback", "own", "none"] = "piggyback"  # f_p: the last channel of the states, or a network

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inter and self.memory:
            raise ValueError("inter is true; with a memory no layer reads across the chunks")
        if self.estimator == "none" and self.halting != "none":
            raise ValueError(f"halting is {self.halting!r}; without an estimator it can only be 'none'")
        if self.halting in ("freeze", "drop") and not (self.memory and self.time == "norm"):
            raise ValueError(f"halting is {self.halting!r}; it needs a memory, and norms of their own for the steps")


DUAL_PATH_ROUNDS = 2  # as in SepFormer
# Share of the tokens up to which those that run are gathered; of more it costs what it saves (6 mixtures, one thread of
# an AMD EPYC, 73 % running: 0.93 of the time in fp32 and 0.88 in bfloat16 without).
GATHERED = 0.5
_DUAL = Config(chunk=250, memory=0, depth=8, time="sum", estimator="own")

# Table 3: the steps from SepFormer to row (6), which is "k250"; then chunk size and memory size. The paper trains with
# K = 150, but its memory rows have the score and the latency of its K = 250 row.
CONFIGS = {
    "paper": Config(),
    "1-recurrence": replace(_DUAL, inter=True, estimator="none", halting="none"),
    "2-pruning": replace(_DUAL, inter=True),
    "3-no-inter": _DUAL,
    "4-memory": Config(chunk=250, time="sum", estimator="own"),
    "5-time": Config(chunk=250, estimator="own"),
    "k250": Config(chunk=250),
    "k100": Config(chunk=100),
    "k50": Config(chunk=50),
    "m8": Config(chunk=250, memory=8),
    "m4": Config(chunk=250, memory=4),
    "m2": Config(chunk=250, memory=2),
}


class InstanceNorm(nn.Module):
    """Mean and variance over the tokens of one item, for each channel apart."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``[..., token, channel]``, in single precision at least: half overflows where it is quiet."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(x, dim=-2, correction=0, keepdim=True)
        return ((x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias).to(self.weight.dtype)


class StepNorm(nn.Module):
    """Layer normalization whose gain and bias belong to the step, the time-step encoding, or to all if they are one."""

    def __init__(self, steps: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(steps, channels))
        self.bias = nn.Parameter(torch.zeros(steps, channels))

    def forward(self, x: Tensor, step: int) -> Tensor:
        """Normalize ``[..., channel]``."""
        row = step % len(self.weight)
        return F.layer_norm(x, x.shape[-1:], self.weight[row], self.bias[row])


class WorkingMemoryLayer(nn.Module):
    """Section 3.2: attention within chunks that all see the memory, then a feed-forward network.

    Projections act on tokens, not on the two copies that half-overlapping chunks make of each, and
    positions enter as a constant: (x + e) W + b = x W + (e W + b).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, steps = config.width, config.depth if config.time == "norm" else 1
        self.chunk, self.slots, self.depth = config.chunk, config.memory, config.depth
        self.attention = SelfAttention(width, config.heads, config.dropout)
        self.position = SinusoidalPosition(width)
        self.time = SinusoidalPosition(width) if config.time == "sum" else None
        self.expand = nn.Linear(width, config.feedforward)
        self.contract = nn.Linear(config.feedforward, width)
        self.norm1 = StepNorm(steps, width)
        self.norm2 = StepNorm(steps, width)
        self.dropout = nn.Dropout(config.dropout)
        self.estimator = None
        if config.estimator == "own":
            norm = nn.LayerNorm(width, eps=1e-8)
            self.estimator = nn.Sequential(nn.Linear(width, width), norm, nn.ReLU(), nn.Linear(width, 1))

    def forward(
        self,
        tokens: Tensor,
        memory: Tensor,
        step: int,
        running: Tensor | None = None,
        states: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Apply a step, whose number the norms need, to ``tokens [batch, token, width]`` and ``memory``.

        Tokens outside ``running [batch, token]`` keep their state; ``states`` is what :meth:`project` returns. Of
        sequences that end in zeros, ``counts [batch]`` says how many tokens are before those.
        """
        states = self.project(tokens, memory) if states is None else states
        attended, recalled = self._attend(states, tokens.shape[1], running if _are_few(running) else None, counts)
        memory = self._feed(memory, recalled, step)
        if running is None:
            return self._feed(tokens, self.dropout(self.attention.out(attended)), step), memory
        active = self._feed(tokens[running], self.dropout(self.attention.out(attended[running])), step)
        return tokens.masked_scatter(running[..., None], active), memory

    def add_encodings(self, states: Tensor, step: int) -> Tensor:
        """Add the encodings of the step and, without a memory, of positions to states ``[batch, place, width]``.

        The norms tell the steps apart otherwise, and the attention the positions.
        """
        if self.time is None:
            return states
        states = states + self.time(step + 1)[step]
        return states if self.slots else states + self.position(states.shape[1])

    def step_probability(self, tokens: Tensor) -> Tensor:
        """Return the probability ``[batch, token]`` of ``tokens [batch, token, width]`` to halt at this step."""
        scores = tokens[..., -1] if self.estimator is None else self.estimator(tokens)[..., 0]
        return torch.sigmoid(scores.to(torch.promote_types(scores.dtype, torch.float32)))

    def project(
        self, tokens: Tensor, memory: Tensor, previous: Tensor | None = None, changed: Tensor | None = None
    ) -> Tensor:
        """Return queries, keys and values of every chunk, ``[batch, chunk, M + K, 3 width]``.

        Where ``previous``, those of the step before, are given, they are renewed in place for the slots and the
        ``changed`` tokens.
        """
        count, slots, weight, bias = tokens.shape[1], self.slots, self.attention.qkv.weight, self.attention.qkv.bias
        if not slots:  # the sequence is a chunk, and its positions are in the states
            return F.linear(tokens, weight, bias)[:, None]
        table = F.linear(self.position(slots + self.chunk), weight, bias)  # [M + K, 3H]
        padding, shared = frames.dprnn_padding(count, self.chunk), F.linear(memory, weight)
        if previous is None or changed is None or not _are_few(changed):
            return frames.segment(F.linear(tokens, weight), self.chunk, padding, shared).add_(table)
        previous = previous.clone() if previous.requires_grad else previous
        previous[:, :, :slots] = (shared + table[:slots])[:, None]
        number = changed.flatten().cumsum(0).view_as(changed) * changed  # counts the changed tokens from one
        number = frames.segment(number[..., None], self.chunk, padding)[..., 0]  # [B, S, K]
        is_changed = number > 0
        anew = F.linear(tokens[changed], weight)[number[is_changed] - 1]
        previous[:, :, slots:][is_changed] = anew + table[slots:][is_changed.nonzero()[:, -1]]
        return previous

    def _feed(self, x: Tensor, attended: Tensor, step: int) -> Tensor:
        x = self.norm1(x + attended, step)

        def feed_forward(tokens: Tensor) -> Tensor:
            inner = self.dropout(torch.relu_(self.expand(tokens)))
            return self.norm2(tokens + self.dropout(self.contract(inner)), step)

        return in_parts(feed_forward, x.flatten(0, -2)).view_as(x)

    def _attend(
        self, states: Tensor, count: int, running: Tensor | None, counts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        padding = frames.dprnn_padding(count, self.chunk)
        if running is None:
            mixed = self.attention.attend(*states.chunk(3, dim=-1))  # [B, S, M + K, H]
        else:
            mixed = self._attend_running(states, frames.segment(running[..., None], self.chunk, padding))
        if not self.slots:
            return mixed[:, 0], mixed[:, 0, :0]
        memory_part, chunk_part = mixed.split((self.slots, self.chunk), dim=2)
        if counts is None:
            recalled = memory_part.mean(1)
        else:  # the chunks that there would be without the zeros
            chunks = frames.dprnn_segments(counts, self.chunk)[:, None]
            there = torch.arange(memory_part.shape[1], device=counts.device) < chunks  # [B, S]
            recalled = (memory_part * there[..., None, None]).sum(1) / chunks[..., None]
        # Averaging the two copies and the slots of all chunks commutes with the output projection.
        return 0.5 * frames.overlap_add(chunk_part, count, padding), self.attention.out(recalled)

    def _attend_running(self, states: Tensor, running: Tensor) -> Tensor:
        """Attend from memory and running tokens only; halted ones are still attended to."""
        query, key, value = states.chunk(3, dim=-1)
        rows = F.pad(running[..., 0], (self.slots, 0), value=True)  # [B, S, M + K]
        most = int(rows.sum(-1).max())
        # Stable order of the rows that run, first in each chunk; the surplus of shorter chunks is ignored.
        order = rows.int().argsort(dim=-1, descending=True, stable=True)[..., :most, None]
        index = order.expand(-1, -1, -1, query.shape[-1])
        mixed = self.attention.attend(query.gather(2, index), key, value)
        return torch.zeros_like(query, dtype=mixed.dtype).scatter(2, index, mixed)


def _are_few(tokens: Tensor | None) -> bool:
    """Return whether tokens of a mask ``[batch, token]`` are few enough to be gathered."""
    return tokens is not None and bool(tokens.float().mean() <= GATHERED)


class Papez(Separator[Config], AdaptiveCompute):
    """The whole network: encoder, embedding, recurrent transformer with halting, mask network, decoder."""

    halting_modes = get_args(Halting)
    slots: Tensor

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.rectify = F.leaky_relu if config.estimator == "piggyback" else F.relu  # row (6), and those before it
        self.encoder = Encoder(width, config.window, bias=True)
        self.encoder_norm = InstanceNorm(width)
        self.encoder_mix = nn.Linear(width, width)
        # Every slot starts as its own unit vector; the last channel tags memory (1) against tokens (0).
        tagged = width + bool(config.memory)
        slots = torch.zeros(config.memory, tagged)
        slots.diagonal().fill_(1)  # torch.eye on the meta device imports torch's compiler, for seconds
        slots[:, -1] = 1
        self.register_buffer("slots", slots, persistent=False)
        self.embed_in = nn.Linear(tagged, width)
        self.embed_norm = InstanceNorm(width)
        self.embed_act = nn.PReLU()
        self.embed_out = nn.Linear(width, width)
        self.layer = WorkingMemoryLayer(config)
        self.inter = WorkingMemoryLayer(config) if config.inter else None
        self.mask_in = nn.Linear(width, config.sources * width)
        self.mask_norm = InstanceNorm(config.sources * width)
        self.mask_act = nn.PReLU()
        self.mask_out = nn.Linear(config.sources * width, config.sources * width)
        self.decoder_mix = nn.Linear(width, width)
        self.decoder_norm = InstanceNorm(width)
        self.decoder = Decoder(width, config.window, bias=True)
        self._expected_steps: list[Tensor] | None = None  # filled while it is not None

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = self.encode(mixture)
        hidden = self.iterate(*self.embed(encoded))
        masks = self.mask_out(self.mask_act(self.mask_norm(self.mask_in(hidden))))
        masks = torch.tanh(masks).unflatten(-1, (self.config.sources, -1)).transpose(1, 2)  # [B, C, I, H]
        features = self.decoder_norm(self.decoder_mix(masks * encoded[:, None]))
        return self.decoder(self.rectify(features), mixture.shape[-1])

    def encode(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to encoded frames ``[batch, token, width]``."""
        return self.encoder_mix(self.rectify(self.encoder_norm(self.encoder(mixture))))

    def embed(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Map encoded frames ``[batch, token, width]`` to token states and memory states ``[batch, slot, width]``.

        Both are normalized together.
        """
        sequence = F.pad(encoded, (0, bool(self.config.memory)))
        slots = self.slots.to(sequence.dtype).expand(len(encoded), -1, -1)
        states = self.embed_norm(self.embed_in(torch.cat((sequence, slots), dim=1)))
        tokens, memory = self.embed_out(self.embed_act(states)).split((encoded.shape[1], self.config.memory), dim=1)
        return tokens, memory

    def iterate(self, tokens: Tensor, memory: Tensor, active_fractions: list[float] | None = None) -> Tensor:
        """Apply the layer until every token has halted.

        Args:
            tokens: ``[batch, token, width]``.
            memory: ``[batch, slot, width]``.
            active_fractions: gets the fraction of tokens that still run appended, step by step.

        Returns:
            The state of each token, weighted over the steps, ``[batch, token, width]``.
        """
        if self.config.halting == "drop" and torch.compiler.is_exporting():
            return self._iterate_moving(tokens, memory)
        if self.config.halting == "drop":
            pairs = zip(tokens.split(1), memory.split(1), strict=True)  # items lose different tokens
            return torch.cat([self._iterate_dropping(*pair, active_fractions) for pair in pairs])
        if self.config.memory:
            return self._iterate_layer(self.layer, tokens, memory, active_fractions)
        count, padding = tokens.shape[1], frames.dprnn_padding(tokens.shape[1], self.config.chunk)
        chunks = frames.segment(tokens, self.config.chunk, padding)  # [B, S, K, H]
        for number in range(DUAL_PATH_ROUNDS):
            first = 0 if self.config.estimator == "none" else number * self.config.depth
            within = chunks + self._iterate_sequences(self.layer, chunks, active_fractions, first)
            if self.inter is None:
                chunks = within
            else:
                across = self._iterate_sequences(self.inter, within.transpose(1, 2), active_fractions, first)
                chunks = chunks + across.transpose(1, 2)
        return frames.overlap_add(chunks, count, padding)

    def _iterate_sequences(
        self, layer: WorkingMemoryLayer, chunks: Tensor, active_fractions: list[float] | None, first: int
    ) -> Tensor:
        sequences = chunks.flatten(0, 1)
        states = self._iterate_layer(layer, sequences, sequences[:, :0], active_fractions, first)
        return states.unflatten(0, chunks.shape[:2])

    def _iterate_layer(
        self,
        layer: WorkingMemoryLayer,
        tokens: Tensor,
        memory: Tensor,
        active_fractions: list[float] | None,
        first: int = 0,
    ) -> Tensor:
        """Apply one layer to sequences that keep all their tokens: ``reference``, ``freeze`` and ``none``.

        ``first`` is the number that encodings tell the first step by. An exported graph takes every step for all
        tokens, as what it computes cannot depend on what it found, and keeps the state of those that have halted.
        """
        halting, depth = self.config.halting, self.config.depth
        exporting = torch.compiler.is_exporting()
        output = torch.zeros_like(tokens)
        halting_probability = tokens.new_zeros(tokens.shape[:2])  # P, summed over the steps
        expected_steps = torch.zeros_like(halting_probability)
        running = states = None
        for step in range(depth):
            if active_fractions is not None:
                active_fractions.append((halting_probability < 1).float().mean().item())
            tokens, memory = (layer.add_encodings(states, first + step) for states in (tokens, memory))
            if halting == "none":
                tokens, memory = layer(tokens, memory, step)
                continue
            frozen = halting_probability >= 1 if halting == "freeze" and exporting else None
            if halting == "freeze" and not exporting:
                states = layer.project(tokens, memory, states, running)  # anew where a token ran in the step before
                running = halting_probability < 1 if step else None
            expected_steps = expected_steps + (1 - halting_probability)
            weight, halting_probability = self._halt(layer, tokens, halting_probability)
            before = tokens
            tokens, memory = layer(tokens, memory, step, running, states)
            if frozen is not None:
                tokens = torch.where(frozen[..., None], before, tokens)
            output = output + weight[..., None] * tokens
            if not exporting and self._all_halted(halting_probability):
                break
        if self._expected_steps is not None:
            self._expected_steps.append(expected_steps)
        return tokens if halting == "none" else output.to(tokens.dtype)

    def _iterate_dropping(self, tokens: Tensor, memory: Tensor, active_fractions: list[float] | None) -> Tensor:
        """Iterate one item, taking halted tokens out of the sequence: ``drop``."""
        output = torch.zeros_like(tokens, dtype=torch.promote_types(tokens.dtype, torch.float32))
        halting_probability = tokens.new_zeros(tokens.shape[:2])
        expected_steps = torch.zeros_like(output[..., 0])
        running = torch.arange(tokens.shape[1], device=tokens.device)  # indices of the tokens that are left
        for step in range(self.config.depth):
            if active_fractions is not None:
                active_fractions.append(len(running) / output.shape[1])
            expected_steps = expected_steps.index_add(1, running, (1 - halting_probability).to(output.dtype))
            weight, halting_probability = self._halt(self.layer, tokens, halting_probability)
            tokens, memory = self.layer(tokens, memory, step)
            output = output.index_add(1, running, (weight[..., None] * tokens).to(output.dtype))
            if self._all_halted(halting_probability):
                break
            left = (halting_probability < 1)[0]
            tokens, halting_probability, running = tokens[:, left], halting_probability[:, left], running[left]
        if self._expected_steps is not None:
            self._expected_steps.append(expected_steps)
        return output.to(tokens.dtype)

    def _iterate_moving(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """Return what :meth:`_iterate_dropping` does, in shapes that do not depend on which tokens halt.

        Those that are left move together, and zeros, which a sequence is padded with anyway, take the places behind
        them. It is what an exported graph does, which takes every step and saves nothing.
        """
        output = torch.zeros_like(tokens)
        halting_probability = tokens.new_zeros(tokens.shape[:2])
        for step in range(self.config.depth):
            left = halting_probability < 1
            ranks = left.int().cumsum(1)  # position among those that still run, from one
            counts = ranks[:, -1]
            ranks_behind = counts[:, None] + (~left).int().cumsum(1)
            destinations = (torch.where(left, ranks, ranks_behind) - 1).long()[..., None].expand_as(tokens)
            packed = torch.zeros_like(tokens).scatter(1, destinations, tokens * left[..., None])
            weight, halting_probability = self._halt(self.layer, tokens, halting_probability)
            packed, memory = self.layer(packed, memory, step, counts=counts)
            tokens = packed.gather(1, destinations)
            output = output + weight[..., None] * tokens
        return output

    def _halt(self, layer: WorkingMemoryLayer, tokens: Tensor, halting_probability: Tensor) -> tuple[Tensor, Tensor]:
        """One step of section 3.3: weights of this step's output, and new P.

        The probability is that of the state that enters the step.
        """
        probability = layer.step_probability(tokens)
        running = halting_probability < 1
        tentative = halting_probability + probability * running
        halts = (tentative > self.config.threshold) & running
        still_running = (tentative <= self.config.threshold) & running
        weight = (1 - halting_probability) * halts + probability * still_running
        return weight, halting_probability + weight

    def _all_halted(self, halting_probability: Tensor) -> bool:
        return not bool((halting_probability < 1).any())

    @torch.no_grad()
    def active_fraction_per_step(self, mixture: Tensor) -> list[float]:
        """Return the fraction of tokens of ``mixture [batch, time]`` that still run at each step taken."""
        encoded = self.encode(mixture)
        active_fractions: list[float] = []
        self.iterate(*self.embed(encoded), active_fractions)
        return active_fractions

    @contextmanager
    def record_expected_steps(self) -> Iterator[list[Tensor]]:
        """Collect how many steps each token takes in the forward passes of the context, ``[batch, token]``.

        Every step counts as much as the token's halting probability leaves of it: the mean of the step that the output
        is taken from, which has a gradient as the number of steps has not.
        """
        self._expected_steps = recorded = []
        try:
            yield recorded
        finally:
            self._expected_steps = None

    def record_states(self) -> AbstractContextManager[list[Tensor]]:
        """Collect the states of the tokens after each step in the context, ``[batch, token, width]``."""
        return record_outputs([self.layer], lambda output: output[0])

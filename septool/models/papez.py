"""Papez: resource-efficient separation with an auditory working memory (Oh, Yi and Lee, ICASSP 2023).

One transformer layer is applied over and over (recurrence); a few memory tokens, shared by all chunks
and averaged after every step, stand in for the inter-chunk transformer; and every token decides by
itself after how many steps it has been thought about enough (adaptive computation time, section 3.3).

Where paper and released code differ, the code is followed, since the published numbers were made with
it: LeakyReLU for ReLU at both ends, instance normalisation in the embedding and mask networks, signed
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

The released code also mixes up the memories of a batch of more than one; here items are independent.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers import Decoder, Encoder, SelfAttention, SinusoidalPosition
from septool.signal import frames

Halting = Literal["reference", "freeze", "drop", "none"]


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """Table 2 and row (6) of Table 3."""

    width: int = 256  # H, channels of encoder and tokens
    window: int = 16  # encoder kernel, samples; the stride is half of it
    chunk: int = 150  # K, tokens
    memory: int = 16  # M, working memory slots
    depth: int = 16  # N, most steps a token is given
    heads: int = 8
    feedforward: int = 1024
    threshold: float = 0.9  # P_th
    dropout: float = 0.1
    halting: Halting = "reference"


# Table 3, lower half: chunk size and memory size. The paper trains with K = 150, but its memory rows have the score
# and the latency of its K = 250 row.
CONFIGS = {
    "paper": Config(),
    "k250": Config(chunk=250),
    "k100": Config(chunk=100),
    "k50": Config(chunk=50),
    "m8": Config(chunk=250, memory=8),
    "m4": Config(chunk=250, memory=4),
    "m2": Config(chunk=250, memory=2),
}


class InstanceNorm(nn.Module):
    """Mean and variance over the tokens of one item, for each channel apart."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[..., token, channel]``."""
        variance, mean = torch.var_mean(x, dim=-2, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class StepNorm(nn.Module):
    """Layer normalisation whose gain and bias belong to the step: the time-step encoding."""

    def __init__(self, steps: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(steps, channels))
        self.bias = nn.Parameter(torch.zeros(steps, channels))

    def forward(self, x: Tensor, step: int) -> Tensor:
        """Normalise ``[..., channel]``."""
        return F.layer_norm(x, x.shape[-1:], self.weight[step], self.bias[step])


class WorkingMemoryLayer(nn.Module):
    """Section 3.2: attention within chunks that all see the memory, then a feed-forward network.

    Projections act on tokens, not on the two copies that half-overlapping chunks make of each, and
    positions enter as a constant: (x + e) W + b = x W + (e W + b).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.chunk, self.slots = config.chunk, config.memory
        self.attention = SelfAttention(config.width, config.heads, config.dropout)
        self.position = SinusoidalPosition(config.width)
        self.expand = nn.Linear(config.width, config.feedforward)
        self.contract = nn.Linear(config.feedforward, config.width)
        self.norm1 = StepNorm(config.depth, config.width)
        self.norm2 = StepNorm(config.depth, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, tokens: Tensor, memory: Tensor, step: int, running: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Apply one step to ``tokens [batch, token, width]`` and ``memory [batch, slot, width]``.

        Args:
            tokens: the states that enter the step.
            memory: the slots that enter the step.
            step: its number, for the norms.
            running: ``[batch, token]``; tokens outside it keep their state. All run by default.
        """
        attended, recalled = self._attend(tokens, memory, running)
        memory = self._feed(memory + recalled, step)
        if running is None:
            return self._feed(tokens + self.dropout(attended), step), memory
        active = self._feed(tokens[running] + self.dropout(attended[running]), step)
        return tokens.masked_scatter(running[..., None], active), memory

    def _feed(self, x: Tensor, step: int) -> Tensor:
        x = self.norm1(x, step)
        inner = self.dropout(torch.relu(self.expand(x)))
        return self.norm2(x + self.dropout(self.contract(inner)), step)

    def _attend(self, tokens: Tensor, memory: Tensor, running: Tensor | None) -> tuple[Tensor, Tensor]:
        count = tokens.shape[1]
        padding = frames.dprnn_padding(count, self.chunk)
        weight, bias = self.attention.qkv.weight, self.attention.qkv.bias
        table = F.linear(self.position(self.slots + self.chunk), weight, bias)  # [M + K, 3H]
        chunks = frames.segment(F.linear(tokens, weight), self.chunk, padding)  # [B, S, K, 3H]
        shared = F.linear(memory, weight)[:, None].expand(-1, chunks.shape[1], -1, -1)  # [B, S, M, 3H]
        query, key, value = (torch.cat((shared, chunks), dim=2) + table).chunk(3, dim=-1)
        if running is None:
            mixed = self.attention.attend(query, key, value)  # [B, S, M + K, H]
        else:
            mixed = self._attend_running(query, key, value, frames.segment(running[..., None], self.chunk, padding))
        memory_part, chunk_part = mixed.split((self.slots, self.chunk), dim=2)
        # Averaging the two copies and the slots of all chunks commutes with the output projection.
        sequence = 0.5 * frames.overlap_add(chunk_part, count, padding)
        return self.attention.out(sequence), self.attention.out(memory_part.mean(1))

    def _attend_running(self, query: Tensor, key: Tensor, value: Tensor, running: Tensor) -> Tensor:
        """Attend from memory and running tokens only; halted ones are still attended to."""
        rows = F.pad(running[..., 0], (self.slots, 0), value=True)  # [B, S, M + K]
        most = int(rows.sum(-1).max())
        # Stable order of the rows that run, first in each chunk; the surplus of shorter chunks is ignored.
        order = rows.int().argsort(dim=-1, descending=True, stable=True)[..., :most, None]
        index = order.expand(-1, -1, -1, query.shape[-1])
        mixed = self.attention.attend(query.gather(2, index), key, value)
        return torch.zeros_like(query, dtype=mixed.dtype).scatter(2, index, mixed)


class Papez(Separator[Config]):
    """The whole network: encoder, embedding, recurrent transformer with halting, mask network, decoder."""

    slots: Tensor

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = Encoder(width, config.window, bias=True)
        self.encoder_norm = InstanceNorm(width)
        self.encoder_mix = nn.Linear(width, width)
        # Every slot starts as its own unit vector; the last channel tags memory (1) against tokens (0).
        slots = torch.eye(width + 1, config.memory).T.contiguous()
        slots[:, -1] = 1
        self.register_buffer("slots", slots, persistent=False)
        self.embed_in = nn.Linear(width + 1, width)
        self.embed_norm = InstanceNorm(width)
        self.embed_act = nn.PReLU()
        self.embed_out = nn.Linear(width, width)
        self.layer = WorkingMemoryLayer(config)
        self.mask_in = nn.Linear(width, config.sources * width)
        self.mask_norm = InstanceNorm(config.sources * width)
        self.mask_act = nn.PReLU()
        self.mask_out = nn.Linear(config.sources * width, config.sources * width)
        self.decoder_mix = nn.Linear(width, width)
        self.decoder_norm = InstanceNorm(width)
        self.decoder = Decoder(width, config.window, bias=True)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = self.encoder_mix(F.leaky_relu(self.encoder_norm(self.encoder(mixture))))  # [B, I, H]
        tokens, memory = self.embed(encoded)
        if self.config.halting == "drop":
            pairs = zip(tokens.split(1), memory.split(1), strict=True)  # items lose different tokens
            thought = torch.cat([self.think_dropping(*pair) for pair in pairs])
        else:
            thought = self.think(tokens, memory)
        masks = self.mask_out(self.mask_act(self.mask_norm(self.mask_in(thought))))
        masks = torch.tanh(masks).unflatten(-1, (self.config.sources, -1)).transpose(1, 2)  # [B, C, I, H]
        features = self.decoder_norm(self.decoder_mix(masks * encoded[:, None]))
        return self.decoder(F.leaky_relu(features), mixture.shape[-1])

    def embed(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Turn encoded frames and the fixed slots into token and memory states, normalised together."""
        sequence = F.pad(encoded, (0, 1))
        slots = self.slots.to(sequence.dtype).expand(len(encoded), -1, -1)
        states = self.embed_norm(self.embed_in(torch.cat((sequence, slots), dim=1)))
        states = self.embed_out(self.embed_act(states))
        return states[:, : -self.config.memory], states[:, -self.config.memory :]

    def think(self, tokens: Tensor, memory: Tensor, shares: list[float] | None = None) -> Tensor:
        """Apply the layer until every token has halted; ``reference``, ``freeze`` and ``none``."""
        if self.config.halting == "none":
            for step in range(self.config.depth):
                tokens, memory = self.layer(tokens, memory, step)
            if shares is not None:
                shares.extend([1.0] * self.config.depth)
            return tokens
        output = torch.zeros_like(tokens)
        spent = tokens.new_zeros(tokens.shape[:2])  # P, probability used up
        for step in range(self.config.depth):
            if shares is not None:
                shares.append((spent < self.config.threshold).float().mean().item())
            running = spent < 1
            weight, spent, last = self._halt(tokens, spent)
            frozen = running if self.config.halting == "freeze" and step else None
            tokens, memory = self.layer(tokens, memory, step, frozen)
            output = output + weight[..., None] * tokens
            if last:
                break
        return output

    def think_dropping(self, tokens: Tensor, memory: Tensor, shares: list[float] | None = None) -> Tensor:
        """Apply the layer to one item, taking halted tokens out of the sequence; ``drop``."""
        output = torch.zeros_like(tokens)
        spent = tokens.new_zeros(tokens.shape[:2])
        places = torch.arange(tokens.shape[1], device=tokens.device)  # of the tokens that are left
        for step in range(self.config.depth):
            if shares is not None:
                shares.append(len(places) / output.shape[1])
            weight, spent, last = self._halt(tokens, spent)
            tokens, memory = self.layer(tokens, memory, step)
            output = output.index_add(1, places, weight[..., None] * tokens)
            if last:
                break
            left = (spent < self.config.threshold)[0]
            tokens, spent, places = tokens[:, left], spent[:, left], places[left]
        return output

    def _halt(self, tokens: Tensor, spent: Tensor) -> tuple[Tensor, Tensor, bool]:
        """One step of section 3.3: weights of this step's output, new P, and whether it is the last.

        The probability is the last channel of the state that enters the step (piggybacked estimator).
        """
        probability = torch.sigmoid(tokens[..., -1].float())
        running = spent < 1
        pressed = spent + probability * running
        halts = (pressed > self.config.threshold) & running
        goes_on = (pressed <= self.config.threshold) & running
        weight = (1 - spent) * halts + probability * goes_on
        spent = spent + weight
        return weight, spent, not bool((spent < self.config.threshold).any())

    @torch.no_grad()
    def running_share(self, mixture: Tensor) -> list[float]:
        """Return the share of tokens still running at each step that is taken, for the profiler."""
        encoded = self.encoder_mix(F.leaky_relu(self.encoder_norm(self.encoder(mixture))))
        shares: list[float] = []
        think = self.think_dropping if self.config.halting == "drop" else self.think
        think(*self.embed(encoded), shares)
        return shares


def with_halting(config: Config, halting: Halting) -> Config:
    """Return the same network with another way of halting; the weights are the same."""
    return replace(config, halting=halting)

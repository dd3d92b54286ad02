"""What every model is: a module that maps recordings to voices, with its configuration beside it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class SeparatorConfig:
    """What every separator's configuration has."""

    sources: int = 2  # C, voices in the mixture

    def __post_init__(self) -> None:
        if self.sources < 1:
            raise ValueError(f"sources is {self.sources}; a separator has at least one output")


ConfigT = TypeVar("ConfigT", bound=SeparatorConfig)


class Separator(nn.Module, ABC, Generic[ConfigT]):
    """A network that takes a mixture apart.

    Any number of samples from one up comes back as the same number, and the items of a batch never
    influence each other.
    """

    config: ConfigT
    loss: ClassVar[str] = "si-snr"  # the loss of the paper, by its name in septool.losses

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` to ``[batch, source, time]``, in no particular order."""


class Extractor(nn.Module, ABC):
    """A network that takes one known voice out of a mixture.

    The same promises as a separator's: same length out as in, batch items independent.
    """

    loss: ClassVar[str]

    @abstractmethod
    def forward(self, mixture: Tensor, enrolment: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` and ``enrolment [batch, time]`` to ``[batch, time]``."""

"""The status that each end of the program has."""

import pytest

from septool.errors import InterruptedBySignal


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("SIGINT",), 130), (("SIGTERM",), 143), (("SIGKILL",), 137), (("the parent's",), 130), ((), 130)],
)
def test_a_signal_has_the_status_that_shells_give_it(arguments: tuple[str, ...], status: int) -> None:
    assert InterruptedBySignal(*arguments).status == status

"""Numbers that the command line bounds are bounded for Python, too: less than one is not nothing to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from septool import workers
from septool.errors import UsageError
from septool.tasks.evaluate import evaluate
from septool.tasks.mix_conversations import sample_conversations
from septool.tasks.separate import separate


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda path: list(separate([path], jobs=0)), "--jobs is 0"),
        (lambda path: list(separate([path], jobs=-1)), "--jobs is -1"),
        (lambda path: evaluate(path, path, limit=-1), "--limit is -1"),
        (lambda path: sample_conversations(path, "OV20", out=path.parent / "out", count=0), "--count is 0"),
    ],
)
def test_less_than_one_is_refused(work: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^{said}; it has to be at least 1$"):
        work(tmp_path / "call.wav")


def test_no_processes_do_not_do_everything() -> None:
    with pytest.raises(ValueError, match="jobs is 0"):
        list(workers.each(abs, [1, 2], 0))

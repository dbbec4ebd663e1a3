from __future__ import annotations

import pytest

from medtune.core.errors import InputError
from medtune.studies.grid_schema import WorkerCounts


def test_hands_are_read_from_the_command_line() -> None:
    assert WorkerCounts.from_options(1, None) == WorkerCounts()
    assert WorkerCounts.from_options(3, "2/8") == WorkerCounts(workers=3, shard=2, shards=8)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "2", "a/b", "-1/3", "1/0", "/3", "1/2/3", "1.0/2"])
def test_a_shard_that_there_is_not_is_refused(shard: str) -> None:
    with pytest.raises(InputError, match="shard"):
        WorkerCounts.from_options(1, shard)


def test_no_worker_is_refused() -> None:
    with pytest.raises(InputError, match="0 workers"):
        WorkerCounts(workers=0)

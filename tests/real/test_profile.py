"""`medtune profile` on the tiny model."""

from __future__ import annotations

from tests.conftest import CommandLine

from medtune.core.schemas.profile import ProfileRecord
from medtune.models.sources import ModelSource


def test_jobs_are_held_against_their_products(
    medtune: CommandLine, tiny_source: ModelSource
) -> None:
    command = ("profile", tiny_source.name, "--limit", "8", "--dtype", "float32")
    record = ProfileRecord.model_validate(medtune.record(*command))
    assert [job.job for job in record.jobs] == [
        "evaluate by letter", "evaluate by cloze", "train by LoRA"
    ]  # fmt: skip
    letter, _, training = record.jobs
    assert training.gflop > 2 * letter.gflop  # there is a backward pass, too
    for job in record.jobs:
        assert job.units == 8
        assert job.products_s > 0
        assert job.limit_per_s > 0
        times = [one.seconds for one in job.products]
        assert times == sorted(times, reverse=True)
    code, out, _ = medtune(*command)
    assert code == 0
    assert "evaluate by letter" in out
    assert "at the limit" in out


def test_what_cannot_be_trained_is_refused(medtune: CommandLine) -> None:
    code, _, err = medtune("profile", "fake:oracle")
    assert code == 2
    assert "cannot be trained" in err

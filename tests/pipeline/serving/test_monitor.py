from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.conftest import CommandLine
from tests.pipeline.serving.endpoint import QUESTION, endpoint

from medtune.commands.monitor import report_drift
from medtune.core.errors import InputError
from medtune.serving.monitoring.schema import MonitorRecord


def report(folder: Path, now: datetime | None = None) -> MonitorRecord:
    database = f"sqlite:///{folder / 'e.db'}"
    return report_drift(folder, database, days=1.0, before_days=7.0, now=now)


def test_a_period_is_held_against_the_one_before(tmp_path: Path) -> None:
    with endpoint(tmp_path) as made:
        number = ""
        for i in range(12):
            number = made.ask({**QUESTION, "stem": f"Which vitamin is number {i}?"}).json()[
                "request_id"
            ]
        made.ask({**QUESTION, "subject": "Astrology"})
        made.ask({**QUESTION, "stem": "My knee hurts, what is it?"})
        said = {"request_id": number, "helpful": True, "corrected": "B"}
        made.client.post("/v1/feedback", json=said)
    with pytest.raises(InputError, match="the reference"):
        report(tmp_path)
    with pytest.raises(InputError, match="the period"):
        report(tmp_path, datetime.now(UTC) + timedelta(days=2))


def test_the_command_tells_what_moved(tmp_path: Path, medtune: CommandLine) -> None:
    with endpoint(tmp_path) as made:
        for i in range(30):
            made.ask({**QUESTION, "stem": f"Which vitamin is number {i}?"})
    later = datetime.now(UTC) + timedelta(days=1, seconds=-1)
    with pytest.raises(InputError, match="no question"):
        report(tmp_path, later + timedelta(days=30))
    code, _, err = medtune(
        "monitor", "report", "--database", f"sqlite:///{tmp_path / 'e.db'}", "--days", "1"
    )
    assert code == 2
    assert "reference" in err

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medtune.core import provenance as module
from medtune.core.provenance import (
    PACKAGES,
    available_cores,
    collect_provenance,
    cpu_flags,
    cpu_name,
    installed_version,
    peak_memory,
)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a checkout of one commit, and let the module think that it runs from there."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    source = tmp_path / "src" / "medtune" / "core" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.write_text("one = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    monkeypatch.setattr(module, "__file__", str(source))
    module._commit.cache_clear()
    yield tmp_path
    module._commit.cache_clear()


def test_the_process_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/medtune", "run", "--set", "name=a b"])
    made = collect_provenance(gpu="H100")
    assert made.command == "medtune run --set 'name=a b'"
    assert shlex.split(made.command) == ["medtune", "run", "--set", "name=a b"]
    assert made.python == platform.python_version()
    assert made.gpu == "H100"
    assert made.cores == available_cores() == len(os.sched_getaffinity(0))
    assert made.cpu == cpu_name() != ""
    assert made.medtune == installed_version("medtune")
    assert collect_provenance().gpu is None


def test_the_time_is_utc_and_now() -> None:
    created = datetime.fromisoformat(collect_provenance().created)
    assert created.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - created) < timedelta(seconds=5)


def test_only_installed_packages_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(collect_provenance().packages) <= set(PACKAGES)
    monkeypatch.setattr(module, "PACKAGES", ("pydantic", "no-such-package-of-medtune"))
    assert collect_provenance().packages == {"pydantic": installed_version("pydantic")}


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert installed_version("no-such-package-of-medtune") is None


def test_a_checkout_names_its_commit(checkout: Path) -> None:
    assert collect_provenance().commit == git(checkout, "rev-parse", "HEAD")


def test_a_changed_checkout_is_dirty(checkout: Path) -> None:
    (checkout / "src" / "medtune" / "core" / "provenance.py").write_text("one = 2\n")
    assert collect_provenance().commit == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_files_that_git_does_not_track_do_not_make_a_checkout_dirty(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("x")
    assert collect_provenance().commit == git(checkout, "rev-parse", "HEAD")


def test_a_checkout_without_commits_has_none(checkout: Path) -> None:
    git(checkout, "checkout", "--quiet", "--orphan", "empty")
    assert collect_provenance().commit is None


def test_an_installed_copy_in_somebody_elses_checkout_is_not_its_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "src").rename(checkout / "site-packages")
    monkeypatch.setattr(
        module, "__file__", str(checkout / "site-packages" / "medtune" / "core" / "provenance.py")
    )
    assert collect_provenance().commit is None


def test_no_git_means_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout / "nowhere"))
    assert collect_provenance().commit is None


def test_a_processor_is_named_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(path: Path) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert cpu_name.__wrapped__() == (platform.processor() or platform.machine())
    assert cpu_flags.__wrapped__() == frozenset()


def test_processor_fields_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nmodel name\t: Fast: 9000\nflags\t\t: fpu avx2\n\nmodel name\t: Other\n"
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    assert cpu_name.__wrapped__() == "Fast: 9000"
    assert cpu_flags.__wrapped__() == {"fpu", "avx2"}


def test_peak_memory_is_in_bytes_and_never_falls() -> None:
    before = peak_memory()
    block = bytearray(64 << 20)
    for at in range(0, len(block), 4096):
        block[at] = 1
    after = peak_memory()
    assert 8 << 20 < before <= after < 64 << 30
    assert after >= 64 << 20

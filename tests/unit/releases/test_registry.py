from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medtune.core.errors import FolderError, InputError, ReleaseError, StoreError
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.records import content_hash
from medtune.releases.registry import Registry
from medtune.releases.schema import FileRef, Release, safe_join

START = datetime(2026, 1, 1, tzinfo=UTC)
PROVENANCE = collect_provenance()


def release(name: str, files: dict[str, FileRef] | None = None, at: int = 0) -> Release:
    return Release(
        name=name, base="embedded:x", base_fingerprint="0" * 64, weights="adapter",
        weights_hash="1" * 64, scheme=None, prompt_hash="2" * 64, style=PromptStyle(),
        target="letter", method="letter", data_hash=None, policy="p", policy_hash="3" * 64,
        calibration=None, files=files or {}, created=START + timedelta(seconds=at),
        provenance=PROVENANCE,
    )  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def built(registry: Registry, name: str, at: int = 0) -> Release:
    source = registry.folder.parent / f"source-{name}"
    (source / "deep").mkdir(parents=True)
    (source / "weights").write_bytes(os.urandom(1000))
    (source / "deep" / "policy.toml").write_text("same in all")
    return registry.add_release(release(name, dict(registry.objects.put_folder(source)), at), "ann")


def test_a_release_is_found_by_name_id_and_alias(registry: Registry) -> None:
    one, two = built(registry, "v1"), built(registry, "v2", 1)
    assert [row.name for row in registry.release_rows()] == ["v1", "v2"]
    assert registry.find("v2") == two
    assert registry.find(one.id[:8]) == one
    registry.set_alias("champion", one, "ann", "release.promote")
    assert registry.find("champion") == one
    assert registry.release_rows()[0].aliases == ("champion",)
    for name in ("v3", "challenger", one.id[:3]):
        with pytest.raises(ReleaseError):
            registry.find(name)


def test_a_release_in_a_scheme_that_there_is_no_more_is_listed(registry: Registry) -> None:
    old = release("v1").model_copy(update={"scheme": "openvino"})
    assert registry.add_release(old, "ann") == registry.find("v1")
    built(registry, "v2", 1)
    assert [row.scheme for row in registry.release_rows()] == ["openvino", None]


def test_equal_files_are_kept_once_and_a_name_is_used_once(registry: Registry) -> None:
    one = built(registry, "v1")
    built(registry, "v2")
    assert len([p for p in (registry.folder / "objects").rglob("*") if p.is_file()]) == 3
    with pytest.raises(InputError, match="there already"):
        registry.add_release(release("v1", at=5), "ann")
    assert registry.add_release(one, "ann") == one  # the same again is no other
    with pytest.raises(ReleaseError, match="was not added"):
        registry.add_release(release("v9", {"x": FileRef(sha256="f" * 64, size_bytes=1)}), "ann")


def test_a_tampered_byte_is_found_and_not_laid_out(registry: Registry) -> None:
    one = built(registry, "v1")
    assert registry.verify(one).faults == ()
    tree = registry.materialize_tree(one)
    assert (tree / "deep" / "policy.toml").read_text() == "same in all"
    assert registry.materialize_tree(one) == tree
    other = built(registry, "v2")
    place = registry.objects.object_path(other.files["weights"].sha256)
    place.chmod(0o644)
    data = bytearray(place.read_bytes())
    data[500] ^= 1
    place.write_bytes(bytes(data))
    assert "weights: sha256 is" in registry.verify(other).faults[0]
    with pytest.raises(ReleaseError, match="damaged"):
        registry.materialize_tree(other)
    assert not (registry.folder / "trees" / other.id).exists()
    place.unlink()
    assert "missing" in registry.verify(other).faults[0]


def test_a_changed_tree_is_laid_out_anew(registry: Registry) -> None:
    one = built(registry, "v1")
    tree = registry.materialize_tree(one)
    (tree / "weights").unlink()
    (tree / "weights").write_bytes(b"others")
    (tree / "deep" / "more.py").write_text("unreleased")
    assert registry.materialize_tree(one) == tree
    assert (tree / "weights").read_bytes() == registry.objects.object_path(
        one.files["weights"].sha256
    ).read_bytes()
    assert not (tree / "deep" / "more.py").exists()


def test_of_gigabytes_that_are_laid_out_nothing_is_read_to_promote_them(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = built(registry, "v1")
    tree = registry.ensure_tree(one)
    assert (tree / "deep" / "policy.toml").read_text() == "same in all"
    place = registry.objects.object_path(one.files["weights"].sha256)
    place.chmod(0o644)
    place.write_bytes(bytes(1000))
    with pytest.raises(ReleaseError, match="damaged"):
        registry.ensure_tree(one)
    monkeypatch.setattr("medtune.releases.registry.MAX_HASHED_BYTES", 999)
    assert registry.ensure_tree(one) == tree
    with pytest.raises(ReleaseError, match="damaged"):
        registry.materialize_tree(one)
    (tree / "deep" / "policy.toml").unlink()
    with pytest.raises(ReleaseError, match="damaged"):
        registry.ensure_tree(one)


def test_a_changed_release_or_log_is_refused(registry: Registry) -> None:
    one = built(registry, "v1")
    built(registry, "v2")
    path = registry.folder / "releases" / f"{one.id}.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "note": "better"}))
    with pytest.raises(ReleaseError, match="was changed"):
        registry.find("v1")
    path.write_text(json.dumps(body))
    log = registry.folder / "log.jsonl"
    log.write_text(log.read_text().replace("ann", "bob", 1))
    with pytest.raises(StoreError, match="line 1 was changed"):
        registry.verify(one)


def test_rolling_back_goes_through_the_champions(registry: Registry) -> None:
    one, two, three = (built(registry, f"v{i}", i) for i in (1, 2, 3))
    with pytest.raises(ReleaseError, match="no champion"):
        registry.previous_champion()
    for each in (one, two):
        registry.set_alias("challenger", each, "ann", "release.challenge")
        registry.set_alias("champion", each, "ann", "release.promote")
    assert registry.read_aliases().challenger is None
    assert registry.previous_champion() == one
    registry.set_alias("champion", registry.previous_champion(), "ann", "release.rollback")
    assert registry.find("champion") == one
    with pytest.raises(ReleaseError):
        registry.previous_champion()
    registry.set_alias("champion", three, "ann", "release.promote")
    assert registry.previous_champion() == one
    actions = [line.action for line in registry.read_log()]
    assert actions.count("release.promote") == 3
    assert actions[-1] == "release.promote"


def _add_many(folder: Path, start: int) -> None:
    registry = Registry(folder)
    for i in range(10):
        registry.add_release(release(f"p{start + i}", at=start + i), f"writer {start}")


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_many, args=(folder, start)) for start in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    registry = Registry(folder)
    rows = registry.release_rows()
    assert len(rows) == 20
    assert registry.verify(registry.find("p0")).faults == ()
    assert sum(1 for _ in registry.read_log()) == 20


def _add_forever(folder: Path) -> None:
    registry = Registry(folder)
    for i in range(10_000):
        source = folder.parent / "w"
        source.write_bytes(os.urandom(200_000))
        files = {"w": registry.objects.put_file(source)}
        one = registry.add_release(release(f"k{i}", files, i), "ann")
        registry.set_alias("champion", one, "ann", "release.promote")


def test_kill_9_leaves_a_whole_registry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for i in range(3):
        folder = tmp_path / f"registry-{i}"
        writer = context.Process(target=_add_forever, args=(folder,))
        writer.start()
        while not (folder / "aliases.json").exists():
            time.sleep(0.02)
        time.sleep(0.3)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        registry = Registry(folder)
        champion = registry.find("champion")
        assert registry.verify(champion).faults == ()
        assert all(
            registry.verify(registry.find(row.id)).faults == () for row in registry.release_rows()
        )


def test_readers_never_see_half_of_anything(registry: Registry) -> None:
    pair = built(registry, "v1"), built(registry, "v2")
    registry.set_alias("champion", pair[0], "ann", "release.promote")
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(registry.find("champion").name)

    reader = threading.Thread(target=read)
    reader.start()
    start = time.perf_counter()
    for i in range(20):
        registry.set_alias("champion", pair[(i + 1) % 2], "ann", "release.promote")
    assert (time.perf_counter() - start) / 20 < 1
    stop.set()
    reader.join()
    assert seen == {"v1", "v2"}


def test_a_thousand_releases_are_listed_in_half_a_second(registry: Registry) -> None:
    (registry.folder / "releases").mkdir(parents=True)
    for i in range(1000):
        one = release(f"r{i}", at=i)
        (registry.folder / "releases" / f"{one.id}.json").write_text(one.model_dump_json())
    start = time.thread_time()
    assert len(registry.release_rows()) == 1000
    assert time.thread_time() - start < 0.5


def test_a_full_disk_leaves_nothing_behind(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    source = tmp_path / "w"
    source.write_bytes(b"weights")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match="disk is full"):
        registry.objects.put_file(source)
    with pytest.raises(FolderError, match="disk is full"):
        registry.add_release(release("v1"), "ann")
    monkeypatch.undo()
    assert [p for p in (registry.folder / "objects").rglob("*") if p.is_file()] == []
    assert registry.release_rows() == []


UNSAFE = [
    "../../x", "..", ".", "", "/etc/x", "weights/../../x", "weights//x", "weights/", "./x",
    "..\\x", "weights\\x", "C:/x", "C:x", "x\x00y", "x\ny", "x\u202ey", " x", "x ", "y" * 256,
]  # fmt: skip
"""Names that lead out of a folder on some system, or hide what they are."""


def crafted(registry: Registry, name: str, text: bytes = b"owned") -> Path:
    """Write a release whose file has any name, under the hash of its content, past all checks."""
    source = registry.folder.parent / "payload"
    source.write_bytes(text)
    body = release("evil", {"weights/x": registry.objects.put_file(source)}).model_dump(mode="json")
    body["files"] = {name: body["files"]["weights/x"]}
    path = registry.folder / "releases" / f"{content_hash(body)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))
    return path


@pytest.mark.parametrize("name", UNSAFE)
def test_a_crafted_name_is_refused_when_it_is_read_and_when_it_is_written(
    registry: Registry, name: str
) -> None:
    path = crafted(registry, name)
    for find in ("evil", path.stem):
        with pytest.raises(ReleaseError, match="is unsafe") as error:
            registry.materialize_tree(registry.find(find))
        assert repr(name) in str(error.value)
    before = {p for p in registry.folder.parent.rglob("*") if p.is_file()}
    # Even where nobody looked when it was read, nothing is written.
    ref = registry.objects.put_file(registry.folder.parent / "payload")
    unread = release("evil").model_copy(update={"files": {name: ref}})
    with pytest.raises(ReleaseError, match="is unsafe"):
        registry.materialize_tree(unread)
    assert {p for p in registry.folder.parent.rglob("*") if p.is_file()} == before
    with pytest.raises(ReleaseError, match="is unsafe"):
        safe_join(registry.folder, name)


def test_a_file_that_is_a_folder_too_is_refused(registry: Registry) -> None:
    ref = FileRef(sha256="f" * 64, size_bytes=1)
    with pytest.raises(ValueError, match="'weights' is a folder's, too"):
        release("v1", {"weights": ref, "weights/x": ref})
    release("v1", {"weights/.hidden/a b-1.é": ref, "weights/x": ref})


@pytest.mark.parametrize("name", ["champion", "challenger"])
def test_an_alias_is_no_name_for_a_release(registry: Registry, name: str) -> None:
    with pytest.raises(InputError, match="is an alias"):
        registry.add_release(release(name), "ann")
    assert registry.read_log() == ()


def test_links_among_weights_are_refused_and_nothing_is_kept(
    registry: Registry, tmp_path: Path
) -> None:
    secret, source = tmp_path / "id_rsa", tmp_path / "model"
    secret.write_text("private")
    source.mkdir()
    (source / "config.json").write_text("{}")
    for link, to in (("weights", secret), ("deep", tmp_path), ("gone", tmp_path / "nowhere")):
        (source / link).symlink_to(to)
        with pytest.raises(InputError, match=f"'{link}' in .* cannot be released: .* link"):
            registry.objects.put_folder(source)
        (source / link).unlink()
    assert not registry.objects.folder.exists()
    (source / "a\\b").write_text("odd")
    with pytest.raises(InputError, match="backslash"):
        registry.objects.put_folder(source)


def test_links_in_a_laid_out_release_are_told_and_laid_out_anew(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = built(registry, "v1")
    tree = registry.materialize_tree(one)
    kept = tmp_path / "kept"
    kept.write_bytes((tree / "weights").read_bytes())
    (tree / "weights").unlink()
    (tree / "weights").symlink_to(kept)  # the same bytes, until somebody changes them
    (fault,) = registry.verify(one).faults
    assert "weights is a symbolic link" in fault
    monkeypatch.setattr("medtune.releases.registry.MAX_HASHED_BYTES", 0)
    assert not (registry.ensure_tree(one) / "weights").is_symlink()
    assert registry.verify(one).faults == ()
    (tree / "more").symlink_to(tmp_path)
    assert "more is a symbolic link" in registry.verify(one).faults[0]
    assert not (registry.materialize_tree(one) / "more").is_symlink()
    moved = tree.rename(tmp_path / "elsewhere")
    tree.symlink_to(moved)
    assert "is a symbolic link" in registry.verify(one).faults[0]
    assert not registry.materialize_tree(one).is_symlink()
    assert registry.verify(one).faults == ()


def test_an_object_that_is_a_link_is_told_and_not_laid_out(
    registry: Registry, tmp_path: Path
) -> None:
    one = built(registry, "v1")
    place = registry.objects.object_path(one.files["weights"].sha256)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert registry.verify(one).faults == ("weights: its object is a symbolic link",)
    with pytest.raises(ReleaseError, match="symbolic link"):
        registry.materialize_tree(one)


def test_aliases_that_were_edited_by_hand_are_held_against_the_log(registry: Registry) -> None:
    one, two = built(registry, "v1"), built(registry, "v2")
    registry.set_alias("challenger", two, "ann", "release.challenger")
    registry.set_alias("champion", one, "ann", "release.promote")
    path = registry.folder / "aliases.json"
    whole = path.read_text()
    path.write_text(whole.replace(one.id, two.id))
    with pytest.raises(ReleaseError, match=r"says that champion is .*, where the log") as error:
        registry.find("champion")
    assert f"delete {path}" in str(error.value)
    (fault,) = registry.verify(one).faults
    assert "where the log says" in fault
    with pytest.raises(ReleaseError, match="where the log says"):
        registry.set_alias("champion", two, "ann", "release.promote")
    path.write_text("{}")
    with pytest.raises(ReleaseError, match="says that champion is None"):
        registry.find("champion")
    path.write_text(json.dumps({"champion": "../../evil"}))
    with pytest.raises(ReleaseError, match="cannot be read"):
        registry.find("champion")
    path.unlink()  # what the message says to do
    assert registry.find("champion") == one
    assert registry.find("challenger") == two
    registry.set_alias("challenger", None, "ann", "release.challenger")
    assert json.loads(path.read_text()) == {"champion": one.id, "challenger": None}


def test_what_a_kill_left_between_log_and_aliases_is_done(registry: Registry) -> None:
    one, two = built(registry, "v1"), built(registry, "v2")
    registry.set_alias("champion", one, "ann", "release.promote")
    path = registry.folder / "aliases.json"
    before = path.read_text()
    registry.set_alias("champion", two, "ann", "release.promote")
    path.write_text(before)  # the log was written, the alias was not
    assert registry.find("champion") == two
    assert registry.verify(two).faults == ()
    built(registry, "v3")
    assert registry.find("champion") == two
    assert json.loads(path.read_text())["champion"] == two.id

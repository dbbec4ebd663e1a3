"""`medtune keys add | list | revoke`: who may ask an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medtune.serving.data_dir import url_in
from medtune.serving.schemas import KeyList, KeyMade, Role
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store


def add(name: str, role: Role, per_minute: int, folder: Path, database: str | None) -> KeyMade:
    """Make a key.

    Raises:
        InputError: The name was used before, or is none.
        StoreError: The store cannot be written.
    """
    with _store(folder, database) as store:
        key, secret = store.add_key(name, role, per_minute)
    return KeyMade(key=key, secret=secret)


def listed(folder: Path, database: str | None) -> KeyList:
    """List the keys.

    Raises:
        StoreError: The store cannot be read.
    """
    with _store(folder, database) as store:
        return KeyList(keys=tuple(store.keys()), audit=store.audit_head())


def revoke(name: str, folder: Path, database: str | None) -> None:
    """End a key.

    Raises:
        InputError: There is none of that name.
        StoreError: The store cannot be written.
    """
    with _store(folder, database) as store:
        store.revoke_key(name)


@contextmanager
def _store(folder: Path, database: str | None) -> Iterator[Store]:
    store = Store.open(url_in(folder, database), anchor=Anchor.beside(folder))
    try:
        yield store
    finally:
        store.close()

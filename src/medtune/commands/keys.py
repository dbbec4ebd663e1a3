"""Manage the API keys of an endpoint (`medtune keys add | list | revoke`)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from medtune.serving.data_dir import resolve_database_url
from medtune.serving.schemas import KeyList, KeyMade, Role
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store


def add_key(name: str, role: Role, per_minute: int, folder: Path, database: str | None) -> KeyMade:
    """Create an API key.

    Raises:
        InputError: The name was used before, or is invalid.
        StoreError: The store cannot be written.
    """
    with _open_store(folder, database) as store:
        key, secret = store.keys.add(name, role, per_minute)
    return KeyMade(key=key, secret=secret)


def list_keys(folder: Path, database: str | None) -> KeyList:
    """List the API keys.

    Raises:
        StoreError: The store cannot be read.
    """
    with _open_store(folder, database) as store:
        return KeyList(keys=tuple(store.keys.list_all()), audit=store.audit.read_head())


def revoke_key(name: str, folder: Path, database: str | None) -> None:
    """Revoke an API key.

    Raises:
        InputError: There is no key of that name.
        StoreError: The store cannot be written.
    """
    with _open_store(folder, database) as store:
        store.keys.revoke(name)


def _open_store(folder: Path, database: str | None) -> closing[Store]:
    url = resolve_database_url(folder, database)
    return closing(Store.open(url, anchor=Anchor.from_folder(folder)))

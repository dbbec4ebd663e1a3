"""`medtune audit-log verify`: hold an endpoint's audit trail to what was noted of it."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import StoreError
from medtune.core.schemas.audit import head_of
from medtune.serving.data_dir import url_in
from medtune.serving.schemas import AuditVerified
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store


def verify(
    folder: Path, database: str | None, anchor: Path | None, head: str | None
) -> AuditVerified:
    """Check every line of the trail, every head beside the store, and one that was noted elsewhere.

    Args:
        folder: Of the store and of the noted heads.
        database: Its address; None is SQLite in the folder.
        anchor: File of the noted heads; None is the one in the folder.
        head: Number of lines and last hash, as `medtune keys list` prints them; None is no other.

    Raises:
        InputError: The head cannot be read, or the key of the noted heads is too short.
        StoreError: A line is changed, missing, put in, cut off or sealed anew, or no head is noted.
    """
    heads = Anchor.beside(folder)
    noted = heads if anchor is None else heads.at(anchor)
    wanted = None if head is None else head_of(head)
    store = Store.open(url_in(folder, database))
    try:
        store.verify_audit()
        known = noted.heads()
        store.hold_audit(known, str(noted.path))
        if wanted is not None:
            store.hold_audit([wanted], "--head")
        last = store.audit_head()
    finally:
        store.close()
    if last.lines and not known and wanted is None:
        raise StoreError(
            f"{noted.path}: no head of the audit trail is noted, and it has {last.lines} lines",
            expected="the file that the endpoint writes beside its store",
            fix="name it with --anchor, or a head that was noted elsewhere with --head",
        )
    since = known[0].lines if known else None
    return AuditVerified(head=last, anchored=len(known), since=since, anchor=str(noted.path))

"""Verify an endpoint's audit log (`medtune audit-log verify`) against its noted heads."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from medtune.core.errors import StoreError
from medtune.core.schemas.audit import parse_head
from medtune.serving.data_dir import resolve_database_url
from medtune.serving.schemas import AuditVerified
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store


def verify_audit_log(
    folder: Path, database: str | None, anchor: Path | None, head: str | None
) -> AuditVerified:
    """Verify every line of the audit log, every noted head, and one given head.

    The head is LINES:HASH as printed by `medtune keys list`. Without an anchor, the noted heads are
    those in the folder; without a database URL, it is SQLite there.

    Raises:
        InputError: The head cannot be read, or the key of the noted heads is too short.
        StoreError: A line was changed, removed, inserted or rehashed, or no head is noted.
    """
    heads = Anchor.from_folder(folder)
    noted = heads if anchor is None else heads.with_path(anchor)
    wanted = None if head is None else parse_head(head)
    with closing(Store.open(resolve_database_url(folder, database))) as store:
        store.audit.verify_lines()
        known = noted.read_heads()
        store.audit.verify_heads(known, str(noted.path))
        if wanted is not None:
            store.audit.verify_heads([wanted], "--head")
        last = store.audit.read_head()
    if last.lines and not known and wanted is None:
        raise StoreError(
            f"{noted.path}: no head of the audit trail is noted, and it has {last.lines} lines",
            expected="the file that the endpoint writes beside its store",
            fix="name it with --anchor, or a head that was noted elsewhere with --head",
        )
    since = known[0].lines if known else None
    return AuditVerified(head=last, anchored=len(known), since=since, anchor=str(noted.path))

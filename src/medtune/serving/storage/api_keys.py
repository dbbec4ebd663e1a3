"""API keys, stored as hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from medtune.core.errors import InputError
from medtune.serving.schemas import RESERVED_NAMES, ApiKey, Role
from medtune.serving.storage import audit_log
from medtune.serving.storage.tables import keys

KEY_PREFIX = "mt_"
"""Prefix of every key, so that secret scanners recognize a leaked one."""
_KEY_BYTES = 32
_COLUMNS = [column for column in keys.columns if column.name != "digest"]


def add_key(
    connection: Connection, now: datetime, actor: str, name: str, role: Role, per_minute: int
) -> tuple[ApiKey, str]:
    """Create a key.

    Returns:
        The key, and its text, which is not stored.

    Raises:
        InputError: The name was used before, or a value is invalid.
    """
    try:
        key = ApiKey(name=name, role=role, per_minute=per_minute, created=now)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(
            f"no key: {'.'.join(map(str, fault['loc']))}: {fault['msg']}",
            expected="a name of up to 64 letters, digits and _.-, a role, and a limit from 1",
        ) from error
    if name in RESERVED_NAMES:
        raise InputError(f"the name {name} is reserved", fix="choose another name")
    if connection.execute(select(keys.c.name).where(keys.c.name == name)).first():
        raise InputError(
            f"the name {name} was used before",
            expected="a new name: stored requests identify keys by name",
            fix="choose another name",
        )
    secret = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    connection.execute(insert(keys).values(**key.model_dump(), digest=hash_key(secret)))
    audit_log.append_audit_line(
        connection, now, actor, "key.add", name, {"role": role, "per_minute": per_minute}
    )
    return key, secret


def find_key(connection: Connection, secret: str) -> ApiKey | None:
    """Look a key up by its text; None if it is unknown or revoked.

    The database compares hashes, so that the time of a look-up reveals nothing about any key.
    """
    return find_key_by_digest(connection, hash_key(secret))


def find_key_by_digest(connection: Connection, wanted: str) -> ApiKey | None:
    """Look a key up by its hash; None if it is unknown or revoked."""
    row = connection.execute(select(keys).where(keys.c.digest == wanted)).first()
    if row is None or not hmac.compare_digest(row.digest, wanted) or row.revoked is not None:
        return None
    return ApiKey(**{k: v for k, v in row._asdict().items() if k != "digest"})


def list_keys(connection: Connection) -> list[ApiKey]:
    """List the keys, the oldest first, including revoked ones."""
    rows = connection.execute(select(*_COLUMNS).order_by(keys.c.created, keys.c.name))
    return [ApiKey(**row._asdict()) for row in rows]


def revoke_key(connection: Connection, now: datetime, actor: str, name: str) -> None:
    """Revoke a key; a revoked one is left as it is.

    Raises:
        InputError: No key has that name.
    """
    row = connection.execute(
        select(keys.c.revoked).where(keys.c.name == name).with_for_update()
    ).first()
    if row is None:
        raise InputError(f"no key is named {name}", fix="`medtune keys list` names them")
    if row.revoked is None:
        connection.execute(update(keys).where(keys.c.name == name).values(revoked=now))
        audit_log.append_audit_line(connection, now, actor, "key.revoke", name)


def hash_key(secret: str) -> str:
    """Hash a key's text.

    Slow, salted hashes protect what people choose. 32 random bytes cannot be guessed, so one
    SHA-256 is enough, and fast enough for every request.
    """
    return hashlib.sha256(secret.encode()).hexdigest()

"""Keys to the endpoint, kept as hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from medtune.core.errors import InputError
from medtune.serving.schemas import RESERVED, ApiKey, Role
from medtune.serving.storage import audit_log
from medtune.serving.storage.tables import keys

PREFIX = "mt_"
"""By it a key is known when it turns up where it should not be."""
_BYTES = 32
_COLUMNS = [column for column in keys.columns if column.name != "digest"]


def add(
    connection: Connection, now: datetime, actor: str, name: str, role: Role, per_minute: int
) -> tuple[ApiKey, str]:
    """Make a key.

    Returns:
        The key, and its text, which is not kept.

    Raises:
        InputError: The name was used before, or the key is not one.
    """
    try:
        key = ApiKey(name=name, role=role, per_minute=per_minute, created=now)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(
            f"no key: {'.'.join(map(str, fault['loc']))}: {fault['msg']}",
            expected="a name of up to 64 letters, digits and _.-, a role, and a limit from 1",
        ) from error
    if name in RESERVED:
        raise InputError(
            f"{name} is nobody's key: the trail calls others so", fix="choose another name"
        )
    if connection.execute(select(keys.c.name).where(keys.c.name == name)).first():
        raise InputError(
            f"there was a key named {name} before",
            expected="a name of its own: what is kept of requests tells keys by name",
            fix="choose another name",
        )
    secret = PREFIX + secrets.token_urlsafe(_BYTES)
    connection.execute(insert(keys).values(**key.model_dump(), digest=digest(secret)))
    audit_log.append(
        connection, now, actor, "key.add", name, {"role": role, "per_minute": per_minute}
    )
    return key, secret


def find(connection: Connection, secret: str) -> ApiKey | None:
    """Look a key up by its text; None for one that is unknown or revoked.

    What the database compares is a hash: the time that this takes tells nothing of any key.
    """
    return of_digest(connection, digest(secret))


def of_digest(connection: Connection, wanted: str) -> ApiKey | None:
    """Look a key up by the hash of its text; None for one that is unknown or revoked."""
    row = connection.execute(select(keys).where(keys.c.digest == wanted)).first()
    if row is None or not hmac.compare_digest(row.digest, wanted) or row.revoked is not None:
        return None
    return ApiKey(**{k: v for k, v in row._asdict().items() if k != "digest"})


def every(connection: Connection) -> list[ApiKey]:
    """List the keys by age, with those that were revoked."""
    rows = connection.execute(select(*_COLUMNS).order_by(keys.c.created, keys.c.name))
    return [ApiKey(**row._asdict()) for row in rows]


def revoke(connection: Connection, now: datetime, actor: str, name: str) -> None:
    """End a key; one that is ended already stays so.

    Raises:
        InputError: There is none of that name.
    """
    row = connection.execute(
        select(keys.c.revoked).where(keys.c.name == name).with_for_update()
    ).first()
    if row is None:
        raise InputError(f"no key is named {name}", fix="`medtune keys list` names them")
    if row.revoked is None:
        connection.execute(update(keys).where(keys.c.name == name).values(revoked=now))
        audit_log.append(connection, now, actor, "key.revoke", name)


def digest(secret: str) -> str:
    """Hash a key's text.

    Slow, salted hashes protect what people choose.  32 random bytes cannot be guessed, so one
    sha256 is enough, and every request can afford it.
    """
    return hashlib.sha256(secret.encode()).hexdigest()

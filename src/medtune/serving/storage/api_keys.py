"""API keys, stored as hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from medtune.core.errors import InputError
from medtune.serving.schemas import OPERATOR, RESERVED_NAMES, ApiKey, Role
from medtune.serving.storage.audit_log import append_audit_line
from medtune.serving.storage.tables import keys
from medtune.serving.storage.transactions import StorePart

KEY_PREFIX = "mt_"
"""Prefix of every key, so that secret scanners recognize a leaked one."""
_KEY_BYTES = 32
_COLUMNS = [column for column in keys.columns if column.name != "digest"]


class ApiKeys(StorePart):
    """The API keys of an endpoint."""

    def add(
        self, name: str, role: Role, per_minute: int, actor: str = OPERATOR
    ) -> tuple[ApiKey, str]:
        """Create a key.

        Returns:
            The key, and its text, which is not stored.

        Raises:
            InputError: The name was used before, or a value is invalid.
        """
        try:
            key = ApiKey(name=name, role=role, per_minute=per_minute, created=self._now())
        except ValidationError as error:
            fault = error.errors()[0]
            raise InputError(
                f"no key: {'.'.join(map(str, fault['loc']))}: {fault['msg']}",
                expected="a name of up to 64 letters, digits and _.-, a role, and a limit from 1",
            ) from error
        if name in RESERVED_NAMES:
            raise InputError(f"the name {name} is reserved", fix="choose another name")
        secret = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        with self._writing() as connection:
            if connection.execute(select(keys.c.name).where(keys.c.name == name)).first():
                raise InputError(
                    f"the name {name} was used before",
                    expected="a new name: stored requests identify keys by name",
                    fix="choose another name",
                )
            connection.execute(insert(keys).values(**key.model_dump(), digest=hash_key(secret)))
            detail = {"role": role, "per_minute": per_minute}
            append_audit_line(connection, self._now(), actor, "key.add", name, detail)
        return key, secret

    def find(self, secret: str) -> ApiKey | None:
        """Look a key up by its text; None if it is unknown or revoked.

        The database compares hashes, so that the time of a look-up reveals nothing about any key.
        """
        with self._reading() as connection:
            return find_key_by_digest(connection, hash_key(secret))

    def list_all(self) -> list[ApiKey]:
        """List the keys, the oldest first, including revoked ones."""
        query = select(*_COLUMNS).order_by(keys.c.created, keys.c.name)
        with self._reading() as connection:
            return [ApiKey(**row._asdict()) for row in connection.execute(query)]

    def revoke(self, name: str, actor: str = OPERATOR) -> None:
        """Revoke a key; a revoked one is left as it is.

        Raises:
            InputError: No key has that name.
        """
        query = select(keys.c.revoked).where(keys.c.name == name).with_for_update()
        with self._writing() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise InputError(f"no key is named {name}", fix="`medtune keys list` names them")
            if row.revoked is None:
                now = self._now()
                connection.execute(update(keys).where(keys.c.name == name).values(revoked=now))
                append_audit_line(connection, now, actor, "key.revoke", name)


def find_key_by_digest(connection: Connection, wanted: str) -> ApiKey | None:
    """Look a key up by its hash; None if it is unknown or revoked."""
    row = connection.execute(select(keys).where(keys.c.digest == wanted)).first()
    if row is None or not hmac.compare_digest(row.digest, wanted) or row.revoked is not None:
        return None
    return ApiKey(**{k: v for k, v in row._asdict().items() if k != "digest"})


def hash_key(secret: str) -> str:
    """Hash a key's text.

    Slow, salted hashes protect what people choose. 32 random bytes cannot be guessed, so one
    SHA-256 is enough, and fast enough for every request.
    """
    return hashlib.sha256(secret.encode()).hexdigest()

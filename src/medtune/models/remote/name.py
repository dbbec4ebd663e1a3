"""Parse the name of a model on servers: `remote:URL[,URL...]#MODEL[@TOKENIZER]`.

`remote:http://localhost:8080/v1#smollm2` ·
`remote:http://localhost:8000/v1#NAME@hub:ORG/NAME` · `remote:https://HOST/v1` (its only model)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from medtune.core.errors import UnknownModelError

PREFIX = "remote:"
EXPECTED_REMOTE_NAME = "remote:URL#MODEL, such as remote:http://localhost:8080/v1#smollm2"
# A Hub revision also follows an @, so only these three prefixes start a tokenizer name.
_TOKENIZER = re.compile(r"@(?=(?:hub|path|embedded):.)")


@dataclass(frozen=True, slots=True)
class RemoteName:
    """Parsed name of a model on a server."""

    name: str
    """As given."""
    url: str
    """Base URL of the API, including /v1, without a trailing slash."""
    model: str
    """Model id on the server; "" for its only model."""
    tokenizer: str | None
    """Model (hub:, path: or embedded:) whose tokenizer and chat template are used."""

    @classmethod
    def parse(cls, name: str) -> RemoteName:
        """Parse a model name.

        Raises:
            UnknownModelError: The URL is unusable or contains a secret: names are recorded.
        """
        url, _, rest = name.removeprefix(PREFIX).partition("#")
        try:
            parts = urlsplit(url)
            secret = "@" in parts.netloc or bool(parts.query)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise UnknownModelError(
                f"the URL in {name!r} cannot be read: {error}", expected=EXPECTED_REMOTE_NAME
            ) from error
        if secret:
            raise UnknownModelError(
                f"the URL of {parts.hostname} carries a user name, a password or a query",
                expected="a plain URL: a model's name is written to every record",
                fix="give the key in the environment variable MEDTUNE_API_KEY",
            )
        if not usable:
            raise UnknownModelError(
                f"{name!r} has no URL of a server",
                expected=EXPECTED_REMOTE_NAME,
                fix="write the URL out, with http:// or https://",
            )
        model, *tokenizer = _TOKENIZER.split(rest, maxsplit=1)
        return cls(name, url.rstrip("/"), model, tokenizer[0] if tokenizer else None)

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    @property
    def root(self) -> str:
        """Root URL of the server, for endpoints outside the OpenAI API."""
        return self.url.removesuffix("/v1")


def split_servers(name: str) -> tuple[RemoteName, ...]:
    """Split a name with several addresses into the name of the model on each server.

    Raises:
        UnknownModelError: An address is unusable (see `RemoteName.parse`), or there twice.
    """
    addresses, mark, rest = name.removeprefix(PREFIX).partition("#")
    names = [RemoteName.parse(f"{PREFIX}{one}{mark}{rest}") for one in addresses.split(",")]
    urls = [one.url for one in names]
    if twice := [url for place, url in enumerate(urls) if url in urls[:place]]:
        raise UnknownModelError(
            f"{twice[0]} is there twice in {name!r}", expected="every server once"
        )
    return tuple(names)

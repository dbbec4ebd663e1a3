"""The name of a model behind a server: `remote:URL#MODEL[@TOKENIZER]`.

`remote:http://localhost:8080/v1#smollm2` ·
`remote:http://localhost:8000/v1#NAME@hub:ORG/NAME` · `remote:https://HOST/v1` (its only model)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from medtune.core.errors import UnknownModelError

PREFIX = "remote:"
EXPECTED = "remote:URL#MODEL, such as remote:http://localhost:8080/v1#smollm2"
# A Hub revision also comes after an @, so only these three open a tokenizer's name.
_TOKENIZER = re.compile(r"@(?=(?:hub|path|embedded):.)")


@dataclass(frozen=True, slots=True)
class RemoteName:
    """Where a model is served, and how it is called there."""

    name: str
    """As given."""
    url: str
    """Base of the API, with its /v1, without a slash at the end."""
    model: str
    """As the server names it; "" for the only one that it serves."""
    tokenizer: str | None
    """hub:, path: or embedded: name of the model whose tokenizer and chat template are used."""

    @classmethod
    def parse(cls, name: str) -> RemoteName:
        """Take a name apart.

        Raises:
            UnknownModelError: No usable URL, or one that carries a secret: names are recorded.
        """
        url, _, rest = name.removeprefix(PREFIX).partition("#")
        try:
            parts = urlsplit(url)
            secret = "@" in parts.netloc or bool(parts.query)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise UnknownModelError(
                f"the URL in {name!r} cannot be read: {error}", expected=EXPECTED
            ) from error
        if secret:
            raise UnknownModelError(
                f"the URL of {parts.hostname} carries a user name, a password or a query",
                expected="a plain URL: a model's name stands in every record",
                fix="give the key in the environment variable MEDTUNE_API_KEY",
            )
        if not usable:
            raise UnknownModelError(
                f"{name!r} has no URL of a server",
                expected=EXPECTED,
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
        """The server's own address, where what OpenAI's API does not know is found."""
        return self.url.removesuffix("/v1")

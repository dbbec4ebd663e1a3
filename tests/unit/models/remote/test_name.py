from __future__ import annotations

import pytest

from medtune.core.errors import UnknownModelError
from medtune.models.remote.name import RemoteName


@pytest.mark.parametrize(
    ("name", "url", "model", "tokenizer"),
    [
        ("remote:http://localhost:8080/v1#smollm2", "http://localhost:8080/v1", "smollm2", None),
        ("remote:http://localhost:8080/v1/#a/b", "http://localhost:8080/v1", "a/b", None),
        ("remote:https://api.example.org/v1", "https://api.example.org/v1", "", None),
        ("remote:http://[::1]:8000/v1#m", "http://[::1]:8000/v1", "m", None),
        ("remote:http://h/v1#m@hub:O/N@main", "http://h/v1", "m", "hub:O/N@main"),
        ("remote:http://h/v1#m@2024@path:/a@hub:b", "http://h/v1", "m@2024", "path:/a@hub:b"),
        ("remote:http://h/v1#@embedded:x", "http://h/v1", "", "embedded:x"),
        ("remote:http://h/v1#m@fake:oracle", "http://h/v1", "m@fake:oracle", None),
        ("remote:http://h/v1#m@hub:", "http://h/v1", "m@hub:", None),
        ("remote:http://h/v1#a#b", "http://h/v1", "a#b", None),
    ],
)
def test_a_name_is_taken_apart(name: str, url: str, model: str, tokenizer: str | None) -> None:
    assert RemoteName.parse(name) == RemoteName(name, url, model, tokenizer)


@pytest.mark.parametrize(
    "name",
    [
        "remote:",
        "remote:#m",
        "remote:localhost:8080/v1#m",
        "remote:localhost/v1",
        "remote://localhost/v1",
        "remote:ftp://localhost/v1",
        "remote:http://",
        "remote:http://:8080/v1",
        "remote:http:///v1",
        "remote:file:///etc/passwd",
    ],
)
def test_what_is_no_url_is_refused(name: str) -> None:
    with pytest.raises(UnknownModelError, match="has no URL of a server") as caught:
        RemoteName.parse(name)
    assert "http://" in caught.value.fix


@pytest.mark.parametrize("url", ["http://h:port/v1", "http://h:70000/v1", "http://[::1/v1"])
def test_a_broken_url_is_refused(url: str) -> None:
    with pytest.raises(UnknownModelError, match="cannot be read"):
        RemoteName.parse(f"remote:{url}#m")


@pytest.mark.parametrize(
    "url",
    ["http://me:s3cret@h/v1", "http://s3cret@h/v1", "http://h/v1?key=s3cret", "http://:s3cret@h"],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UnknownModelError, match="MEDTUNE_API_KEY") as caught:
        RemoteName.parse(f"remote:{url}#m")
    assert "s3cret" not in str(caught.value)


def test_where_it_is() -> None:
    name = RemoteName.parse("remote:http://h:8080/v1#m")
    assert (name.host, name.root) == ("h:8080", "http://h:8080")
    assert RemoteName.parse("remote:http://h/api#m").root == "http://h/api"

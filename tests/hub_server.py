"""A local server that speaks the protocol of the Hugging Face Hub, as its own clients use it.

It keeps repositories of models and datasets with their commits, branches and tags, and answers
what `huggingface_hub` and `datasets` ask: repository information, trees, references, downloads with
redirects and ranges, and uploads in one commit (preupload, LFS batch, commit).  Access follows the
Hub's rules: private repositories hide behind 401 and 404, gated ones list their files but do not
give them out.  Large files are stored by LFS; Xet is not offered, and clients have it switched off.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.running_server import QuietHandler, QuietServer, running

LFS_SUFFIXES = (".safetensors", ".gguf", ".parquet", ".bin")
Files = dict[str, bytes]
Headers = dict[str, str]


class Refusal(Exception):
    """An error as the Hub sends it: status, code and message in headers."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class Repository:
    """One repository: every commit's files, and what its branches and tags point to."""

    kind: str
    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add a commit that writes files; return its id, which depends on the content."""
        before = self.branches.get(branch, self.branches.get("main"))
        whole = {**(self.commits[before] if before else {}), **files}
        digest = hashlib.sha1(f"{self.kind}/{self.name}/{before}".encode())
        for path in sorted(whole):
            digest.update(path.encode() + whole[path])
        self.commits[digest.hexdigest()] = whole
        self.branches[branch] = digest.hexdigest()
        return digest.hexdigest()

    def resolve(self, revision: str) -> str:
        """Return the commit of a branch, a tag or a commit."""
        for found in (self.branches.get(revision), self.tags.get(revision)):
            if found is not None:
                return found
        if revision in self.commits:
            return revision
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")


@dataclass
class Hub:
    """State of the server; tests change it as they go."""

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {"hf_read": "read", "hf_write": "write"})
    """Role of each token."""
    accepted: set[tuple[str, str]] = field(default_factory=set)
    """(token, repository): whose licence was accepted."""
    breaks: dict[str, list[int]] = field(default_factory=dict)
    """Downloads that break: by file name, the bytes after which each next transfer ends."""
    fails_with: int | None = None
    """Status of every answer, if the Hub is ill."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Uploaded LFS objects by sha256."""
    requests: list[tuple[str, str, Headers]] = field(default_factory=list)
    """(method, path, headers with small letters)."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(
        self, kind: str, name: str, files: Mapping[str, bytes], private: bool = False
    ) -> Repository:
        """Add a repository with one commit on main."""
        repository = Repository(kind, name, private)
        repository.commit(files)
        self.repositories[kind, name] = repository
        return repository

    def find(self, kind: str, name: str, token: str | None) -> Repository:
        """Find a repository; a private one looks like a missing one."""
        found = self.repositories.get((kind, name))
        if found is None or (found.private and token not in self.tokens):
            if token in self.tokens:
                raise Refusal(404, "RepoNotFound", "Repository not found")
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        return found

    def check_gate(self, repository: Repository, token: str | None) -> None:
        """Refuse the files of a gated repository."""
        if repository.gated and (token, repository.name) not in self.accepted:
            where = f"Access to {repository.kind} {repository.name} is restricted."
            raise Refusal(403 if token in self.tokens else 401, "GatedRepo", where)

    def check_write(self, token: str | None) -> None:
        """Refuse to write without a token of the write role."""
        if token not in self.tokens:
            raise Refusal(401, "", "Invalid username or password.")
        if self.tokens[str(token)] != "write":
            raise Refusal(403, "", "You don't have the rights to create a model under org")

    def paths(self, ending: str) -> list[tuple[str, str, Headers]]:
        """Return the requests whose path ends so."""
        return [request for request in self.requests if request[1].endswith(ending)]


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}
    if _is_lfs(path):
        oid = hashlib.sha256(content).hexdigest()
        return {**entry, "lfs": {"oid": oid, "size": len(content), "pointerSize": 134}}
    return entry


def _folders(files: Files) -> set[str]:
    parts = [path.split("/")[:-1] for path in files]
    return {"/".join(part[: n + 1]) for part in parts for n in range(len(part))}


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": _blob_id(path.encode())}


class _Http(QuietServer):
    def __init__(self, hub: Hub) -> None:
        super().__init__(_Handler)
        self.hub = hub


class _Handler(QuietHandler, BaseHTTPRequestHandler):
    server: _Http

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append((self.command, path, headers))
        token = headers.get("authorization", "").removeprefix("Bearer ") or None
        try:
            if hub.fails_with is not None:
                raise Refusal(hub.fails_with, "", "The Hub is ill")
            if token is not None and token not in hub.tokens:
                raise Refusal(401, "", "Invalid credentials in Authorization header")
            for pattern, method in _ROUTES:
                if found := re.fullmatch(pattern, path):
                    method(self, token, body, **found.groupdict())
                    return
            raise Refusal(404, "", f"no such page: {path}")
        except Refusal as refusal:
            named = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self.write(
                refusal.status,
                json.dumps({"error": refusal.message}).encode(),
                {name: value for name, value in named.items() if value},
            )

    # Repositories

    def _info(self, token: str | None, _: bytes, kind: str, name: str, revision: str = "") -> None:
        repository = self.server.hub.find(kind, name, token)
        commit = repository.resolve(revision or "main")
        self._send_json(
            {
                "_id": "0",
                "id": name,
                "sha": commit,
                "private": repository.private,
                "gated": "manual" if repository.gated else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "lastModified": "2026-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(repository.commits[commit])],
            }
        )

    def _tree(
        self, token: str | None, _: bytes, kind: str, name: str, rest: str, folder: str = ""
    ) -> None:
        repository = self.server.hub.find(kind, name, token)
        revision, _slash, folder = _split_revision(repository, rest)
        files = repository.commits[repository.resolve(revision)]
        inside = f"{folder}/" if folder else ""
        query = parse_qs(urlsplit(self.path).query)
        deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = [_entry(path, files[path]) for path in sorted(files) if path.startswith(inside)]
        entries += [_folder_entry(f) for f in sorted(_folders(files)) if f.startswith(inside)]
        shown = [e for e in entries if deep or "/" not in e["path"][len(inside) :]]
        if inside and not shown:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        self._send_json(shown)

    def _paths_info(
        self, token: str | None, body: bytes, kind: str, name: str, revision: str
    ) -> None:
        repository = self.server.hub.find(kind, name, token)
        files = repository.commits[repository.resolve(revision)]
        asked = parse_qs(body.decode()).get("paths", [])
        found = [_entry(path, files[path]) for path in asked if path in files]
        found += [_folder_entry(path) for path in asked if path in _folders(files)]
        self._send_json(found)

    def _refs(self, token: str | None, _: bytes, kind: str, name: str) -> None:
        repository = self.server.hub.find(kind, name, token)

        def listed(which: str, refs: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"name": ref, "ref": f"refs/{which}/{ref}", "targetCommit": commit}
                for ref, commit in refs.items()
            ]

        self._send_json(
            {
                "branches": listed("heads", repository.branches),
                "converts": [],
                "tags": listed("tags", repository.tags),
            }
        )

    def _auth_check(self, token: str | None, _: bytes, kind: str, name: str) -> None:
        repository = self.server.hub.find(kind, name, token)
        self.server.hub.check_gate(repository, token)
        self._send_json({})

    # Downloads

    def _resolve(
        self, token: str | None, _: bytes, name: str, rest: str, prefix: str | None = None
    ) -> None:
        kind = "dataset" if prefix else "model"
        repository = self.server.hub.find(kind, name, token)
        revision, _slash, path = _split_revision(repository, rest)
        commit = repository.resolve(revision)
        self.server.hub.check_gate(repository, token)
        content = repository.commits[commit].get(path)
        if content is None:
            refusal = Refusal(404, "EntryNotFound", "Entry not found")
            named = {"X-Error-Code": refusal.code, "X-Repo-Commit": commit}
            self.write(404, b"Entry not found", named)
            return
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not _is_lfs(path):
            self._send_file(path, content, {**headers, "ETag": f'"{_blob_id(content)}"'})
            return
        oid = hashlib.sha256(content).hexdigest()
        self.server.hub.objects[oid] = content
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{oid}"'}
        # On another host, as the Hub's: clients do not follow it, and send no token there.
        where = f"http://localhost:{self.server.hub.port}/cdn/{oid}/{path.rpartition('/')[2]}"
        self.write(302, b"", {**headers, **linked, "Location": where})

    def _cdn(self, token: str | None, _: bytes, oid: str, path: str) -> None:
        self._send_file(path, self.server.hub.objects[oid], {"ETag": f'"{oid}"'})

    def _send_file(self, path: str, content: bytes, headers: Headers) -> None:
        """Send a file or a range of it; break the transfer where a test says so."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        status, start = (206, int(asked[1])) if asked else (200, 0)
        end = int(asked[2]) + 1 if asked and asked[2] else len(content)
        part = content[start:end]
        if asked:
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        breaks = self.server.hub.breaks.get(path.rpartition("/")[2], [])
        if breaks and self.command == "GET":
            cut = breaks.pop(0)
            self.write(status, part[:cut], {**headers, "Content-Length": str(len(part))})
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.write(status, part, headers)

    # Uploads

    def _create(self, token: str | None, body: bytes) -> None:
        hub, asked = self.server.hub, json.loads(body)
        hub.check_write(token)
        kind, name = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
        if (kind, name) in hub.repositories:
            found = {"error": "You already created this model repo", "url": f"{hub.url}/{name}"}
            self.write(409, json.dumps(found).encode(), {})
            return
        private = asked.get("visibility") == "private"
        hub.add(kind, name, {".gitattributes": b""}, private=private)
        self._send_json({"url": f"{hub.url}/{name}", "name": name, "id": "0"})

    def _branch(self, token: str | None, _: bytes, kind: str, name: str, branch: str) -> None:
        self.server.hub.check_write(token)
        repository = self.server.hub.find(kind, name, token)
        if branch in repository.branches:
            raise Refusal(409, "", f"Reference already exists: {branch}")
        repository.branches[branch] = repository.branches["main"]
        self._send_json({})

    def _validate(self, token: str | None, body: bytes) -> None:
        self._send_json({"errors": [], "warnings": []})

    def _preupload(
        self, token: str | None, body: bytes, kind: str, name: str, revision: str
    ) -> None:
        self.server.hub.check_write(token)
        repository = self.server.hub.find(kind, name, token)
        files = repository.commits[repository.resolve(revision)]
        modes = []
        for file in json.loads(body)["files"]:
            path = file["path"]
            mode = "lfs" if _is_lfs(path) else "regular"
            entry: dict[str, Any] = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if path in files:
                lfs = hashlib.sha256(files[path]).hexdigest()
                entry["oid"] = lfs if mode == "lfs" else _blob_id(files[path])
            modes.append(entry)
        self._send_json({"files": modes})

    def _lfs_batch(self, token: str | None, body: bytes, name: str) -> None:
        hub = self.server.hub
        hub.check_write(token)
        objects = []
        for wanted in json.loads(body)["objects"]:
            action = {"upload": {"href": f"{hub.url}/lfs/{wanted['oid']}", "header": {}}}
            there = wanted["oid"] in hub.objects
            objects.append({**wanted, **({} if there else {"actions": action})})
        self._send_json({"transfer": "basic", "objects": objects})

    def _lfs_put(self, token: str | None, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, "", "the sha256 of the object is another one")
        self.server.hub.objects[oid] = body
        self.write(200, b"", {})

    def _commit(self, token: str | None, body: bytes, kind: str, name: str, revision: str) -> None:
        hub = self.server.hub
        hub.check_write(token)
        repository = hub.find(kind, name, token)
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
        commit = repository.commit(files, revision)
        url = f"{hub.url}/{name}/commit/{commit}"
        self._send_json({"success": True, "commitOid": commit, "commitUrl": url})

    # Answers

    def _send_json(self, found: Any) -> None:
        self.write(200, json.dumps(found).encode(), {"Content-Type": "application/json"})


def _split_revision(repository: Repository, rest: str) -> tuple[str, str, str]:
    """Split REVISION/PATH; a branch such as refs/pr/1 contains slashes itself."""
    for known in (*repository.branches, *repository.tags):
        if rest == known or rest.startswith(f"{known}/"):
            return known, "/", rest[len(known) + 1 :]
    return rest.partition("/")


_REPO = r"/api/(?P<kind>model|dataset)s/(?P<name>[^/]+/[^/]+)"
_ROUTES: tuple[tuple[str, Any], ...] = (
    (_REPO, _Handler._info),
    (_REPO + "/revision/(?P<revision>.+)", _Handler._info),
    (_REPO + "/tree/(?P<rest>.+)", _Handler._tree),
    (_REPO + "/paths-info/(?P<revision>.+)", _Handler._paths_info),
    (_REPO + "/refs", _Handler._refs),
    (_REPO + "/auth-check", _Handler._auth_check),
    (_REPO + "/branch/(?P<branch>.+)", _Handler._branch),
    (_REPO + "/preupload/(?P<revision>.+)", _Handler._preupload),
    (_REPO + "/commit/(?P<revision>.+)", _Handler._commit),
    ("/api/repos/create", _Handler._create),
    ("/api/validate-yaml", _Handler._validate),
    (r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler._lfs_batch),
    ("/lfs/(?P<oid>[0-9a-f]{64})", _Handler._lfs_put),
    ("/cdn/(?P<oid>[0-9a-f]{64})/(?P<path>[^/]+)", _Handler._cdn),
    (
        "/(?P<prefix>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<rest>.+)",
        _Handler._resolve,
    ),
)


@contextmanager
def serving_hub(hub: Hub) -> Iterator[Hub]:
    """Run a Hub on a free port of this machine."""
    with running(_Http(hub)) as hub.port:
        yield hub

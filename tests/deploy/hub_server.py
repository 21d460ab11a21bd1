"""A server on loopback that answers the requests of huggingface_hub as the Hub does, and keeps what it is sent."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USERS = {"hf_writes": ("user", "write"), "hf_reads": ("user", "read"), "hf_other": ("other", "write")}
"""Name and role by token."""


@dataclasses.dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = dataclasses.field(default_factory=lambda: {".gitattributes": b"*.onnx filter=lfs\n"})
    commits: list[tuple[str, list[str]]] = dataclasses.field(default_factory=list)
    """The summary of each commit, and what it did: a key and a path for each operation."""


@dataclasses.dataclass
class Hub:
    """What the server knows.

    Attributes:
        url: Its address.
        repositories: By "user/name".
        objects: What was uploaded by LFS, by SHA-256.
        failing: Paths of requests that are answered with an error 500.
        requests: The method and the path of each request.
    """

    url: str = ""
    repositories: dict[str, Repository] = dataclasses.field(default_factory=dict)
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)
    failing: tuple[str, ...] = ()
    requests: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Run the server while the block runs."""
    hub = Hub()

    class Handler(_Handler):
        known = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    known: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_HEAD = do_GET

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.known.requests.append(f"{self.command} {path}")
        if path in self.known.failing:
            self._answer({"error": "out of order"}, 500)
            return
        for pattern, answer in ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                answer(self, body, *found.groups())
                return
        self._answer({"error": f"no such request: {self.command} {path}"}, 404)

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _user(self) -> tuple[str, str] | None:
        return USERS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _may_write(self, name: str) -> bool:
        user = self._user()
        return user is not None and user == (name.partition("/")[0], "write")

    def _repository(self, name: str, *, write: bool = True) -> Repository | None:
        """Return a repository if the user may see it and, if asked, write it; else answer with the error."""
        found, user = self.known.repositories.get(name), self._user()
        if found is None or (found.private and (user is None or user[0] != name.partition("/")[0])):
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        if write and not self._may_write(name):
            self._answer({"error": "You don't have the required permissions"}, 403)
            return None
        return found

    def whoami(self, body: bytes) -> None:
        user = self._user()
        if user is None:
            self._answer({"error": "Invalid credentials in Authorization header"}, 401)
            return
        self._answer({"type": "user", "name": user[0], "orgs": [], "auth": {"accessToken": {"role": user[1]}}})

    def auth_check(self, body: bytes, name: str) -> None:
        if self._repository(name) is not None:
            self._answer({})

    def create(self, body: bytes) -> None:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self._may_write(name):
            self._answer({"error": f"You don't have the rights to create a model under {wanted['organization']}"}, 403)
        elif name in self.known.repositories:
            self._answer({"error": "You already created this model repo"}, 409)
        else:
            self.known.repositories[name] = Repository(wanted.get("visibility") == "private")
            self._answer({"url": f"{self.known.url}/{name}"})

    def validate_yaml(self, body: bytes) -> None:
        import yaml

        content = json.loads(body)["content"]
        head = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        assert head
        assert isinstance(yaml.safe_load(head[1]), dict)
        self._answer({"errors": [], "warnings": []})

    def tree(self, body: bytes, name: str) -> None:
        found = self._repository(name, write=False)
        if found is not None:
            files = [{"type": "file", "path": p, "size": len(c), "oid": _blob(c)} for p, c in found.files.items()]
            self._answer(files)

    def info(self, body: bytes, name: str) -> None:
        found = self._repository(name, write=False)
        if found is not None:
            files = [{"rfilename": path} for path in found.files]
            self._answer({"id": name, "sha": f"{len(found.commits):040x}", "private": found.private, "siblings": files})

    def preupload(self, body: bytes, name: str) -> None:
        found = self._repository(name)
        if found is None:
            return
        modes = []
        for file in json.loads(body)["files"]:
            assert base64.b64decode(file["sample"]) or not file["size"]
            path = file["path"]
            large = path.endswith((".onnx", ".data", ".pb"))
            known = found.files.get(path)
            oid = {} if known is None else {"oid": hashlib.sha256(known).hexdigest() if large else _blob(known)}
            modes.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **oid})
        self._answer({"files": modes})

    def lfs_batch(self, body: bytes, name: str) -> None:
        if self._repository(name) is None:
            return
        wanted = json.loads(body)
        assert wanted["operation"] == "upload"
        objects = []
        for each in wanted["objects"]:
            missing = each["oid"] not in self.known.objects
            actions = {
                "upload": {"href": f"{self.known.url}/storage/{each['oid']}"},
                "verify": {"href": f"{self.known.url}/{name}.git/info/lfs/verify"},
            }
            objects.append({**each, **({"actions": actions} if missing else {})})
        self._answer({"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.known.objects[oid] = body
        self._answer({})

    def verify(self, body: bytes, name: str) -> None:
        wanted = json.loads(body)
        assert len(self.known.objects[wanted["oid"]]) == wanted["size"]
        self._answer({})

    def commit(self, body: bytes, name: str) -> None:
        found = self._repository(name)
        if found is None:
            return
        assert self.headers["Content-Type"] == "application/x-ndjson"
        header, *operations = [json.loads(line) for line in body.splitlines()]
        done = []
        for operation in operations:
            key, value = operation["key"], operation["value"]
            done.append(f"{key} {value['path']}")
            if key == "deletedFile":
                del found.files[value["path"]]
            elif key == "lfsFile":
                found.files[value["path"]] = self.known.objects[value["oid"]]
            else:
                assert key == "file"
                found.files[value["path"]] = base64.b64decode(value["content"])
        found.commits.append((header["value"]["summary"], done))
        oid = f"{len(found.commits):040x}"
        self._answer({"success": True, "commitOid": oid, "commitUrl": f"{self.known.url}/{name}/commit/{oid}"})

    def resolve(self, body: bytes, name: str, path: str) -> None:
        found = self._repository(name, write=False)
        if found is None:
            return
        if path not in found.files:
            self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content = found.files[path]
        headers = {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": f"{len(found.commits):040x}"}
        self._answer(content, headers=headers)


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = {
    r"GET /api/whoami-v2": _Handler.whoami,
    rf"GET /api/models/{_REPO}/auth-check/write": _Handler.auth_check,
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.validate_yaml,
    rf"GET /api/models/{_REPO}/tree/\w+": _Handler.tree,
    rf"GET /api/models/{_REPO}/revision/main": _Handler.info,
    rf"POST /api/models/{_REPO}/preupload/main": _Handler.preupload,
    rf"POST /{_REPO}\.git/info/lfs/objects/batch": _Handler.lfs_batch,
    r"PUT /storage/(\w+)": _Handler.store,
    rf"POST /{_REPO}\.git/info/lfs/verify": _Handler.verify,
    rf"POST /api/models/{_REPO}/commit/main": _Handler.commit,
    rf"(?:GET|HEAD) /{_REPO}/resolve/\w+/(.+)": _Handler.resolve,
}

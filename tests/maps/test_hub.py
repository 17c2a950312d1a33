"""Maps on a Hub: pushed and read back through the real client, against a stub server on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import close_session
from PIL import Image

from linea_diffusion.errors import LineaError
from linea_diffusion.maps.card import Samples
from linea_diffusion.maps.storage import push_maps, read_maps, write_maps

from .test_storage import FACTS, make_numbers, same_bits

WRITER, READER = "hf_writer", "hf_reader"


class StubHub:
    """As much of the Hub as creating, committing, listing and resolving need, with its files in memory.

    Attributes:
        repositories: id -> {"private": bool, "branches": {name: commit}}.
        commits: commit -> {file name: bytes}.
        requests: "METHOD path" of everything that was asked.
        refuse: (pattern of "METHOD path", status, X-Error-Code) of requests to be refused.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.summaries: list[str] = []
        self.refuse: tuple[str, int, str] | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (StubHandler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def put(self, repo_id: str, files: dict[str, bytes], branch: str = "main") -> str:
        commit = hashlib.sha1(f"{repo_id}{branch}{len(self.commits)}".encode()).hexdigest()
        repository = self.repositories.setdefault(repo_id, {"private": False, "branches": {}})
        self.commits[commit] = {**self.commits.get(repository["branches"].get(branch, ""), {}), **files}
        repository["branches"][branch] = commit
        return commit

    def files(self, repo_id: str, branch: str = "main") -> dict[str, bytes]:
        return self.commits[self.repositories[repo_id]["branches"][branch]]


class StubHandler(BaseHTTPRequestHandler):
    hub: StubHub
    protocol_version = "HTTP/1.1"

    ROUTES = (
        (r"POST /api/repos/create", "create"),
        (r"GET /api/whoami-v2", "whoami"),
        (r"POST /api/validate-yaml", "validate"),
        (r"GET /api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "model"),
        (r"GET /api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?", "tree"),
        (r"POST /api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "branch"),
        (r"POST /api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        (r"POST /api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
        (r"(HEAD|GET) /(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^/]+)", "resolve"),
    )

    def answer(self) -> None:
        line = f"{self.command} {urlsplit(self.path).path}"
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.hub.requests.append(line)
        if self.hub.refuse and re.fullmatch(self.hub.refuse[0], line):
            return self.fail(self.hub.refuse[1], self.hub.refuse[2])
        for pattern, name in self.ROUTES:
            if match := re.fullmatch(pattern, line):
                return self.routed(name, {key: value and unquote(value) for key, value in match.groupdict().items()})
        return self.fail(404)

    do_GET = do_HEAD = do_POST = answer

    def routed(self, name: str, names: dict) -> None:
        """Find the repository and the commit that a request names, as far as its sender may see them."""
        if name in ("create", "branch", "preupload", "commit") and self.token != WRITER:
            return self.fail(403 if self.token == READER else 401)
        if "repo" in names:
            repository = self.hub.repositories.get(names["repo"])
            if repository is None or (repository["private"] and self.token not in (WRITER, READER)):
                return self.fail(404 if self.token else 401, "RepoNotFound")
            revision = names.get("revision") or "main"
            names["commit"] = repository["branches"].get(revision, revision if revision in self.hub.commits else None)
            if names["commit"] is None and name != "branch":
                return self.fail(404, "RevisionNotFound")
            names["repository"] = repository
        return getattr(self, name)(**names)

    def create(self) -> None:
        request = json.loads(self.body)
        repo_id = f"{request['organization'] or 'me'}/{request['name']}"
        if repo_id in self.hub.repositories:
            return self.send({"url": f"{self.hub.url}/{repo_id}"}, 409)
        self.hub.put(repo_id, {".gitattributes": b""})
        private = request.get("visibility") == "private" or request.get("private", False)
        self.hub.repositories[repo_id]["private"] = private
        return self.send({"url": f"{self.hub.url}/{repo_id}"})

    def whoami(self) -> None:
        self.send({"name": "me", "type": "user"}) if self.token else self.fail(401)

    def validate(self) -> None:
        self.send({"errors": [], "warnings": []})

    def model(self, repo: str, repository: dict, commit: str, **_: str) -> None:
        self.send({"id": repo, "sha": commit, "private": repository["private"], "siblings": [], "tags": []})

    def tree(self, commit: str, **_: str) -> None:
        files = self.hub.commits[commit].items()
        self.send(
            [{"type": "file", "path": path, "size": len(data), "oid": git_oid(data)} for path, data in files],
        )

    def branch(self, repo: str, repository: dict, revision: str, commit: str | None, **_: str) -> None:
        if commit is not None:
            return self.fail(409)
        repository["branches"][revision] = repository["branches"]["main"]
        return self.send({})

    def preupload(self, **_: str) -> None:
        request = json.loads(self.body)["files"]
        self.send(
            {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in request]},
        )

    def commit(self, repo: str, revision: str, **_: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        self.hub.summaries += [line["value"]["summary"] for line in lines if line["key"] == "header"]
        added = [line["value"] for line in lines if line["key"] == "file"]
        commit = self.hub.put(repo, {f["path"]: base64.b64decode(f["content"]) for f in added}, revision)
        self.send({"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{repo}/commit/{commit}"})

    def resolve(self, commit: str, file: str, **_: str) -> None:
        data = self.hub.commits[commit].get(file)
        if data is None:
            return self.fail(404, "EntryNotFound")
        return self.send(data, headers={"ETag": f'"{git_oid(data)}"', "X-Repo-Commit": commit})

    def fail(self, status: int, code: str = "") -> None:
        self.send({"error": "refused"}, status, {"X-Error-Code": code} if code else {})

    def send(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def point_client_at(monkeypatch, url: str, cache: Path) -> None:
    """The real client, online, logged out, with a cache of its own."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    close_session()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stub Hub that the client talks to; every other address fails the test."""
    connect = socket.socket.connect

    def connect_to_loopback(self, address):
        assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", f"the network was touched: {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_loopback)
    stub = StubHub()
    point_client_at(monkeypatch, stub.url, tmp_path / "cache")
    yield stub
    stub.close()
    close_session()


def push(repo_id: str = "me/neon", seed: int = 0, **options) -> str:
    return push_maps(repo_id, make_numbers(seed), FACTS, **{"token": WRITER, **options})


def test_pushed_maps_come_back_bit_for_bit(hub, tmp_path):
    url = push()
    assert url == f"{hub.url}/me/neon/commit/{hub.repositories['me/neon']['branches']['main']}"
    numbers, facts = read_maps("me/neon")
    assert same_bits(numbers, make_numbers())
    assert {key: facts[key] for key in FACTS} == FACTS
    write_maps(tmp_path / "local", make_numbers(), FACTS, repo_id="me/neon")
    local = {path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()}
    assert hub.files("me/neon") == {".gitattributes": b"", **local}
    assert hub.summaries == ["Upload steering maps"]


def test_the_card_names_the_repository(hub):
    push()
    card = ModelCard(hub.files("me/neon")["README.md"].decode())
    assert 'pipe.load_steering("me/neon")' in card.text
    assert card.data.library_name == "linea-diffusion"


def test_the_card_shows_a_row_of_pictures(hub):
    samples = Samples("a red heart", {value: Image.new("RGB", (8, 8), "red") for value in (0.0, 0.5, 1.0)})
    push(samples=samples)
    files = hub.files("me/neon")
    pictures = [f"images/strength-{one}.png" for one in ("0.00", "0.50", "1.00")]
    assert [name for name in files if name.startswith("images/")] == pictures
    assert files["images/strength-0.50.png"].startswith(b"\x89PNG")
    card = ModelCard(files["README.md"].decode())
    assert card.data.to_dict()["widget"][1] == {
        "text": "a red heart (strength 0.5)",
        "output": {"url": "images/strength-0.50.png"},
    }
    assert "diffusers" in card.data.tags
    assert "| ![strength 0](images/strength-0.00.png) |" in card.text


def test_a_name_alone_is_in_the_users_own_namespace(hub):
    push("neon", seed=1)
    assert 'load_steering("me/neon")' in hub.files("me/neon")["README.md"].decode()
    assert same_bits(read_maps("me/neon")[0], make_numbers(1))


def test_pushing_again_replaces_and_older_commits_stay(hub):
    first = push().rpartition("/")[2]
    push(seed=1, commit_message="Train longer")
    assert hub.summaries == ["Upload steering maps", "Train longer"]
    assert same_bits(read_maps("me/neon")[0], make_numbers(1))
    assert same_bits(read_maps("me/neon", revision=first)[0], make_numbers(0))


def test_a_branch_is_made_when_missing(hub):
    push()
    push(seed=1, revision="longer")
    push(seed=2, revision="longer")
    assert same_bits(read_maps("me/neon")[0], make_numbers(0))
    assert same_bits(read_maps("me/neon", revision="longer")[0], make_numbers(2))


def test_a_private_repository_needs_a_token(hub):
    push(private=True)
    assert hub.repositories["me/neon"]["private"]
    assert same_bits(read_maps("me/neon", token=READER)[0], make_numbers())
    push("me/other", private=True)
    with pytest.raises(LineaError, match=r"there is none, or it is private: .*hf auth login"):
        read_maps("me/other")


def test_a_public_repository_is_not_taken_for_a_private_one(hub):
    push()
    commits = len(hub.commits)
    with pytest.raises(LineaError, match="got private=True and the public repository 'me/neon'"):
        push(private=True, seed=1)
    assert len(hub.commits) == commits
    push("me/hidden", private=True)
    push("me/hidden", seed=1, private=True)
    assert hub.repositories["me/hidden"]["private"]


def test_the_cache_serves_when_the_hub_is_gone(hub):
    push()
    numbers, _ = read_maps("me/neon")
    hub.close()
    close_session()
    assert same_bits(read_maps("me/neon")[0], numbers)


def test_nothing_is_asked_when_the_maps_cannot_be_written(hub):
    with pytest.raises(LineaError, match="NaN or infinity"):
        push_maps("me/neon", {key: value / 0 for key, value in make_numbers().items()}, FACTS, token=WRITER)
    assert not hub.requests


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, r"does not know you \(401\): log in with `hf auth login` or pass a token$"),
        (READER, r"the Hub forbids it \(403\): use a token that may do this"),
    ],
)
def test_who_may_not_write_is_told_what_to_do(hub, token, message):
    with pytest.raises(LineaError, match=message):
        push(token=token)
    with pytest.raises(LineaError, match=message if token else "nobody is logged in here: log in with `hf auth login`"):
        push("neon", token=token)
    hub.put("me/neon", {})
    with pytest.raises(LineaError, match=message):
        push(token=token)


@pytest.mark.parametrize("repo_id", ["a/b/c", "./neon", "neon--1", "", "me/", "me/neon.git", "spa ce/x"])
def test_a_name_that_the_hub_does_not_allow(hub, repo_id):
    with pytest.raises(LineaError, match="nor a name that the Hub allows"):
        push(repo_id)
    assert not hub.requests


def test_no_such_repository(hub):
    with pytest.raises(LineaError, match=r"got steering 'me/none'.*there is none, or it is private"):
        read_maps("me/none")
    with pytest.raises(LineaError, match="there is none, or it is private"):
        read_maps("me/none", token=READER)


def test_no_such_revision(hub):
    push()
    with pytest.raises(LineaError, match="it has no revision 'v9': give a branch, tag or commit"):
        read_maps("me/neon", revision="v9")


@pytest.mark.parametrize("missing", ["config.json", "steering.safetensors"])
def test_no_such_file_in_the_repository(hub, missing):
    push()
    files = {name: data for name, data in hub.files("me/neon").items() if name != missing}
    hub.put("me/part", {**files, "pytorch_model.bin": b"\x80"})
    with pytest.raises(LineaError, match=f"got 'me/part': expected .*; {missing} is missing$"):
        read_maps("me/part")
    assert not any("pytorch_model.bin" in request for request in hub.requests)


def test_damage_on_the_hub_is_noticed(hub):
    push()
    weights = hub.files("me/neon")["steering.safetensors"]
    hub.put("me/neon", {"steering.safetensors": weights[:-1] + b"?"})
    with pytest.raises(LineaError, match="the two files do not belong together"):
        read_maps("me/neon")


@pytest.mark.parametrize(
    ("pattern", "status", "code", "message"),
    [
        ("GET /api/models/.*", 401, "GatedRepo", "its owner asks for consent"),
        ("GET /api/models/.*", 403, "", r"forbids it \(403\)"),
        ("GET /api/models/.*/tree/.*", 404, "", "the Hub's client says: .*404"),
        ("(HEAD|GET) /me/neon/resolve/.*", 403, "", r"forbids it \(403\)"),
        ("(HEAD|GET) /me/neon/resolve/.*", 404, "EntryNotFound", "the Hub's client says: .*404"),
    ],
)
def test_refusals_while_reading(hub, pattern, status, code, message):
    push()
    hub.refuse = (pattern, status, code)
    with pytest.raises(LineaError, match=message) as raised:
        read_maps("me/neon")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "status", "message"),
    [
        ("POST /api/repos/create", 402, "the Hub's client says: .*402"),
        ("POST .*/branch/.*", 400, "the Hub's client says: .*400|[Bb]ad request"),
        ("POST .*/preupload/.*", 404, "the Hub's client says: .*404"),
        ("POST .*/commit/.*", 403, r"forbids it \(403\)"),
        ("POST .*/commit/.*", 412, "the Hub's client says: .*412"),
    ],
)
def test_refusals_while_pushing(hub, pattern, status, message):
    hub.refuse = (pattern, status, "")
    with pytest.raises(LineaError, match=message) as raised:
        push(revision="longer")
    assert "\n" not in str(raised.value)


def test_an_answer_that_is_no_hubs(hub, monkeypatch):
    monkeypatch.setattr(StubHandler, "model", lambda self, **_: self.send(b"<html>log in to the hotel wifi</html>"))
    push()
    with pytest.raises(LineaError, match="the Hub's client says"):
        read_maps("me/neon")


def test_no_network(monkeypatch, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        point_client_at(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}", tmp_path / "cache")
        for call in (lambda: read_maps("me/neon"), push, lambda: push("neon")):
            with pytest.raises(LineaError, match=r"the Hub cannot be reached \(.*check the network") as raised:
                call()
            assert "\n" not in str(raised.value)
    close_session()


def test_offline(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for call in (lambda: read_maps("me/neon"), push):
        with pytest.raises(LineaError, match="HF_HUB_OFFLINE is set"):
            call()
    assert not hub.requests


def test_a_local_folder_comes_before_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    push()
    write_maps(Path("me/neon"), make_numbers(1), {})
    assert same_bits(read_maps("me/neon")[0], make_numbers(1))
    with pytest.raises(LineaError, match="got revision 'main' of the local 'me/neon'"):
        read_maps("me/neon", revision="main")


@pytest.mark.parametrize("source", ["no/such/maps/here", "./nowhere", "nowhere/maps", "x" * 5000, "null\0byte"])
def test_neither_a_folder_nor_a_repository(hub, source):
    with pytest.raises(LineaError, match="expected an existing folder or a reachable Hugging Face Hub id"):
        read_maps(source)


def test_maps_of_the_first_format_are_read_from_a_hub(hub):
    from safetensors.torch import save

    zeros = torch.zeros(3)
    config = {"format_version": 1, "modules": {"unet.a": 3}}
    weights = save({"unet.a.scale_offset": zeros, "unet.a.shift": zeros + 1})
    hub.put("me/old", {"config.json": json.dumps(config).encode(), "steering.safetensors": weights})
    assert read_maps("me/old")[0]["unet.a.shift"].tolist() == [1, 1, 1]

"""Files from and to the Hugging Face Hub, with errors that say what to do (the only caller of huggingface_hub)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import LineaError, reason


def download(repo_id: str, files: Sequence[str], *, revision: str | None = None, token: str | None = None) -> Path:
    """A local folder with those of `files` that a repository has.

    Args:
        repo_id: ``namespace/name``.
        files: file names.
        revision: branch, tag or commit; default the newest of ``main``.
        token: default the one of ``hf auth login``.

    Raises:
        LineaError: no such repository or revision, no access, or no network and nothing in the cache.
    """
    from huggingface_hub import snapshot_download

    expected = f"got steering {repo_id!r}: expected an existing folder or a reachable Hugging Face Hub id"
    with _explained(expected, revision):
        return Path(snapshot_download(repo_id, revision=revision, token=token, allow_patterns=list(files)))


def full_id(repo_id: str, *, token: str | None = None) -> str:
    """``namespace/name``, with the user's own namespace when only a name is given.

    Raises:
        LineaError: not logged in, or no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id

    with _explained(f"got repository {repo_id!r}: expected namespace/name on the Hugging Face Hub"):
        validate_repo_id(repo_id)
        return repo_id if "/" in repo_id else f"{HfApi(token=token).whoami()['name']}/{repo_id}"


def upload(
    folder: Path, repo_id: str, *, private: bool, token: str | None, commit_message: str, revision: str | None
) -> str:
    """Put a folder's files into a repository, which is made when missing, and so is the branch.

    Args:
        folder: all its files go.
        repo_id: ``namespace/name``.
        private: make a new repository private; one that exists must be private already.
        token: default the one of ``hf auth login``.
        commit_message: first line of the commit.
        revision: branch, or ``refs/pr/N``; default ``main``.

    Returns:
        The address of the commit.

    Raises:
        LineaError: not logged in, no right to write, no network, or a public repository and `private`.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _explained(f"got repository {repo_id!r}: expected one that you may write on the Hugging Face Hub", revision):
        api.create_repo(repo_id, private=private, exist_ok=True)
        is_public = private and not api.model_info(repo_id).private
    if is_public:
        raise LineaError(
            f"got private=True and the public repository {repo_id!r}: expected a private one; make it private in its "
            "settings, or push without private"
        )
    with _explained(f"got repository {repo_id!r}: expected an upload to the Hugging Face Hub", revision):
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision
        )
    return commit.commit_url


@contextmanager
def _explained(expected: str, revision: str | None = None) -> Iterator[None]:
    # HTTPError is the base class of the HTTP library that this release of huggingface_hub is built on.
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        raise LineaError(f"{expected}; {_advice(_root(error), revision)}") from error


def _root(error: BaseException) -> BaseException:
    """What made the cache be searched, when it was searched in vain."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _advice(error: BaseException, revision: str | None) -> str:
    from huggingface_hub import errors

    log_in = "log in with `hf auth login` or pass a token"
    cases: list[tuple[type[BaseException], str]] = [
        (errors.HFValidationError, "this is neither a folder here nor a name that the Hub allows"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set and nothing is in the cache: unset it"),
        (errors.LocalTokenNotFoundError, f"nobody is logged in here: {log_in}"),
        (errors.GatedRepoError, f"its owner asks for consent: give it on the repository's page, then {log_in}"),
        (errors.RevisionNotFoundError, f"it has no revision {revision!r}: give a branch, tag or commit that it has"),
        (errors.RepositoryNotFoundError, f"there is none, or it is private: check the name, or {log_in}"),
    ]
    for kind, advice in cases:
        if isinstance(error, kind):
            return advice
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"the Hub does not know you (401): {log_in}"
    if status == 403:
        return "the Hub forbids it (403): use a token that may do this, made in your Hub settings"
    if status is None and isinstance(error, errors.HTTPError | ConnectionError):
        return f"the Hub cannot be reached ({reason(error)}): check the network, proxy and HF_ENDPOINT"
    return f"the Hub's client says: {reason(error)}"

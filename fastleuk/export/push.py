"""``fastleuk push``: a run's weights in a repository of the Hugging Face hub, for timm to load."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastleuk.errors import CheckpointError, ConfigError, FastleukError
from fastleuk.export.run import export_run
from fastleuk.export.timm_folder import CONFIG, WEIGHTS
from fastleuk.files import write_text
from fastleuk.run_folder.place import writing_place
from fastleuk.run_log import result, say

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Report = Callable[[str], None]

README = "README.md"
FOLDER = "push"
"""In the run folder, for ``--dry-run``."""
_CLIENTS = ("httpx", "httpx2", "requests")
"""What the hub's library reaches the network with, by its version."""
_LOG_IN = (
    "Log in with `hf auth login`, or set HF_TOKEN to a token that may write "
    "(https://huggingface.co/settings/tokens). --dry-run needs neither."
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run goes.

    Attributes:
        repo: ``OWNER/NAME``.
        private: Whether only its owner sees it.
        exists: Whether it is there already; then a commit is added to it.
        account: Who is logged in.
    """

    repo: str
    private: bool
    exists: bool
    account: str


def push_run(
    run_dir: Path,
    repo: str,
    *,
    card: Callable[[], str],
    confirm: Callable[[str], bool],
    private: bool = True,
    dry_run: bool = False,
    out: Path | None = None,
    endpoint: str | None = None,
    report: Report = say,
) -> Path | str:
    """Upload a run's best weights, ``config.json`` and its model card as ``README.md``.

    What is uploaded, its size and where it goes is told before; nothing is uploaded unless
    ``confirm`` says so. The data, the predictions and the names of subjects stay here.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        repo: ``OWNER/NAME``; ``NAME`` alone is the logged-in account's.
        card: Makes the model card.
        confirm: Is asked the question, returns whether to go on.
        private: Whether a new repository is private. One that is there must be so already.
        dry_run: Write the folder that would be uploaded, and upload nothing; no network is needed.
        out: Of ``dry_run``; ``RUN/push`` by default.
        endpoint: Of the hub; by default ``HF_ENDPOINT``, or huggingface.co.
        report: Takes what is printed.

    Returns:
        The folder of a dry run, else the address of the commit; empty where it was declined.

    Raises:
        ConfigError: no repository's name, ``out`` without ``dry_run``, or a repository that is
            public where ``private`` was wanted, or the other way round.
        CheckpointError: no run, or one that was not tested.
        FastleukError: not logged in, no network, or the hub refused.
    """
    _check_name(repo)
    if out is not None and not dry_run:
        raise ConfigError("--out is for --dry-run: without it nothing is kept on this machine.")
    if not run_dir.is_dir():
        raise CheckpointError(f"{run_dir} is no run folder: it is not there.")
    if dry_run:
        text = card()
        place = writing_place(run_dir, out or run_dir / FOLDER)
        _write(run_dir, place, repo, text, report)
        result(report, _contents(place))
        result(report, f"Nothing was uploaded (--dry-run). The folder: {place}")
        return place
    api = _api(endpoint)
    target = _target(api, repo, private)
    text = card()
    with tempfile.TemporaryDirectory(prefix="fastleuk-push-") as folder:
        place = Path(folder)
        _write(run_dir, place, target.repo, text, lambda _: None)
        result(report, _contents(place))
        result(report, _told(api, target))
        if not confirm("Upload these files?"):
            result(report, "Nothing was uploaded.")
            return ""
        return _upload(api, target, place, run_dir, report)


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(
            f"REPO is {repo!r}, but must be OWNER/NAME, as on the hub. ({error})"
        ) from error


def _write(run_dir: Path, place: Path, repo: str, card: str, report: Report) -> None:
    """Write what is uploaded; what ``export`` checks is checked."""
    export_run(run_dir, format="safetensors", out=place, report=report)
    write_text(place / README, f"{card.rstrip()}\n\n{_use(repo, place)}")


def _use(repo: str, place: Path) -> str:
    """Return how the weights are used, as a section of the README."""
    import json

    from safetensors import safe_open

    from fastleuk.export.about import KEY

    with safe_open(place / WEIGHTS, framework="pt") as file:
        told: dict[str, Any] = json.loads(file.metadata()[KEY])
    names, label = ", ".join(told["classes"]), str(told["label"])
    label = label[:1].upper() + label[1:]
    return f"""## Use

```python
import timm

network = timm.create_model("hf-hub:{repo}", pretrained=True).eval()
```

It takes {told["preprocessing"]["input"]}: resized {told["preprocessing"]["resize"]}, then
{told["preprocessing"]["normalise"]} with mean {told["preprocessing"]["mean"]} and deviation
{told["preprocessing"]["std"]}. It returns logits of {names}, in this order; the probabilities of
the figures above are softmax(logits / {told["temperature"]:.6g}). {label}.
All of this stands in the metadata of `{WEIGHTS}`, under `{KEY}`.
"""


def _contents(place: Path) -> str:
    """Return the files with their sizes."""
    sizes = {name: (place / name).stat().st_size for name in (WEIGHTS, CONFIG, README)}
    lines = [f"  {name:<18} {size / 1e6:10.3f} MB" for name, size in sizes.items()]
    return "\n".join([*lines, f"  {'in all':<18} {sum(sizes.values()) / 1e6:10.3f} MB"])


def _told(api: HfApi, target: Target) -> str:
    who = "private: only its owner sees it" if target.private else "PUBLIC: everybody can load it"
    what = "a commit to the repository" if target.exists else "a new repository"
    return f"To {api.endpoint}/{target.repo}, {what}, {who}; as {target.account}"


def _api(endpoint: str | None) -> HfApi:
    """Return the hub's client.

    Raises:
        FastleukError: nobody is logged in.
    """
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise FastleukError(f"Nobody is logged in to the hub, so nothing was uploaded. {_LOG_IN}")
    return HfApi(endpoint=endpoint, token=token, library_name="fastleuk")


def _target(api: HfApi, repo: str, private: bool) -> Target:
    """Ask the hub who is logged in, and whether the repository is there."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with _hub(api, repo):
        account = str(api.whoami()["name"])
        repo = repo if "/" in repo else f"{account}/{repo}"
        try:
            found = api.model_info(repo)
        except RepositoryNotFoundError:
            return Target(repo, private, False, account)
    if bool(found.private) != private:
        there, wanted = ("private", "public") if found.private else ("public", "private")
        why = " (the default)" if private else ""
        raise ConfigError(
            f"{repo} is there and {there}, but --{wanted}{why} was asked for. push does not change "
            f"who can see a repository: give --{there}, or change it on the hub's page."
        )
    return Target(repo, private, True, account)


def _upload(api: HfApi, target: Target, place: Path, run_dir: Path, report: Report) -> str:
    import fastleuk

    with _hub(api, target.repo):
        if not target.exists:
            api.create_repo(target.repo, private=target.private, repo_type="model")
        commit = api.upload_folder(
            repo_id=target.repo,
            folder_path=str(place),
            commit_message=f"{run_dir.resolve().name}, by fastleuk {fastleuk.__version__}",
        )
    address = str(commit.commit_url)
    result(report, f"Uploaded: {address}")
    report(f'timm.create_model("hf-hub:{target.repo}", pretrained=True) builds it')
    return address


@contextmanager
def _hub(api: HfApi, repo: str) -> Iterator[None]:
    """Say what the hub or the network refused in words.

    Raises:
        FastleukError: instead of what the hub's library raises.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        said = _first_line(getattr(error, "server_message", None) or error)
        if status == 401:
            raise FastleukError(f"{api.endpoint} does not take the token. {_LOG_IN}") from error
        if status == 403:
            raise FastleukError(
                f"{api.endpoint} does not let this account write to {repo}: {said}. Name a "
                f"repository of your own, or use a token that may write. {_LOG_IN}"
            ) from error
        raise FastleukError(
            f"{api.endpoint} refused the request for {repo} (status {status}): {said}."
        ) from error
    except OfflineModeIsEnabled as error:
        raise FastleukError(
            "HF_HUB_OFFLINE is set, so the hub is not asked. Unset it, or use --dry-run."
        ) from error
    except Exception as error:
        if not _of_network(error):
            raise
        raise FastleukError(
            f"{api.endpoint} can't be reached: {_first_line(error)}. Is there a network? What was "
            "not committed is not on the hub; --dry-run writes the folder without one."
        ) from error


def _of_network(error: Exception) -> bool:
    kinds = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    # hf_xet, which sends large files, raises RuntimeError.
    return bool(kinds & set(_CLIENTS)) or isinstance(error, (OSError, RuntimeError))


def _first_line(said: object) -> str:
    lines = str(said).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(said).__name__

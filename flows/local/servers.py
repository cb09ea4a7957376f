"""The Prefect server that is used: its client, and what is wrong with a user's own one, before anything is sent to it.

A user's own server, or Prefect Cloud, is the one that PREFECT_API_URL or the active profile names; its key is
PREFECT_API_KEY or PREFECT_API_AUTH_STRING. Without them there is the local server that flows/local starts.
"""

from importlib.metadata import version

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from flows.local.layout import POOL
from flows.local.processes import StartError

PROCESS = "process"
REFUSED = (401, 403)


def open_client(api_url: str) -> SyncPrefectClient:
    """Return a client of this server, with the key or the password of Prefect's settings."""
    api = get_current_settings().api
    key = api.key.get_secret_value() if api.key else None
    password = api.auth_string.get_secret_value() if api.auth_string else None
    return SyncPrefectClient(api_url, api_key=key, auth_string=password)


def find_page(api_url: str) -> str:
    """Return the address of a user's server for a browser: PREFECT_UI_URL, or what Prefect makes of the API's."""
    return get_current_settings().ui_url or api_url.removesuffix("/").removesuffix("/api")


def check_server(api_url: str) -> None:
    """Raise StartError where a user's own server does not answer, refuses the key, or has another major version."""
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), open_client(api_url) as client:
            is_cloud = client.server_type.value == "cloud"
            client.read_work_pools(limit=1)
            theirs = version("prefect") if is_cloud else client.api_version()
    except PrefectHTTPStatusError as error:
        raise StartError(_explain_status(api_url, error.response.status_code)) from error
    except (httpx.HTTPError, RuntimeError, ValueError) as error:
        raise StartError(
            f"no Prefect server answers at {api_url} ({str(error) or type(error).__name__}). PREFECT_API_URL, or the "
            "active profile of Prefect, names it: start it, or unset the variable to use a local server of this folder"
        ) from error
    ours = version("prefect")
    if theirs.split(".")[0] != ours.split(".")[0]:
        raise StartError(
            f"the Prefect server at {api_url} has version {theirs}; expected {ours.split('.')[0]}.x, for this "
            f"environment has {ours}. Use a server of that version, or unset PREFECT_API_URL"
        )


def _explain_status(api_url: str, status: int) -> str:
    if status in REFUSED:
        return (
            f"the Prefect server at {api_url} refuses the key ({status}). Set PREFECT_API_KEY (Prefect Cloud) or "
            "PREFECT_API_AUTH_STRING (a server with a password) to a valid one"
        )
    return (
        f"no Prefect API answers at {api_url} (status {status}). PREFECT_API_URL is the address up to `/api`, such as "
        "http://host:4200/api"
    )


def prepare_pool(api_url: str, name: str, *, is_ours: bool) -> str:
    """Return the type of a work pool; make it, as a process pool, if it is missing and the server or the pool is ours.

    Raises StartError that says how to make a missing pool of a user's own server.
    """
    with open_client(api_url) as client:
        try:
            return client.read_work_pool(name).type
        except ObjectNotFound:
            if not is_ours and name != POOL:
                raise StartError(
                    f"the Prefect server at {api_url} has no work pool {name!r}. Make it, with the type that you have "
                    f"workers for: `.venv/bin/prefect work-pool create {name} --type process` (or docker, kubernetes)"
                ) from None
        client.create_work_pool(WorkPoolCreate(name=name, type=PROCESS))
    return PROCESS

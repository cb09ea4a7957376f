"""A memory behind an OpenAI-compatible endpoint. It needs the packages of the extra `serve`."""

from importlib.util import find_spec

if missing := [name for name in ("starlette", "uvicorn", "prometheus_client") if find_spec(name) is None]:
    raise ImportError(f"the service needs {', '.join(missing)}: pip install 'comem[serve]'")

"""The two places in which a store can be."""

from dataclasses import replace

import pytest

from comem_core.addresses.places import find_store_cache
from tasks.engine.context import Context


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, context: Context) -> Context:
    """Return a context whose store is in a folder, and one whose store is in a bucket."""
    if request.param == "folder":
        return context
    address = request.getfixturevalue("bucket")
    return replace(context, store=find_store_cache(address), store_address=address)

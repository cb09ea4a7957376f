#!/usr/bin/env bash
# faiss-cpu 1.15.1: an IVF index that is opened with `IO_FLAG_MMAP` takes several times as long for a single query.
#
# Mapped lists are `OnDiskInvertedLists`, which start up to `prefetch_nthread` (32) threads in each search to read lists
# ahead, whether they are in memory already or not. Starting threads takes longer than the search of a small index. In a
# batch it is not seen. `faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0` switches it off; the value is
# not written into the file, so it has to be set after each opening.
# Seen: 32; a query takes 2.6 times (60,000 vectors) to 9 times (here) as long as with 0, which is as fast as in memory.
# The script fails when the default is 0, or the two take about the same time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6 2>/dev/null
cd "$folder"
cat >search.py <<'PYTHON'
import sys
import time

import faiss
import numpy as np

faiss.omp_set_num_threads(1)
vectors = np.random.default_rng(0).standard_normal((20_000, 64), dtype=np.float32)
index = faiss.index_factory(64, "IVF256,Flat", faiss.METRIC_INNER_PRODUCT)
index.train(vectors)
index.add(vectors)
faiss.write_index(index, "lists.faiss")


def time_query(index):
    index.nprobe = 8
    seconds = []
    for row in range(500):
        started = time.perf_counter()
        index.search(vectors[row : row + 1], 10)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


mapped = faiss.read_index("lists.faiss", faiss.IO_FLAG_MMAP)
lists = faiss.downcast_InvertedLists(mapped.invlists)
default = lists.prefetch_nthread
found = {"in memory": time_query(index), f"mapped, {default} threads": time_query(mapped)}
lists.prefetch_nthread = 0
found["mapped, no threads"] = time_query(mapped)
for name, seconds in found.items():
    print(f"{name}: {seconds * 1e6:.0f} microseconds a query")
_, before, after = found.values()
print(f"faiss {faiss.__version__}: {before / after:.1f} times as long")
sys.exit(0 if default > 0 and before > 1.3 * after else "this has changed")
PYTHON
venv/bin/python search.py

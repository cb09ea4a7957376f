"""How long it takes from nothing to the first answer: by opening a saved memory, and by encoding its items anew.

Each side is a process of its own that starts Python, imports the library and answers one question. The bank is that of
the countries: 1,150 items.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.memory import Memory
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

ENCODER, QUESTION = "tiny-encoder", "Which country is this?"
NUM_ITEMS = 1150
OPENING = """
import sys
import comem_core as comem
print(comem.open(sys.argv[1]).ask(sys.argv[2], sys.argv[3], language="en").text)
"""
ENCODING = """
import sys
from pathlib import Path
from comem_core import MemoryEncoder, Question, load_knowledge_items
encoder = MemoryEncoder.from_pretrained(sys.argv[1])
bank = encoder.encode(load_knowledge_items()[: int(sys.argv[4])])
question = Question(question_id="1", question=sys.argv[3], image=Path(sys.argv[2]).read_bytes(), language="en")
print(encoder.answer([question], bank, k=3)[0].text)
"""


@dataclass(frozen=True, kw_only=True)
class OpeningTimes:
    """Median seconds from the start of a process to its first answer."""

    opened: float
    encoded: float


def measure_opening(*, repeats: int, num_items: int = NUM_ITEMS) -> OpeningTimes:
    """Measure both ways by turns, after one unmeasured turn of each; both must give the same answer."""
    opened: list[float] = []
    encoded: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        saved, picture = Path(folder) / "memory", Path(folder) / "flag.png"
        Memory.make(MemoryEncoder.from_pretrained(ENCODER), load_knowledge_items()[:num_items]).save(saved)
        picture.write_bytes(load_benchmark_questions("dev")[0].image)
        for turn in range(repeats + 1):
            seconds, answer = measure_process(OPENING, [str(saved), str(picture), QUESTION])
            other_seconds, other = measure_process(ENCODING, [ENCODER, str(picture), QUESTION, str(num_items)])
            assert answer == other, f"the opened memory answers {answer!r}, the encoded one {other!r}"
            print(f"opened {seconds:.1f} s, encoded {other_seconds:.1f} s", flush=True)
            if turn:
                opened.append(seconds)
                encoded.append(other_seconds)
    return OpeningTimes(opened=statistics.median(opened), encoded=statistics.median(encoded))


def measure_process(code: str, arguments: Sequence[str]) -> tuple[float, str]:
    """Run Python code in a new process with one thread; return the wall seconds and what it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    started = time.perf_counter()
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - started, done.stdout.strip()

"""`python -m comem_core.serving.vllm tiny`: writes a model's chat template, and says how to start vLLM with it."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from comem_core.backbone.finding import find_backbone_folder
from comem_core.backbone.loading import read_family
from comem_core.serving.vllm.template import describe_command, make_server_command, write_template
from comem_core.terminal import guard_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the template and print the command. Returns 2 with the reason where vLLM cannot read the model's memory."""
    parser = argparse.ArgumentParser(prog="python -m comem_core.serving.vllm", description=__doc__)
    parser.add_argument("backbone", help="a shipped name, a folder or a hub name")
    parser.add_argument("--output", type=Path, default=Path(".comem/vllm"), help="where the template goes")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--images", type=int, default=4, help="pictures in a request: 1 + k to show items as text too")
    chosen = parser.parse_args(arguments)
    try:
        folder = find_backbone_folder(chosen.backbone)
        if fault := read_family(folder).backbone.vllm_fault:
            raise ValueError(f"vLLM cannot answer for {chosen.backbone!r} from memory: {fault}")
        template = write_template(folder, chosen.output / Path(chosen.backbone).name)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command = make_server_command(
        folder, template.absolute(), dtype=_read_dtype(folder), port=chosen.port, num_images=chosen.images
    )
    print(describe_command(command))
    return 0


def _read_dtype(folder: Path) -> str:
    """Return the number type for the server: the model's own, but float32 for half precision, which CPUs lack."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    return "float32" if dtype == "float16" else dtype


if __name__ == "__main__":
    guard_output()
    sys.exit(main())

"""`python -m flows.local demo|serve|schedule|compare|...`: this project on a local Prefect, or on the user's own."""

import argparse
import os
import sys
from dataclasses import replace
from importlib import import_module

from comem_core.terminal import guard_output
from flows.local.layout import Layout, find_asked_server

COMMANDS = {
    "plan": "show what a run of synth-and-train would do: what it reuses or makes, why, how much and how long",
    "demo": "run synth-and-train once, follow it, show the scores, and end everything that was started",
    "record": "write the measurements of the last demo to docs/results and into the tables that quote them",
    "serve": "keep server, worker and deployments running in the background",
    "stop": "end everything that serve started",
    "status": "show what is running",
    "schedule": "switch the schedule of a deployment on or off (it is off at first)",
    "alert": "call a webhook (COMEM_WEBHOOK) when a score moved or a run failed, and mark dead runs as crashed",
    "compare": "write pages that compare the evaluations of two runs",
}

# Commands that import the modules of flows, which takes many seconds; the others start without them.
READING = ("plan", "record", "compare")

LISTING = ".venv/bin/python -m warehouse report --database .comem/warehouse.duckdb recent_runs"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; a user's mistake gives one message and no traceback."""
    parsed = parse(arguments)
    try:
        layout = Layout.find()
        note = layout.read_note()
        asked = find_asked_server(layout.root, os.environ) or (note.url if note else None)
        is_ours = note is not None and note.url is None and asked == note.api_url
        layout = replace(layout, asked=None if is_ours else asked)
        layout.home.mkdir(parents=True, exist_ok=True)
        own = layout.build_environment(os.environ, layout.asked or (note.api_url if note else None))
        del own["COMEM_LOCAL"]  # it marks the processes that we start and may end, and this process is not one
        os.environ.clear()
        os.environ.update(own)
        # Imported only now, because Prefect reads its settings when it is imported.
        commands = import_module(f"flows.local.{'reading' if parsed.command in READING else 'commands'}")
        return getattr(commands, parsed.command)(layout, parsed)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "demo":
            command.add_argument("--deployment", default="synth-and-train/tiny-cpu", help="default: %(default)s")
            command.add_argument("--keep", action="store_true", help="leave server and worker running at the end")
        if name == "schedule":
            command.add_argument("switch", choices=("on", "off"))
            command.add_argument(
                "deployment", nargs="?", default="re-evaluate/weekly",
                help="one that has a schedule in prefect.yaml; default: %(default)s",
            )  # fmt: skip
        if name == "alert":
            command.add_argument("switch", nargs="?", choices=("on", "off"), default="on")
        if name == "compare":
            command.add_argument("before", help=f"a run_id, as `{LISTING}` lists them")
            command.add_argument("now", help="another run_id")
            command.add_argument("--output", default=".comem/comparisons", help="folder for the pages")
        if name in ("plan", "demo", "schedule"):
            command.add_argument(
                "-p", "--param", dest="parameters", metavar="NAME=VALUE", action="append", default=[],
                help="a parameter of the flow, as for `prefect deployment run`",
            )  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    guard_output()
    raise SystemExit(main())

"""No key that works somewhere is in a file of the project. Asks no service: a key is told by its form.

Passwords in addresses are not looked for, because tests make some up.
"""

import subprocess
from pathlib import Path

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).parents[2]
KINDS = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "DiscordBotTokenDetector", "GitHubTokenDetector",
    "GitLabTokenDetector", "JwtTokenDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector",
    "PypiTokenDetector", "SendGridDetector", "SlackDetector", "StripeDetector", "TelegramBotTokenDetector",
)  # fmt: skip
LARGEST = 100_000  # bytes: what is larger are tokenizers, weights and tables


def find_secrets(files: list[Path]) -> list[str]:
    """List the file, line and kind of everything that has the form of a key."""
    with transient_settings({"plugins_used": [{"name": name} for name in KINDS]}):
        return [f"{path}:{found.line_number} {found.type}" for path in files for found in scan_file(str(path))]


def test_no_file_of_the_project_has_a_key() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    read = [path for path in files if path.is_file() and path.stat().st_size < LARGEST]
    assert len(read) > 800
    assert find_secrets(read) == []


def test_a_key_is_found(tmp_path: Path) -> None:
    made_up = {
        "aws.py": "AKIA" + "Q7" * 8,
        "hub.txt": "ghp_" + "aB3" * 12,
        "key.pem": "-----BEGIN RSA PRIVATE " + "KEY-----",
    }
    for name, content in made_up.items():
        (tmp_path / name).write_text(f"value = '{content}'\n")
    assert len(find_secrets(sorted(tmp_path.iterdir()))) == 3

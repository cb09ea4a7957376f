"""The bounds of the service: of each request, of what waits, and of what is answered together."""

from dataclasses import dataclass

from comem_core.knowledge.downloads import Downloads
from comem_core.serving.questions import PictureLimits

MEGABYTE = 1024**2


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """What a request may cost, in bytes, pixels, seconds, tokens and items; how many wait, and are answered together.

    A batch waits for more questions for at most `wait_seconds` (see `Backlog`).
    `reload_seconds` is how often a newer bank is looked for.
    """

    max_body_bytes: int = 16 * MEGABYTE
    max_picture_bytes: int = 12 * MEGABYTE
    max_pixels: int = 25_000_000
    request_seconds: float = 60.0
    max_tokens: int = 256
    max_items: int = 20
    queue_size: int = 64
    batch_size: int = 16
    wait_seconds: float = 0.03
    reload_seconds: float = 5.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; expected more than 0")

    @property
    def most_at_once(self) -> int:
        """How many requests may be read, wait or be answered at a time."""
        return self.queue_size + 2 * self.batch_size

    def make_picture_limits(self, *, allow_urls: bool = False) -> PictureLimits:
        """Return the limits of pictures: never a file of this machine, and addresses only if the operator allows it."""
        downloads = Downloads(num_tries=1, total_seconds=self.request_seconds / 2, max_bytes=self.max_picture_bytes)
        return PictureLimits(
            max_bytes=self.max_picture_bytes,
            max_pixels=self.max_pixels,
            allow_urls=allow_urls,
            allow_files=False,
            downloads=downloads,
        )

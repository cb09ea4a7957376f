"""Lists every source of the emoji world: its version, its licence, what was taken from it, and its credit line."""

from comem_core.worlds.packages import UNICODE, Source

SOURCES = (
    Source(
        package="cldr-annotations-full",
        registry="npm",
        version="48.2.0",
        licence="Unicode-3.0",
        gives=("names and keywords of emoji",),
        attribution=UNICODE,
    ),
    Source(
        package="cldr-localenames-full",
        registry="npm",
        version="48.2.0",
        licence="Unicode-3.0",
        gives=("names of languages, for questions",),
        attribution=UNICODE,
    ),
    Source(
        package="@iconify-json/noto",
        registry="npm",
        version="1.2.9",
        licence="Apache-2.0",
        gives=("pictures: knowledge style",),
        attribution="Emoji from Noto Emoji, © Google Inc., Apache-2.0; rasterised.",
    ),
    Source(
        package="@iconify-json/fluent-emoji-flat",
        registry="npm",
        version="1.2.6",
        licence="MIT",
        gives=("pictures: question style",),
        attribution="Emoji from Fluent Emoji, © Microsoft Corporation, MIT; rasterised.",
    ),
    Source(
        package="@iconify-json/twemoji",
        registry="npm",
        version="1.2.5",
        licence="CC-BY-4.0",
        gives=("pictures: question style", "which emoji are things"),
        attribution="Emoji from Twemoji, © Twitter, Inc. and other contributors, CC BY 4.0; rasterised.",
    ),
)

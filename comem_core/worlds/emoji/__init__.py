"""The emoji world: things drawn by three artists, each with its name and keywords in one of many languages."""

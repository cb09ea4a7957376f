"""The countries world: real countries, with flags by four artists and facts in five languages."""

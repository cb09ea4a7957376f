"""The countries world: real countries with flags by four artists and their facts in five languages."""

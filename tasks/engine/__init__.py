"""How a stage runs: context, store, reuse, plan, shards, and the only two modules that use Ray. Imports no stage."""

"""How a stage runs: context, store, reuse, plan, shards, and the only two places that talk to Ray. Imports no stage."""

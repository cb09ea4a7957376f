"""What a bank is in a folder: shards of memories, and beside them where each item is."""

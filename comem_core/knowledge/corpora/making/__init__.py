"""From a raw row to an item: its fields, its keys, its texts and its picture."""

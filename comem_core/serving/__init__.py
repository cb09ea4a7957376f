"""A bank behind an interface: which items are shown, and which reader answers from their memories."""

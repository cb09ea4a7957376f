"""The small models that this project makes: `tiny`, `tiny-text` inside it, and `smol`, converted at first use."""

"""Memories read by vLLM: the chat template for its server, a client, and the control question."""

"""Engines of vLLM that a run starts on Ray, for the stages that write and judge."""

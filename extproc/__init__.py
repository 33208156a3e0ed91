"""Sluice: an LLM egress gateway. See docs/architecture.md for the plan of the house."""

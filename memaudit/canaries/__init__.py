"""Planted secrets and their exposure. Nothing stands here yet: canaries come with the language models."""

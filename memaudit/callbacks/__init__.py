"""Callbacks that watch a training run and audit its model: `callbacks.transformers` and `callbacks.lightning`.

Each imports its library alone, so nothing is imported here.
"""

"""Tests of the statistics of a scope and of the whole service."""

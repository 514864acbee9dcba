"""Tests of claim rules."""

"""The service compared with a model, in race runs and in crash runs."""

"""The promises of the engine, shown by a model, by races and by crashes."""

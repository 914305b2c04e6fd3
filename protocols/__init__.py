"""The protocols as small sets of words, functions written once over them, and what people use."""

"""The protocols as small sets of words, functions written once over the words, and what people use them through."""

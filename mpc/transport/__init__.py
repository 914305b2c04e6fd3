"""Moving arrays between parties. Every transport offers `base.Transport`; only `Party` calls it."""

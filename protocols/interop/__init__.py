"""Working with other toolkits on their own shares. Nothing else of radmpc imports this package.

- `crypten`: CrypTen 0.4.1, its tensors, its models and its programs
"""

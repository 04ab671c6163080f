"""The page as HTML: records of what stands on it (``document``), and their drawing (``render``).

Knows nothing of networks.
"""

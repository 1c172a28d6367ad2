from qa.isolation.fixtures import matrix

__all__ = ["matrix"]

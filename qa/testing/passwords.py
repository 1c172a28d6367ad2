"""The hasher of passwords in tests."""

from accounts.passwords import Argon2Hasher


class FastHasher(Argon2Hasher):
    """Takes a fiftieth of the time: tests hash hundreds of passwords, none of which needs protection."""

    memory_cost = 64
    time_cost = 1

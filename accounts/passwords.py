"""The password hasher (`settings.PASSWORD_HASHERS`)."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id as OWASP recommends: 19 MiB of memory, two passes, one lane.

    Django's default is 100 MiB per login: concurrent logins could exhaust the server's memory.
    https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    memory_cost = 19 * 1024
    time_cost = 2
    parallelism = 1

"""The form in which passwords are compared, and their hasher (`settings.PASSWORD_HASHERS`)."""

import threading
import unicodedata

from django.contrib.auth.hashers import Argon2PasswordHasher


def normalised_password(password: str) -> str:
    """Return the one form of what looks alike: composed characters, and spaces of every kind as U+0020.

    Keyboards and systems write the same letter in different ways. This is what the profile OpaqueString
    does: https://www.rfc-editor.org/rfc/rfc8265#section-4.2
    """
    spaces = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaces)


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id as OWASP recommends: 19 MiB of memory, two passes, one lane.

    Django's default is 100 MiB per login: concurrent logins could exhaust the server's memory.
    https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    memory_cost = 19 * 1024
    time_cost = 2
    parallelism = 1

    #: A hash takes 30 ms of a processor core. One at a time per process, however many logins there are,
    #: leaves time to other requests.
    _one_at_a_time = threading.Lock()

    def encode(self, password: str, salt: str) -> str:
        with self._one_at_a_time:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with self._one_at_a_time:
            return super().verify(password, encoded)

"""Plans: the limits of tenants, edited by staff."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models

from core.mongo.models import Document


def _limit(help_text: str, *, at_least: int = 0) -> models.IntegerField[int | None, int | None]:
    return models.IntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(at_least)],
        help_text=f"{help_text} Empty: unlimited.",
    )


def _big_limit(help_text: str) -> models.BigIntegerField[int | None, int | None]:
    return models.BigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text=f"{help_text} Empty: unlimited."
    )


class Plan(Document):
    """The limits of all tenants on the plan. None means unlimited."""

    class Unpriced(models.TextChoices):
        ALLOW = "allow", "Allow, the cost is unknown"
        REFUSE = "refuse", "Refuse models without a price"

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    requests_per_minute = _limit("Turns admitted in one minute.")
    concurrent_turns = _limit("Turns running at the same time.")
    messages_per_month = _limit("Answered messages in one calendar month (UTC).")
    tokens_per_month = _limit("Input and output tokens in one calendar month (UTC).")
    cost_per_month = models.DecimalField(
        max_digits=14,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="US dollars paid to providers in one calendar month (UTC). Empty: unlimited.",
    )
    max_input_chars = _limit("Characters of one message.", at_least=1)
    max_output_tokens = _limit("Tokens of one reply.", at_least=1)
    history_messages = _limit("Earlier messages that are sent to the model.")
    max_api_keys = _limit("API keys that are neither revoked nor expired.")
    tenants_per_owner = _limit(
        "Tenants on this plan that one user creates, with those deleted this month.", at_least=1
    )
    sessions_per_day = _limit("Conversations opened in one day (UTC).")
    kept_bytes = _big_limit("Bytes of conversations that a tenant keeps.")
    max_members = _limit("Members of a tenant.", at_least=1)
    retention_days = _limit("Days a conversation is kept.", at_least=1)
    streaming = models.BooleanField(default=True, help_text="Replies may be streamed.")
    unpriced = models.CharField(
        max_length=10,
        choices=Unpriced.choices,
        default=Unpriced.ALLOW,
        help_text="Whether models without a known price may be used.",
    )

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name

"""Limits and their usage as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class LimitSerializer(serializers.Serializer[Any]):
    """`limit` and `remaining` null: unlimited. Cost is a decimal string in US dollars."""

    name = serializers.CharField()
    limit = serializers.JSONField(allow_null=True)
    used = serializers.JSONField()
    reserved = serializers.JSONField()
    remaining = serializers.JSONField(allow_null=True)
    resets_at = serializers.DateTimeField(allow_null=True)


class TenantUsageSerializer(serializers.Serializer[Any]):
    plan = serializers.CharField()
    month = serializers.CharField()
    currency = serializers.CharField()
    limits = LimitSerializer(many=True)

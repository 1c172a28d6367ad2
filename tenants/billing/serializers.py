"""Limits and their usage as JSON."""

from __future__ import annotations

from rest_framework import serializers


class LimitSerializer(serializers.Serializer):
    """`limit` and `remaining` null: unlimited. Cost is a decimal string in US dollars."""

    name = serializers.CharField()
    limit = serializers.JSONField(allow_null=True)
    used = serializers.JSONField()
    reserved = serializers.JSONField()
    remaining = serializers.JSONField(allow_null=True)
    resets_at = serializers.DateTimeField(allow_null=True)


class TenantUsageSerializer(serializers.Serializer):
    plan = serializers.CharField()
    month = serializers.CharField()
    currency = serializers.CharField()
    limits = LimitSerializer(many=True)

"""What goes in and out of `/api/llm`."""

from __future__ import annotations

import datetime
from typing import Any

from rest_framework import serializers

from core.api.serializers import StrictSerializer
from llm import providers
from llm.catalogue import Model
from llm.route import LONGEST_MODEL_NAME


class PriceSerializer(serializers.Serializer):
    """USD per million tokens."""

    input = serializers.CharField()
    output = serializers.CharField()
    currency = serializers.CharField()


class ModelSerializer(serializers.Serializer):
    """A model of the catalogue; null stands for what is not known."""

    id = serializers.CharField(source="target.model")
    context_window = serializers.IntegerField(allow_null=True)
    max_output = serializers.IntegerField(allow_null=True)
    tools = serializers.BooleanField(allow_null=True)
    json_schema = serializers.BooleanField(allow_null=True)
    vision = serializers.BooleanField(allow_null=True)
    assistant_prefix = serializers.BooleanField(allow_null=True)
    price = serializers.SerializerMethodField()
    retires = serializers.DateField(allow_null=True)

    def get_price(self, model: Model) -> dict[str, Any] | None:
        price = model.price(datetime.datetime.now(datetime.UTC).date())
        return price and {"input": str(price.input), "output": str(price.output), "currency": "USD"}


class ProviderSerializer(serializers.Serializer):
    name = serializers.CharField()
    label = serializers.CharField()
    configured = serializers.BooleanField()
    default_model = serializers.CharField(allow_null=True)
    models = ModelSerializer(many=True)


class ProvidersSerializer(serializers.Serializer):
    results = ProviderSerializer(many=True)
    default_route = serializers.ListField(child=serializers.CharField())


class TestRequestSerializer(StrictSerializer):
    """Without `provider` all are tested; `model` replaces the default model of the one named."""

    provider = serializers.ChoiceField(choices=list(providers.PROVIDERS), required=False)
    model = serializers.CharField(max_length=LONGEST_MODEL_NAME, required=False)

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "model" in asked and "provider" not in asked:
            raise serializers.ValidationError({"provider": "Name the provider whose model is to be tested."})
        return asked


class CheckSerializer(serializers.Serializer):
    stream = serializers.BooleanField()
    ok = serializers.BooleanField()
    latency_ms = serializers.IntegerField()
    first_token_ms = serializers.IntegerField(allow_null=True)
    model_used = serializers.CharField()
    reply = serializers.CharField()
    kind = serializers.CharField()
    problem = serializers.CharField()


class TestResultSerializer(serializers.Serializer):
    """`ok` is null for a provider that is not configured; `problem` is empty if all is well."""

    provider = serializers.CharField()
    label = serializers.CharField()
    model = serializers.CharField()
    configured = serializers.BooleanField()
    ok = serializers.BooleanField(allow_null=True)
    problem = serializers.CharField()
    checks = CheckSerializer(many=True)


class TestResultsSerializer(serializers.Serializer):
    """`ok`: some provider is configured, and each of those answered."""

    ok = serializers.BooleanField()
    results = TestResultSerializer(many=True)

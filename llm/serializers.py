"""Requests and responses of `/api/llm`."""

from __future__ import annotations

import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from core.api.serializers import BoundedListField, StrictSerializer
from llm import providers
from llm.catalogue import Model, Price
from llm.route import MAX_MODEL_NAME_LENGTH, MAX_TARGET_LENGTH, MAX_TARGETS, parse_route


class TargetsField(BoundedListField):
    """A list of `provider` (its default model) or `provider/model`."""

    child = serializers.CharField(max_length=MAX_TARGET_LENGTH)

    def to_internal_value(self, data: Any) -> list[str]:
        names: list[str] = super().to_internal_value(data)
        try:
            if names:
                parse_route(names)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from error
        return names


class RouteField(TargetsField):
    """Targets in the order in which they are tried; null and [] mean no route of its own.

    Every route that a client or staff give goes through this field: what one endpoint accepts, all accept.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": MAX_TARGETS, "required": False, "allow_null": True, **options})

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return super().validate_empty_values([] if data is None else data)


def shown_price(price: Price) -> dict[str, str]:
    cached = {} if price.cached_input is None else {"cached_input": str(price.cached_input)}
    return {"input": str(price.input), **cached, "output": str(price.output), "currency": "USD"}


class PriceSerializer(serializers.Serializer[Any]):
    """USD per million tokens; `cached_input` is absent where cached input has no price of its own."""

    input = serializers.CharField()
    cached_input = serializers.CharField(required=False)
    output = serializers.CharField()
    currency = serializers.CharField()


@extend_schema_serializer(component_name="Model")
class CatalogueModelSerializer(serializers.Serializer[Model]):
    """A model of the catalogue; null means not known."""

    id = serializers.CharField(source="target.model")
    context_window = serializers.IntegerField(allow_null=True)
    max_output = serializers.IntegerField(allow_null=True)
    tools = serializers.BooleanField(allow_null=True)
    json_schema = serializers.BooleanField(allow_null=True)
    vision = serializers.BooleanField(allow_null=True)
    assistant_prefix = serializers.BooleanField(allow_null=True)
    reasoning_efforts = serializers.ListField(child=serializers.CharField(), allow_null=True)
    price = serializers.SerializerMethodField()
    retires = serializers.DateField(allow_null=True)

    def get_price(self, model: Model) -> dict[str, Any] | None:
        price = model.price(datetime.datetime.now(datetime.UTC).date())
        if price is None:
            return None
        return shown_price(price)


class ProviderSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field of this name, not the field's label
    configured = serializers.BooleanField()
    default_model = serializers.CharField(allow_null=True)
    models = CatalogueModelSerializer(many=True)


class ProvidersSerializer(serializers.Serializer[Any]):
    results = ProviderSerializer(many=True)
    default_route = serializers.ListField(child=serializers.CharField())


@extend_schema_serializer(component_name="TestRequest")
class ProviderTestRequestSerializer(StrictSerializer):
    """Without `provider` all are tested; `model` replaces the default model of the one named."""

    provider = serializers.ChoiceField(choices=list(providers.PROVIDERS), required=False)
    model = serializers.CharField(max_length=MAX_MODEL_NAME_LENGTH, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "model" in attrs and "provider" not in attrs:
            raise serializers.ValidationError({"provider": "Name the provider whose model is to be tested."})
        return attrs


class CheckSerializer(serializers.Serializer[Any]):
    stream = serializers.BooleanField()
    ok = serializers.BooleanField()
    latency_ms = serializers.IntegerField()
    first_token_ms = serializers.IntegerField(allow_null=True)
    model_used = serializers.CharField()
    reply = serializers.CharField()
    kind = serializers.CharField()
    problem = serializers.CharField()


@extend_schema_serializer(component_name="TestResult")
class ProviderTestResultSerializer(serializers.Serializer[Any]):
    """`ok` is null for a provider that is not configured; `problem` is empty for success."""

    provider = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field of this name, not the field's label
    model = serializers.CharField()
    configured = serializers.BooleanField()
    ok = serializers.BooleanField(allow_null=True)
    problem = serializers.CharField()
    checks = CheckSerializer(many=True)


@extend_schema_serializer(component_name="TestResults")
class ProviderTestResultsSerializer(serializers.Serializer[Any]):
    """`ok`: at least one provider is configured, and each configured one answered."""

    ok = serializers.BooleanField()
    results = ProviderTestResultSerializer(many=True)

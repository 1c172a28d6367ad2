from django.urls import path

from chat.openai.views import CompletionsView, ModelsView, ModelView, unknown_path

urlpatterns = [
    path("chat/completions", CompletionsView.as_view(), name="openai-completions"),
    path("models", ModelsView.as_view(), name="openai-models"),
    path("models/<path:name>", ModelView.as_view(), name="openai-model"),
    path("", unknown_path),
    path("<path:rest>", unknown_path),
]

"""Which providers exist, when one is configured, and the errors when it cannot be used."""

import dataclasses
import datetime
import ipaddress
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import override_settings

from llm import errors, providers
from llm.canonical import Text
from llm.providers.coalescing import OpenStreams
from llm.providers.transport import Transport
from qa.fake_provider.server import FakeProvider
from qa.testing.llm import KEY, LIMITS, asking, outcome_of


def settings_with(**changes):
    unset = {name: {"api_key": "", "base_url": "", "model": ""} for name in providers.PROVIDERS}
    return override_settings(LLM_PROVIDERS=unset | changes)


def test_providers_are_in_fallback_order():
    assert list(providers.PROVIDERS) == ["groq", "gemini", "openrouter", "openai_compatible", "local"]


def test_provider_is_created_once_per_settings():
    first = {"api_key": "a", "base_url": "http://localhost:1/v1", "model": "m"}
    with settings_with(groq=first):
        groq = providers.get("groq")
        assert providers.get("groq") is groq
    with settings_with(groq=first | {"api_key": "b"}):
        assert providers.get("groq") is not groq
        assert providers.get("groq").api_key == "b"


def test_unknown_provider_is_a_key_error():
    with pytest.raises(KeyError):
        providers.get("unknown")


def test_configured_providers_have_a_key_or_need_none():
    url = "http://localhost:1/v1"
    keyed, keyless = (
        {"api_key": "k", "base_url": url, "model": "m"},
        {"api_key": "", "base_url": url, "model": "m"},
    )
    with settings_with(groq=keyless, openrouter=keyed, local=keyless, openai_compatible=keyless):
        names = [provider.name for provider in providers.configured()]
    assert names == ["openrouter", "openai_compatible", "local"]


@pytest.mark.parametrize(
    "key", ["", "line\nbreak", "ends\n", "with space", "ünïcode", "nul\0", "tab\tbed"], ids=repr
)
def test_invalid_key_is_refused_without_repeating_it(provider, key):
    with pytest.raises(errors.NotConfigured) as caught:
        provider("groq", api_key=key).open(asking(), "m", stream=True, limits=LIMITS)
    assert "GROQ_API_KEY" in str(caught.value)
    assert not key or key.strip() not in str(caught.value)
    assert caught.value.kind == "auth"


@pytest.mark.parametrize("url", ["groq.example", "ftp://groq.example/v1", "http://", "/v1"])
def test_invalid_base_url_is_refused(provider, url):
    with pytest.raises(errors.NotConfigured, match="GROQ_BASE_URL"):
        provider("groq", base_url=url).open(asking(), "m", stream=True, limits=LIMITS)


def test_base_url_may_end_with_a_slash(provider, call, fake):
    assert call(of=provider("groq", base_url=fake.base_url("groq") + "/")).completion
    assert fake.log()[0].path == "/groq/openai/v1/chat/completions"


@pytest.mark.parametrize("name", list(providers.PROVIDERS))
def test_repr_shows_no_key(provider, name):
    assert KEY not in repr(provider(name))


@pytest.mark.parametrize("name", ["groq", "gemini", "openrouter"])
def test_wrong_key_is_reported(call, provider, name):
    error = call(of=provider(name, api_key="wrong-key")).error
    assert type(error) is errors.Unauthorized
    assert str(error).endswith(f"refused the key: check {name.upper()}_API_KEY.")


@pytest.mark.parametrize("name", ["groq", "gemini", "openrouter"])
def test_listing_models_raises_the_same_errors(provider, name):
    with pytest.raises(errors.Unauthorized):
        provider(name, api_key="wrong-key").models(LIMITS)
    with pytest.raises(errors.NotConfigured):
        provider(name, api_key="").models(LIMITS)
    with pytest.raises(errors.Unreachable):
        provider(name, base_url="http://127.0.0.1:9/v1").models(LIMITS)


# -- TLS -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake provider")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "fake.pem"
    path.write_bytes(pem)
    return str(path)


@pytest.fixture
def secure_fake(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with FakeProvider(tls=context) as fake:
        yield fake


@pytest.fixture
def secure(provider, secure_fake, certificate):
    groq = provider("groq", base_url=secure_fake.base_url("groq"))
    groq.transport = Transport(pool_size=4, trusted_certificates=certificate)
    return groq


@pytest.mark.parametrize("model", ["fake-large", "fault-huge-token", "fault-bytewise", "fault-gzip"])
@pytest.mark.parametrize("stream", [True, False])
def test_answers_are_read_over_tls_and_the_connection_is_reused(call, secure, secure_fake, model, stream):
    expected = 1_000_000 if model == "fault-huge-token" else 10
    for _ in range(2):
        assert len(call(of=secure, model=model, stream=stream).completion.text) >= expected
    assert len({entry.connection for entry in secure_fake.log()}) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("silent", errors.ProviderSilent),
        ("stall", errors.ProviderSilent),
        ("comments-mid-stream", errors.ProviderSilent),
        ("cut", errors.BadReply),
        ("cut-reset", errors.BadReply),  # Python's ssl reports a reset as an end of the stream.
        ("malformed", errors.BadReply),
    ],
)
def test_faults_are_distinguished_over_tls(call, secure, fault, kind):
    limits = dataclasses.replace(LIMITS, first_token_seconds=1, between_tokens_seconds=0.3)
    assert type(call(of=secure, model=f"fault-{fault}", limits=limits).error) is kind


def test_tokens_that_arrived_together_are_coalesced_over_tls(secure, monkeypatch):
    monkeypatch.setattr(OpenStreams, "coalescing_delay_seconds", lambda *_: 0.3)
    open_call = secure.open(asking(), "tokens-60-every-5ms", stream=True, limits=LIMITS)
    texts = [event.text for event in open_call if isinstance(event, Text)]
    assert len(texts) < 10
    assert len("".join(texts).split()) == 60


def test_close_wakes_a_reader_over_tls(secure, secure_fake):
    open_call = secure.open(asking(), "fault-stall", stream=True, limits=LIMITS)
    outcomes = []
    reader = threading.Thread(target=lambda: outcomes.append(outcome_of(open_call)), daemon=True)
    reader.start()
    secure_fake.wait_for(lambda log: log)
    open_call.close()
    reader.join(10)
    assert type(outcomes[0].error) is errors.Cancelled


def test_self_signed_certificate_is_not_trusted(call, provider, secure_fake):
    error = call(of=provider("groq", base_url=secure_fake.base_url("groq"))).error
    assert type(error) is errors.Unreachable
    assert "TLS" in str(error)
    assert secure_fake.log() == []

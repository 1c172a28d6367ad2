import pytest

from accounts.models import User
from qa.tests.audit_coverage.setup import Setup
from tenants.models import Tenant


@pytest.fixture
def setup(acme: Tenant, alice: User, bob: User) -> Setup:
    return Setup(acme, alice, bob)

"""What all tests share: how property tests behave on a slow or busy machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

PROFILE = "sluice"
# Timings are no property of the code: a busy machine must not turn a test red.
settings.register_profile(
    PROFILE, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(PROFILE)

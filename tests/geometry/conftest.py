"""Property tests run on shared cores: how long an example takes says nothing."""

from hypothesis import settings

settings.register_profile("shared-cores", deadline=None)
settings.load_profile("shared-cores")

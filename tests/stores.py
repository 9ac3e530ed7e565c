"""Which tests are about which stores."""

import pytest
from django.conf import settings

only_databases = pytest.mark.skipif(settings.STORE == "redis", reason="is about databases that hold jobs")
only_redis = pytest.mark.skipif(settings.STORE != "redis", reason="is about Redis")

"""What a test needs that may not be installed."""

import pytest

from fastleuk.loading import has_dali

needs_dali = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")

"""Types that several packages share."""

from typing import Literal

Task = Literal["regression", "classification"]

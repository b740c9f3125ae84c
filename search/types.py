"""Types that several packages of the search share."""

from typing import Literal

Task = Literal["regression", "classification"]

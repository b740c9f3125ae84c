"""Types that several packages share."""

from typing import Literal

Task = Literal["regression", "classification"]
DateOrder = Literal["day-first", "month-first"]

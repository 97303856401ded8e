"""Constraints that several learners' parameters share."""

from __future__ import annotations

from numbers import Integral, Real

from metaest._sklearn import Interval

#: A number of steps.
COUNT = Interval(Integral, 0, None, closed="left")

#: A number of parts, units or places.
SIZE = Interval(Integral, 1, None, closed="left")

#: A step size.
RATE = Interval(Real, 0, None, closed="left")

#: A temperature or penalty.
POSITIVE = Interval(Real, 0, None, closed="neither")

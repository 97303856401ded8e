"""Count scikit-learn's estimator checks per learner: python -m benchmarks.sklearn_checks .

The same cases as tests/common/test_sklearn_checks.py, whose docstring explains the modes.
"""

import sys
import warnings
from collections import Counter

import sklearn
from sklearn.utils.estimator_checks import check_estimator

from tests.common.test_sklearn_checks import cases, expected_failures, make_estimator


def main() -> int:
    print(f"scikit-learn {sklearn.__version__}")
    print(f"{'estimator':24}{'learner':16}{'mode':18}{'passed':>8}{'expected':>10}{'skipped':>9}")
    wrong = []
    for cls, name, mode in cases():
        listed = expected_failures(cls, name, mode)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(
                make_estimator(cls, name, mode),
                expected_failed_checks=listed,
                on_fail=None,
                on_skip=None,
            )
        counts = Counter(result["status"] for result in results)
        row = f"{counts['passed']:8}{counts['xfail']:10}{counts['skipped']:9}"
        print(f"{cls.__name__:24}{name:16}{mode:18}{row}", flush=True)
        for result in results:
            listed_passed = result["status"] == "passed" and result["check_name"] in listed
            if result["status"] == "failed" or listed_passed:
                wrong.append(f"{cls.__name__} {name} {mode}: {result['check_name']}")
    print("expected: listed failures, each with its reason, in the test file")
    print("\n".join(["unexpected:", *wrong]) if wrong else "nothing unexpected")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

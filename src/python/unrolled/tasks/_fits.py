"""Whether a model and what its numbers stand for belong together."""


def check_fit(what: str, has: int, name: str, *expected: int) -> None:
    """Raises ValueError unless a model has as many `what` as there are `name`, or `expected`."""
    if has not in expected:
        counts = " or ".join(f"{count:,}" for count in expected)
        raise ValueError(f"the model has {has:,} {what}, its {name} {counts}")

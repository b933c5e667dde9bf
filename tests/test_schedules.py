"""Schedules: a factor from how far the run is and from the validation losses, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.training import constant, one_cycle, plateau, warmup_cosine


def test_constant() -> None:
    assert {constant()(f, []) for f in (0.0, 0.3, 1.0)} == {1.0}
    assert constant(0.5)(0.25, []) == 0.5
    assert constant(0.5)(0.0, []) > 0.0
    assert constant(0.5)(0.75, []) == 1.0


def test_warmup_and_cosine() -> None:
    schedule = warmup_cosine(0.1, 0.2)
    assert 0.0 < schedule(0.0, []) <= 0.01
    assert schedule(0.05, []) == pytest.approx(0.5)
    assert schedule(0.1, []) == pytest.approx(1.0)
    assert schedule(0.55, []) == pytest.approx(0.6)
    assert schedule(1.0, []) == schedule(2.0, []) == pytest.approx(0.2)
    falling = [schedule(f, []) for f in np.linspace(0.1, 1.0, 50)]
    assert falling == sorted(falling, reverse=True)
    assert warmup_cosine(0.0)(0.0, []) == 1.0
    assert warmup_cosine(1.0)(0.5, []) == pytest.approx(0.5)


def test_one_cycle_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra [peers]")
    total = 50
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, cycle_momentum=False, final_div_factor=400.0
    )
    # torch counts the steps of the two halves from 0 to total - 1.
    mine = one_cycle(rise=(0.3 * total - 1) / (total - 1))
    for step in range(total):
        assert mine(step / (total - 1), []) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        if step < total - 1:
            theirs.step()


def test_one_cycle_ends() -> None:
    schedule = one_cycle(rise=0.3, start=0.04, final=1e-4)
    assert schedule(0.0, []) == pytest.approx(0.04)
    assert schedule(0.3, []) == pytest.approx(1.0)
    assert schedule(1.0, []) == pytest.approx(1e-4)
    assert one_cycle(rise=1.0)(1.0, []) == pytest.approx(1e-4)


def test_plateau_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra [peers]")
    losses = [5.0, 4.0, 4.0, 4.5, 3.9, 4.1, 4.2, 4.3, 4.4, 4.0, 3.8, 3.8, 3.8, 3.8, 3.8]
    for patience in (0, 1, 2):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=patience, threshold=0.0
        )
        mine = plateau(0.5, patience)
        for count, loss in enumerate(losses, start=1):
            theirs.step(loss)
            assert mine(0.5, losses[:count]) == theirs.get_last_lr()[0]


def test_plateau_rises_first_and_ignores_what_is_not_finite() -> None:
    assert plateau(warmup=0.2)(0.1, []) == pytest.approx(0.5)
    assert plateau(patience=0)(0.5, [2.0, float("nan"), 1.0]) == 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: constant(1.5),
        lambda: warmup_cosine(warmup=1.5),
        lambda: warmup_cosine(final=-0.1),
        lambda: one_cycle(rise=-0.1),
        lambda: plateau(factor=2.0),
        lambda: plateau(patience=-1),
    ],
)
def test_bad_arguments_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()  # type: ignore[operator]

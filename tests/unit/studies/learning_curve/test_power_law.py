from __future__ import annotations

import numpy as np
import pytest

from medtune.core.errors import InputError
from medtune.studies.learning_curve.power_law import CurveNoise, fit_power_law

SIZES = (125, 500, 2000, 8000, 32000)


def independent(deviation: float, sizes: int = 5) -> CurveNoise:
    return CurveNoise(deviation**2 * np.eye(sizes), np.zeros(sizes))


def curve(ceiling: float, rest: float, exponent: float) -> list[float]:
    return [ceiling - rest * (size / SIZES[-1]) ** -exponent for size in SIZES]


@pytest.mark.parametrize(
    ("ceiling", "rest", "exponent"), [(0.4, 0.06, 0.3), (0.9, 0.01, 0.5), (0.3, -0.02, 0.4)]
)
def test_an_exact_curve_is_recovered(ceiling: float, rest: float, exponent: float) -> None:
    law = fit_power_law(SIZES, curve(ceiling, rest, exponent), independent(1e-5), draws=50)
    assert law.ceiling.value == pytest.approx(ceiling, abs=0.01)
    assert law.exponent.value == pytest.approx(exponent, rel=0.05)
    assert law.is_told
    doubled = ceiling - rest * 2**-exponent
    assert law.doubling.value == pytest.approx(doubled - (ceiling - rest), abs=1e-3)
    assert law.predict(64000) == pytest.approx(doubled, abs=1e-3)
    assert law.doubling.low <= law.doubling.value <= law.doubling.high


def test_a_flat_curve_at_chance_cannot_be_told() -> None:
    noise = np.random.default_rng(1).normal(0, 0.007, 5)
    for accuracies in ([0.25] * 5, list(0.25 + noise)):
        law = fit_power_law(SIZES, accuracies, independent(0.007))
        assert not law.is_told
        assert law.doubling.low < 0 < law.doubling.high
        assert abs(law.doubling.value) < 0.005
        assert law.misfit_p > 0.01


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_all_wrong_and_all_right_stay_possible(level: float) -> None:
    outcomes = [np.full((1, 50), level) for _ in SIZES]
    noise = CurveNoise.estimate(outcomes)
    assert noise.seed_deviation is None
    law = fit_power_law(SIZES, [level] * 5, noise)
    assert not law.is_told
    assert 0 <= law.ceiling.low <= law.ceiling.high <= 1


def test_a_steep_fall_is_told_as_one() -> None:
    law = fit_power_law(SIZES, [0.5, 0.45, 0.4, 0.35, 0.3], independent(0.007))
    assert law.is_told
    assert law.doubling.high < 0
    assert law.ceiling.low >= 0


def test_points_off_any_curve_are_a_misfit() -> None:
    law = fit_power_law(SIZES, [0.3, 0.4, 0.3, 0.4, 0.3], independent(0.007))
    assert law.misfit_p < 1e-4


def test_the_same_numbers_give_the_same_interval() -> None:
    found = [fit_power_law(SIZES, curve(0.4, 0.06, 0.3), independent(0.01)) for _ in range(2)]
    assert found[0] == found[1]


def test_three_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="3 sizes") as caught:
        fit_power_law(SIZES[:3], [0.2, 0.3, 0.4], independent(0.01, 3))
    assert "4 or more" in str(caught.value)


def test_questions_that_are_shared_and_seeds_that_differ_make_the_covariance() -> None:
    lots = np.random.default_rng(0)
    n, seeds, spread = 4000, 40, 0.03
    hard = lots.uniform(0.1, 0.6, n)  # the same questions are hard at every size

    def answers(count: int) -> np.ndarray:
        shift = lots.normal(0, spread, (count, 1))
        return np.asarray(lots.uniform(size=(count, n)) < hard + shift, dtype=float)

    outcomes = [answers(seeds), answers(seeds), answers(1)]
    noise = CurveNoise.estimate(outcomes)
    covariance = noise.covariance
    assert noise.freedom == 2 * (seeds - 1)
    single = (hard * (1 - hard)).mean() / n
    assert noise.seed_deviation is not None
    assert noise.seed_deviation == pytest.approx((spread**2 + single) ** 0.5, rel=0.25)
    assert covariance[0, 1] == pytest.approx(hard.var() / n, rel=0.1)
    for place, count in enumerate((seeds, seeds, 1)):
        expected = hard.var() / n + noise.seed_deviation**2 / count
        assert covariance[place, place] == pytest.approx(expected, rel=0.1)
    drawn = np.cov(noise.draw(20000).T)
    assert np.diag(drawn) == pytest.approx(np.diag(covariance), rel=0.1)
    assert CurveNoise.estimate([outcomes[0][:1], outcomes[1][:1]]).seed_deviation is None


def test_single_answers_that_differ_between_seeds_are_counted_once() -> None:
    lots = np.random.default_rng(3)
    outcomes = [np.asarray(lots.uniform(size=(3, 4000)) < 0.3, dtype=float) for _ in range(40)]
    found = np.diag(CurveNoise.estimate(outcomes).covariance)
    assert found.mean() == pytest.approx(0.3 * 0.7 / (3 * 4000), rel=0.2)

import numpy as np
import pytest
from scipy.stats import binomtest

from upscale.errors import UserError
from upscale.web.abx import BlindTest, excerpts, p_value


@pytest.mark.parametrize(("correct", "trials"), [(0, 0), (0, 5), (5, 5), (7, 10), (12, 16), (60, 100)])
def test_p_value_is_the_one_sided_binomial_test(correct: int, trials: int) -> None:
    expected = binomtest(correct, trials, 0.5, alternative="greater").pvalue if trials else 1.0
    assert p_value(correct, trials) == pytest.approx(expected, rel=1e-12)


def test_a_blind_test_counts_every_answer_once() -> None:
    session = BlindTest()
    trial, x_is = session.start()
    outcome = session.answer(trial, x_is)
    assert outcome == {"correct": True, "x_was": x_is, "num_trials": 1, "num_correct": 1, "p_value": 0.5}
    with pytest.raises(UserError, match="over"):
        session.answer(trial, x_is)
    trial, x_is = session.start()
    wrong = "B" if x_is == "A" else "A"
    assert session.answer(trial, wrong)["correct"] is False
    assert session.tally() == {"num_trials": 2, "num_correct": 1, "p_value": 0.75}


def test_a_trial_without_an_answer_does_not_count() -> None:
    session = BlindTest()
    first, _ = session.start()
    second, x_is = session.start()
    with pytest.raises(UserError, match="over"):
        session.answer(first, "A")
    assert session.answer(second, x_is)["num_trials"] == 1


def test_only_a_and_b_are_answers() -> None:
    session = BlindTest()
    trial, _ = session.start()
    with pytest.raises(UserError, match="A or B"):
        session.answer(trial, "X")
    assert session.tally()["num_trials"] == 0


def test_x_is_a_or_b_with_equal_probability() -> None:
    session = BlindTest()
    num_a = sum(session.start()[1] == "A" for _ in range(2000))
    assert binomtest(num_a, 2000, 0.5).pvalue > 1e-6


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_both_sides_are_equally_loud_and_never_louder_than_they_were(factor: float) -> None:
    before = np.random.default_rng(0).standard_normal((2, 44_100)).astype(np.float32) * 0.1
    a, b, louder_db = excerpts(before, before * factor, 44_100)
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.abs(a).max() <= np.abs(before).max() * min(1.0, factor) + 1e-6
    assert louder_db == pytest.approx(20 * np.log10(factor), abs=1e-4)
    middle = slice(1000, -1000)
    np.testing.assert_allclose(a[:, middle], before[:, middle] * min(1.0, factor), rtol=1e-5)
    assert np.abs(a[:, [0, -1]]).max() < 0.001, "both ends fade"


def test_silence_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="silent"):
        excerpts(np.zeros((2, 1000), np.float32), np.ones((2, 1000), np.float32), 44_100)

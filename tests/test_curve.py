"""Learning curves: laws that are recovered, subsets that nest, advice worked out by hand, and a stop in the middle."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.stats import binomtest, ttest_rel

import saccade
from saccade.data.source import Source, Split
from saccade.errors import UsageError
from saccade.metrics.paired import difference
from saccade.metrics.power_law import PowerLaw, deviations_of, fit_power_law
from saccade.progress import Progress, silent
from saccade.recipes import curve_runs
from saccade.recipes import fit as fit_module
from saccade.recipes.curve import Curve, curve
from saccade.recipes.curve import _laws as lines_of
from saccade.recipes.curve import tested as verdicts_of
from saccade.recipes.curve_advice import LIKELY, advise, crossings, recommend, verdicts
from saccade.recipes.curve_page import _told
from saccade.recipes.curve_runs import Size, Trained, read_runs, sizes_of, subset
from saccade.report.curve_plots import Line, learning_curves
from saccade.training.display import Display

SIZES = np.array([1.0, 2, 5, 10, 20, 50])

# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "c"), [(3.0, 60.0, 0.4), (0.0, 80.0, 0.7), (10.0, 50.0, 1.3), (2.0, 30.0, 0.5), (0.5, 90.0, 0.08)]
)
def test_a_law_without_noise_is_recovered(a: float, b: float, c: float) -> None:
    law = fit_power_law(SIZES, a + b * SIZES**-c, np.full(6, 0.01))
    assert law.free
    assert (law.a, law.b, law.c) == pytest.approx((a, b, c), abs=1e-4)
    error, low, high = law.at(400)
    assert low <= error <= high
    assert error == pytest.approx(a + b * 400**-c, abs=1e-4)
    assert law.drop(50, 100)[0] == pytest.approx(b * (50**-c - 100**-c), abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_that_of_a_general_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    deviations = rng.uniform(0.3, 1.0, 6)
    errors = 4 + 60 * SIZES**-0.6 + rng.normal(size=6) * deviations
    law = fit_power_law(SIZES, errors, deviations)
    solved = least_squares(
        lambda p: (p[0] + p[1] * SIZES ** -p[2] - errors) / deviations,
        (1, 50, 0.5),
        bounds=((0, 0, 0.05), (100, 200, 2)),
        xtol=1e-14,
        ftol=1e-14,
    )
    assert (law.a, law.b, law.c) == pytest.approx(tuple(solved.x), abs=2e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held, rounds = {50: 0, 100: 0, 200: 0}, 120
    for number in range(rounds):
        a, b, c = rng.uniform(0, 10), rng.uniform(30, 80), rng.uniform(0.3, 0.9)
        errors = a + b * SIZES**-c + rng.normal(size=6)
        law = fit_power_law(SIZES, errors, np.ones(6), seed=number)
        for size in held:
            _, low, high = law.at(size)
            held[size] += low <= a + b * size**-c <= high
    assert all(0.8 <= count / rounds <= 0.99 for count in held.values()), held


def test_few_sizes_take_c_as_one_half() -> None:
    law = fit_power_law(SIZES[:3], 5 + 40 * SIZES[:3] ** -0.5, np.ones(3))
    assert (law.a, law.b, law.c, law.free) == (pytest.approx(5), pytest.approx(40), 0.5, False)
    # By hand: 30 = a + b, 20 = a + b / 2.
    law = fit_power_law(np.array([1.0, 4.0]), np.array([30.0, 20.0]), np.ones(2))
    assert (law.a, law.b) == (pytest.approx(10), pytest.approx(20))
    # Steeper than that: a would be -4 and b 44, but with a = 0 it is (40 + 18 / 2 + 7 / 4) / (1 + 1 / 4 + 1 / 16).
    law = fit_power_law(np.array([1.0, 4.0, 16.0]), np.array([40.0, 18.0, 7.0]), np.ones(3))
    assert (law.a, law.b) == (0, pytest.approx(50.75 / 1.3125))


def test_points_that_determine_nothing_are_no_trouble() -> None:
    for errors, level in (([5] * 6, 5), ([0] * 6, 0), ([100] * 6, 100), ([10, 20, 30, 40, 50, 60], 35)):
        law = fit_power_law(SIZES, np.array(errors, dtype=float), np.ones(6))
        assert (law.a, law.b, law.c, law.free) == (pytest.approx(level), 0, 0.5, False)
        assert all(0 <= value <= 100 for value in law.at(500))
        assert law.drop(50, 100)[0] == 0
    # Rising errors are further from any law than the deviations say: nothing is known for certain.
    error, _, high = law.at(50)
    assert high - error > 5
    with pytest.raises(ValueError, match="two different sizes above 0"):
        fit_power_law(np.array([5.0, 5.0]), np.array([20.0, 22.0]), np.ones(2))
    with pytest.raises(ValueError, match="must be"):
        fit_power_law(SIZES, np.ones(5), np.ones(6))
    with pytest.raises(ValueError, match="above 0"):
        fit_power_law(SIZES, np.ones(6), np.zeros(6))


def test_deviations_by_hand() -> None:
    # One repeat: what 98 images can tell of a share; (50 + 1) / (98 + 2) with 50 wrong.
    single = deviations_of(SIZES[:1], [np.array([100 * 50 / 98])], 98)
    assert single == pytest.approx([100 * np.sqrt(0.51 * 0.49 / 98)])
    # Two repeats each: variances 2 at n = 1 and 8 at n = 2, so the one that falls with 1/n is (2 + 8/2) / (1 + 1/4).
    both = deviations_of(np.array([1.0, 2.0]), [np.array([49.0, 51.0]), np.array([48.0, 52.0])], 10**9)
    slope = 6 / 1.25
    expected = [np.sqrt((4 * slope + 2) / 5 / 2), np.sqrt((4 * slope / 2 + 8) / 5 / 2)]
    assert both == pytest.approx(expected, abs=1e-3)


# --- two ways side by side --------------------------------------------------------------------------------------------


def test_the_paired_difference_is_students_where_there_are_many_images() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((1, 20_000)) < 0.3, rng.random((1, 20_000)) < 0.29
    theirs = ttest_rel(100.0 * one[0], 100.0 * other[0])
    ours = difference(one, other)
    interval = theirs.confidence_interval(0.9)
    assert (ours.low, ours.high) == (pytest.approx(interval.low, abs=1e-3), pytest.approx(interval.high, abs=1e-3))
    assert ours.sure == pytest.approx(1 - theirs.pvalue / 2, abs=1e-3)


@pytest.mark.parametrize("images", [20, 100, 1000])
def test_few_disagreements_prove_no_more_than_an_exact_test_allows(images: int) -> None:
    """McNemar's: of the images on which one of two is wrong, half are expected on either side."""
    for more in range(1, 10):
        for fewer in range(more + 1):
            one, other = np.arange(images) < more, (np.arange(images) >= more) & (np.arange(images) < more + fewer)
            clear = difference(one[None], other[None]).low > 0
            exact = binomtest(more, more + fewer, 0.5, alternative="greater").pvalue
            assert not (clear and exact > 0.13), (more, fewer, exact)
            assert clear or exact > 0.01, (more, fewer, exact)


def test_equal_ways_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(0)
    clear, rounds = 0, 400
    for _ in range(rounds):
        hard, luck = rng.random(150), rng.normal(0, 0.05, (3, 1, 2))
        wrong = rng.random((3, 150, 2)) < (0.5 * hard[None, :, None] + 0.1 + luck)
        clear += difference(wrong[..., 0], wrong[..., 1]).clear
    assert 0.02 <= clear / rounds <= 0.15


def test_a_difference_of_nothing() -> None:
    wrong = np.zeros((3, 10), dtype=bool)
    nothing = difference(wrong, wrong)
    assert (nothing.points, nothing.sure, nothing.clear) == (0, 0.5, False)
    everything = difference(~wrong, wrong)
    assert everything.points == 100
    assert everything.low > 50
    with pytest.raises(ValueError, match="of one shape"):
        difference(wrong, wrong[:2])


# --- sizes and subsets ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=4, max_size=60), st.integers(0, 3), st.integers(0, 2))
@settings(deadline=None, max_examples=60)
def test_subsets_are_nested_balanced_and_keyed(labels: list[int], seed: int, repeat: int) -> None:
    own = np.array(labels)
    counts = np.bincount(own, minlength=4)
    smaller = np.zeros(0, dtype=np.int64)
    for at_most in (1, 2, 5, 10, int(counts.max())):
        places = subset(own, at_most, seed, repeat)
        assert np.array_equal(places, subset(own, at_most, seed, repeat))
        assert (np.diff(places) > 0).all()
        assert set(smaller) <= set(places)
        assert np.array_equal(np.bincount(own[places], minlength=4), np.minimum(counts, at_most))
        smaller = places
    assert len(smaller) == len(own)


def test_other_repeats_and_seeds_take_other_images() -> None:
    labels = np.repeat([0, 1], 100)
    drawn = [tuple(subset(labels, 20, seed, repeat)) for seed in (0, 1) for repeat in (0, 1, 2)]
    assert len(set(drawn)) == 6


def test_sizes_by_hand() -> None:
    labels = np.repeat([0, 1], [30, 10])

    def named(wanted: list[int | str] | None) -> list[tuple[str, float]]:
        return [(size.name, size.per_class) for size in sizes_of(labels, 2, wanted)]

    # At 20 there would be 30 of 40 images, at 50 no more than all.
    assert named(None) == [("1", 1), ("2", 2), ("5", 5), ("10", 10), ("20", 15), ("all", 20)]
    assert named(["2", "20"]) == [("2", 2), ("20", 15)]
    assert named([30]) == [("30", 20)]
    for wanted, reason in (
        ([], "needs sizes"),
        ([5, 2], "must rise, each once, got 5, 2"),
        ([2, 2], "must rise"),
        (["all", 5], "must rise"),
        ([30, "all"], "must rise"),
        ([0, 5], "from 1.*got '0'"),
        (["five"], "got 'five'"),
        ([5, 31], "no class has 31 images to train on, the largest has 30"),
    ):
        with pytest.raises(UsageError, match=reason):
            sizes_of(labels, 2, wanted)


# --- the advice -------------------------------------------------------------------------------------------------------


def law_of(a: float, b: float, c: float, spread: float = 0.0) -> PowerLaw:
    rng = np.random.default_rng(int(100 * b))
    draws = np.array([a, b, c]) + rng.normal(size=(300, 3)) * [0, spread * b, 0]
    return PowerLaw(a, b, c, True, 1.0, draws)


def test_crossings_by_hand() -> None:
    # 10 + 40 x = 60 x where x = n^-1/2 is 1/2.
    laws = {"one": law_of(10, 40, 0.5, 0.02), "other": law_of(0, 60, 0.5, 0.02)}
    for names in (("one", "other"), ("other", "one")):
        (crossing,) = crossings(laws, *names, 1, 500)
        assert (crossing.below, crossing.above) == ("one", "other")
        assert crossing.size == pytest.approx(4, rel=1e-6)
        assert 3 < crossing.low < 4 < crossing.high < 5.5
        assert crossing.share == 1
    assert crossings(laws, "one", "other", 5, 500) == []
    assert crossings({"one": law_of(1, 40, 0.5), "other": law_of(2, 40, 0.5)}, "one", "other", 1, 500) == []
    assert crossings({"one": law_of(1, 40, 0.5), "other": law_of(1, 40, 0.5)}, "one", "other", 1, 500) == []
    # 20 - x (25 - 6 x) is 0 at x = ... never; 4 - x (20 - 24 x) = 0 at x = 1/2 and 1/3, so at n = 4 and 9.
    laws = {"one": law_of(4, 24, 1.0), "other": law_of(0, 20, 0.5)}
    found = crossings(laws, "one", "other", 2, 500)
    assert [crossing.size for crossing in found] == pytest.approx([4, 9], rel=1e-6)
    assert [crossing.below for crossing in found] == ["other", "one"]


def wrongs(*counts: int, images: int = 200) -> dict[int, np.ndarray]:
    """Repeats that are wrong about so many images, the same ones as far as they go."""
    return {repeat: np.arange(images) < count for repeat, count in enumerate(counts)}


STEPS = (Size("10", 10, 10.0), Size("all", 50, 50.0))


def test_advice_by_hand() -> None:
    measured = {
        ("scratch", "10"): wrongs(100, 104),
        ("probe", "10"): wrongs(40, 44),
        ("scratch", "all"): wrongs(16, 16),
        ("probe", "all"): wrongs(36, 36),
    }
    laws = {"scratch": law_of(0, 160, 0.75), "probe": law_of(15, 20, 0.5)}
    advice = advise(measured, laws, ("scratch", "probe"), STEPS)
    assert advice.recommended == {"10": "probe", "all": "scratch"}
    assert advice.best == "scratch"
    assert advice.rivals["probe"].points == pytest.approx(10)
    assert advice.doubling == pytest.approx((160 * (50**-0.75 - 100**-0.75),) * 3)
    (crossing,) = advice.crossings
    assert 160 * crossing.size**-0.75 == pytest.approx(15 + 20 * crossing.size**-0.5)
    words = "\n".join(advice.words)
    assert "At 50 images a class, all there are, scratch has the lowest error: 8.00 %, 8.00 to 8.00 in 2" in words
    # 20 images of 200 differ: 1.653 sqrt((20 * 90^2 + 180 * 10^2 + 100^2) / (200 * 201)) = 3.59.
    assert "probe is 10.00 points behind (6.41 to 13.59, 99.9 % sure)" in words
    assert "The lowest error is that of probe at 10; scratch at all." in words
    assert "with fewer probe is better, with more scratch" in words
    assert "Twice the labels, 100 a class, would bring scratch from 8.51 % to 5.06 % by its line: 3.45 points" in words


def test_lines_that_hardly_ever_cross_are_not_said_to() -> None:
    measured = {(way, size): wrongs(20, 24) for way in ("scratch", "probe") for size in ("10", "all")}
    rng = np.random.default_rng(0)
    draws = np.array([10, 20, 0.5]) + rng.normal(size=(300, 3)) * [4, 0, 0]
    wide = PowerLaw(10.0, 20.0, 0.5, True, 1.0, draws)
    laws = {"scratch": wide, "probe": law_of(0, 70, 0.5)}
    (crossing,) = crossings(laws, "scratch", "probe", 5, 500)
    advice = advise(measured, laws, ("scratch", "probe"), STEPS)
    assert (crossing.share >= LIKELY) == bool(advice.crossings)
    narrow = {"scratch": PowerLaw(10.0, 20.0, 0.5, True, 1.0, np.add(draws, [8, 0, 0])), "probe": law_of(0, 70, 0.5)}
    assert advise(measured, narrow, ("scratch", "probe"), STEPS).crossings == []


def test_a_line_beside_its_points_is_no_forecast() -> None:
    measured = {("scratch", "10"): wrongs(60, 60), ("scratch", "all"): wrongs(6, 6)}
    advice = advise(measured, {"scratch": law_of(0, 60, 0.5)}, ("scratch",), STEPS)
    assert "cannot be said: its line is at 8.49 % where 3.00 % was measured" in advice.words[-2]


def test_differences_stay_between_minus_and_plus_a_hundred() -> None:
    found = difference(np.array([[True, True], [False, False]]), np.array([[False, False], [False, True]]))
    assert -100 <= found.low <= found.points <= found.high <= 100


def test_what_is_not_known_of_one_way_has_nothing_to_do_with_another() -> None:
    runs = [Trained(way, n, 0, {"val": np.arange(200) < k}) for way in "ab" for n, k in (("1", 100), ("2", 70))]
    laws = lines_of(runs, "ab", (Size("1", 1, 1.0), Size("2", 2, 2.0)), 90)
    assert laws["a"].b == laws["b"].b
    assert np.corrcoef(laws["a"].draws[:, 1], laws["b"].draws[:, 1])[0, 1] < 0.2
    # Where hardly more than guessing was learnt there is no law yet.
    assert lines_of(runs, "ab", (Size("1", 1, 1.0), Size("2", 2, 2.0)), 50) == {}


def test_ways_that_cannot_be_told_apart_are_called_so() -> None:
    rng = np.random.default_rng(0)
    measured = {(way, "all"): {r: rng.random(200) < 0.1 for r in range(3)} for way in ("scratch", "probe")}
    advice = advise(measured, {}, ("scratch", "probe"), STEPS)
    (other,) = {"scratch", "probe"} - {advice.best}
    assert f"{other} cannot be told apart from it" in advice.words[0]
    assert advice.doubling is None
    assert "cannot be said" in advice.words[-2]
    # Where errors are equal, the way that was named first.
    assert recommend({("b", "1"): wrongs(5), ("a", "1"): wrongs(5)}, ("a", "b"), "1") == "a"
    assert recommend({}, ("a", "b"), "1") is None


def test_a_verdict_needs_proof_that_another_way_is_better() -> None:
    ways, steps = ("scratch", "probe"), STEPS[1:]
    choosing = {("scratch", "all"): wrongs(10, 12), ("probe", "all"): wrongs(20, 22)}
    for behind, right in (((10, 10), True), ((24, 26), True), ((80, 82), False)):
        testing = {("scratch", "all"): wrongs(*behind), ("probe", "all"): wrongs(22, 24)}
        (verdict,) = verdicts(choosing, testing, ways, steps)
        assert (verdict.chosen, verdict.rival, verdict.right) == ("scratch", "probe", right)
        assert verdict.errors["scratch"] == np.mean(behind) / 2
        assert verdict.answer == {10: "yes", 24: "cannot tell", 80: "no"}[behind[0]]


# --- the whole road ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def without_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of each training is drawn only to be thrown away; here it is not drawn."""
    monkeypatch.setattr(fit_module, "write_fit_report", lambda *_: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def few() -> Source:
    """200 of the digits: 20 of each."""
    digits = saccade.read("digits")
    whole = digits.splits["all"]
    assert whole.labels is not None
    places = np.concatenate([np.flatnonzero(whole.labels == k)[:20] for k in range(10)])
    return digits.with_splits({"all": whole.take(places)})


def small(source: Source, out: Path, **changed: object) -> Curve:
    arguments: dict = {"model": "lenet", "adapt": ("scratch",), "sizes": (1, 2, 5), "repeats": 2, "epochs": 2}
    return curve(source, out=out, **(arguments | {"workers": 0} | changed))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of what was trained, one by one."""
    seen: list[str] = []
    real = curve_runs.fit

    def counting(*arguments: object, out: Path, **options: object) -> object:
        seen.append(out.name)
        return real(*arguments, out=out, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(curve_runs, "fit", counting)
    return seen


def test_an_interrupted_curve_ends_as_one_that_was_not(
    tmp_path: Path, few: Source, trainings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small(few, tmp_path / "whole")
    assert [(run.size, run.repeat) for run in whole.runs] == [(s, r) for s in ("1", "2", "5") for r in (0, 1)]
    assert (len(trainings), whole.found) == (6, 0)
    assert trainings[0].startswith("scratch-1-0-")
    assert not (tmp_path / "whole" / "runs").exists()

    epochs, begin = [], Display.begin_epoch

    def stopping(self: Display, *arguments: int) -> None:
        epochs.append(arguments)
        if len(epochs) == 8:  # the second epoch of the fourth training
            raise KeyboardInterrupt
        begin(self, *arguments)

    monkeypatch.setattr(Display, "begin_epoch", stopping)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        small(few, out)
    assert len(read_runs(out / "runs.jsonl")) == 3
    # A kill while a line was written leaves part of it.
    with (out / "runs.jsonl").open("ab") as file:
        file.write(b'{"key": "0123", "adapt": "scr')
    trainings.clear()
    resumed = small(few, out)
    assert (len(trainings), resumed.found) == (3, 3)
    assert len(epochs) == 8 + 1 + 4, "the fourth goes on with its second epoch"
    for name in ("runs.jsonl", "curve.json", "report.html"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    trainings.clear()
    before = (out / "curve.json").read_bytes()
    assert small(few, out).found == 6
    assert trainings == []
    assert (out / "curve.json").read_bytes() == before

    # Whatever the outcome depends on is in the key.
    short = {"sizes": (1, 2), "repeats": 1, "epochs": 1}
    assert small(few, out, **short).found == 0
    assert small(few, out, **short, workers=1).found == 2, "workers change nothing"
    assert small(few, out, **short, seed=1).found == 0
    labels = np.array(few.splits["all"].labels)
    labels[:2] = labels[[20, 21]]
    relabelled = few.with_splits({"all": Split(few.splits["all"].images, few.splits["all"].ids, labels)})
    assert small(relabelled, out, **short).found == 0
    assert small(few, out).found == 6, "and the old ones are still there"


def test_all_ways_learn_from_the_same_images_and_are_judged_on_the_same(
    tmp_path: Path, few: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saccade.fit(few, model="lenet", out=tmp_path / "start", epochs=1, workers=0, quiet=True)
    seen: dict[tuple[str, int], set] = {}
    judged: set = set()
    real = curve_runs.fit

    def watching(source: Source, *, adapt: str, seed: int, **options: object) -> object:
        train, val = source.splits["train"], source.splits["val"]
        assert not set(train.ids) & set(val.ids)
        seen.setdefault((str(len(train)), seed), set()).add(tuple(train.ids))
        judged.add(tuple(val.ids))
        if (adapt, len(train)) == ("finetune", 10):
            raise ValueError("Expected more than 1 value per channel")
        return real(source, adapt=adapt, seed=seed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(curve_runs, "fit", watching)
    made = small(
        few,
        tmp_path / "curve",
        weights=run.path / "model.safetensors",
        adapt=("scratch", "probe", "finetune"),
        sizes=(1, "all"),
        repeats=1,
    )
    assert all(len(images) == 1 for images in seen.values())
    assert len(judged) == 1
    assert len(seen) == 2
    assert [(f.adapt, f.size, f.repeat) for f in made.failed] == [("finetune", "1", 0)]
    assert "Expected more than 1 value per channel" in made.report.read_text()
    assert (
        set(made.laws)
        == {"scratch", "probe", "finetune"}
        - {way for way in made.ways if len({r.size for r in made.runs if r.adapt == way}) < 2}
        - {"scratch"}
        or "probe" in made.laws
    )
    written = json.loads((tmp_path / "curve" / "curve.json").read_text())
    assert written["tested"] == json.loads(
        json.dumps([vars(v) | {"behind": v.behind and vars(v.behind)} for v in verdicts_of(made)])
    )
    assert written["advice"]["recommended"].keys() == {"1", "all"}


def test_a_test_folder_is_what_the_advice_is_tried_on(tmp_path: Path, few: Source) -> None:
    whole = few.splits["all"]
    source = few.with_splits({"train": whole.take(range(0, 200, 2)), "test": whole.take(range(1, 200, 2))})
    made = small(source, tmp_path / "curve", sizes=(1, 2), repeats=1)
    assert {name: len(row) for name, row in made.runs[0].wrong.items()} == {"val": 20, "test": 100}
    (first, _) = verdicts_of(made)
    assert first.errors["scratch"] == made.runs[0].errors["test"]
    assert "is tried on the test images" in _told(made, verdicts_of(made))
    assert "Is the advice right?" not in made.report.read_text(), "with one way there is nothing to advise"


def test_what_is_asked_wrongly_is_said_before_anything_is_trained(
    tmp_path: Path, few: Source, trainings: list[str]
) -> None:
    one_class = Source("zeros", "built in", ("0",), {"all": few.splits["all"].take(range(20))})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    for changed, reason in (
        ({"adapt": ("scratch", "prob")}, "no way to adapt 'prob'; did you mean 'probe'"),
        ({"adapt": ()}, "expected ways to adapt"),
        ({"adapt": "scratch"}, "expected ways to adapt"),
        ({"adapt": ("scratch", "scratch")}, "each once"),
        ({"adapt": ("scratch", "probe")}, "probe needs weights to start from"),
        ({"weights": "imagenet"}, "scratch starts from random weights"),
        ({"adapt": ("probe",), "epochs": None, "weights": tmp_path / "no.pth"}, "There is no weights file"),
        ({"sizes": ()}, "needs sizes"),
        ({"sizes": (5, 1)}, "must rise"),
        ({"sizes": (1, 100)}, "no class has 100"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"hold_out": 0}, "needs images to validate on"),
        ({"epoch": 3}, "no setting 'epoch'; did you mean 'epochs'"),
        ({"layer": 0}, "layer is for adapt=probe only"),
        ({"model": "lenett"}, "did you mean 'lenet'"),
        ({"out": tmp_path / "full"}, "holds no learning curve"),
    ):
        with pytest.raises(UsageError, match=reason):
            small(few, **({"out": tmp_path / "curve"} | changed))  # type: ignore[arg-type]
    with pytest.raises(saccade.SaccadeError, match=r"only the class .*needs two"):
        small(one_class, tmp_path / "curve")
    assert trainings == []
    assert not (tmp_path / "curve").exists()


def test_settings_go_where_they_have_a_meaning() -> None:
    options = {"epochs": 3, "layer": 0, "warm_start": 1, "size": 32}
    assert {way: sorted(curve_runs.options_of(way, options)) for way in ("scratch", "probe", "finetune")} == {
        "scratch": ["epochs", "size"],
        "probe": ["layer", "size"],
        "finetune": ["epochs", "size", "warm_start"],
    }
    # A probe has no use for it without augmented views.
    varied = {"augmentation": "rand"}
    assert [list(curve_runs.options_of(way, varied)) for way in ("scratch", "probe")] == [["augmentation"], []]
    assert sorted(curve_runs.options_of("probe", varied | {"augmented": 2})) == ["augmentation", "augmented"]


def test_a_bar_inside_another_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with silent(), Progress("inner", 3) as inner:
        assert inner._bar is None
    with Progress("outer", 3) as outer:
        assert outer._bar is not None


def test_the_plot_draws_every_way_and_its_forecast() -> None:
    laws = [law_of(2, 60, 0.5, 0.05), None]
    lines = [
        Line(name, SIZES, [np.array([e, e + 4]) for e in 60 * SIZES**-0.5 + 5], law)
        for name, law in zip(("scratch", "probe"), laws, strict=True)
    ]
    svg = learning_curves(lines, 50)
    assert re.findall(r"<text[^>]*>(scratch|probe|today)", svg) == ["today", "scratch", "probe"]
    assert svg.count("stroke-dasharray: 6") + svg.count("stroke-dasharray: 5") >= 1
    assert svg == learning_curves(lines, 50)


def test_the_command(tmp_path: Path, few: Source, capsys: pytest.CaptureFixture[str]) -> None:
    import typer
    from typer.testing import CliRunner

    from saccade.cli.curve import curve as verb

    app = typer.Typer()
    app.command()(verb)
    arguments = ["digits", "--model", "lenet", "--out", str(tmp_path / "c"), "--sizes", "1,2", "--repeats", "1"]
    arguments += ["--epochs", "1", "--workers", "0", "--set", "hold_out=0.1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "images a class" in done.stdout
    assert f"report: {tmp_path / 'c' / 'report.html'}" in done.stdout
    again = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert again["done_before"] == 2
    assert [size["name"] for size in again["sizes"]] == ["1", "2"]

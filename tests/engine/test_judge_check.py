"""Judges of known defects are measured over real HTTP: their noise, their liking for an order, their labels."""

import json
import math
from pathlib import Path

import judge_world as judges
import planted_world as world
import pytest

from engine import judge_noise
from engine.errors import CoverageError, InputError
from engine.judge_check import doubts, noise_variance, prepare
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.storage import Storage
from udfs.endpoint import Endpoint
from udfs.scorers import build_mix


class World:
    """Runs checks of one judge over one target."""

    def __init__(self, spark, folder, target, judge, **options):
        self.spark, self.folder, self.target, self.judge = spark, folder, target, judge
        self.app, self.settings = judges.settings_of(folder, target, judge, **options)

    def prepared(self, run="run", **options):
        return prepare(self.app, self.settings, run_dir=str(self.folder / run), spark=self.spark, **options)

    def check(self, run="run", **options):
        return self.prepared(run, **options).run()


@pytest.fixture
def make(spark, tmp_path):
    servers = []

    def made(judge, *, target=judges.half_right, rows=20, **options):
        ends = ScriptedEndpoint(target).__enter__(), ScriptedEndpoint(judge).__enter__()
        servers.extend(ends)
        return World(spark, tmp_path, *ends, rows=rows, **options)

    yield made
    for server in servers:
        server.__exit__(None, None, None)


def label_file(folder, count=20):
    """Write the true labels of both kinds of answers."""
    lines = []
    for number, word in enumerate(world.words(count)):
        right = number % 2 == 0
        output = word.upper() if right else f"no {word}"
        lines.append({"inputs": {"word": word}, "output": output, "label": "same" if right else "different"})
    path = folder / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_a_perfect_judge_gets_no_warning(make, tmp_path):
    """It agrees with itself, with the other order and with the labels, and the run directory holds the finding."""
    w = make(judges.perfect)
    found = w.check(labels=label_file(tmp_path))
    (judge,) = found.judges
    assert judge.warnings == ()
    assert (judge.repeat.agreement.value, judge.repeat.noise_sd, found.noise_sd) == (1.0, 0.0, 0.0)
    assert (judge.order.agreement.value, judge.order.shift) == (1.0, 0.0)
    assert (judge.labels.agreement.value, judge.labels.agreement.of, judge.labels.kappa) == (1.0, 20, 1.0)
    assert found.not_judges == ("exact_match",)
    written = json.loads(Path(found.run_dir, "judge_check.json").read_text())
    assert written["warnings"] == []
    assert written["judges"][0]["labels"]["confusion"] == {"same": {"same": 10}, "different": {"different": 10}}
    assert written["judges"][0]["verdicts"] == {"same": 10, "different": 20}


def test_a_noisy_judge_is_measured_at_its_rate(make):
    """Flipping a fifth of its verdicts, a judge agrees with itself on 68 %, with a noise variance of 0.16."""
    rate, rows = 0.2, 400
    w = make(judges.noisy(rate), rows=rows, extra=f"judge_check: {{rows: {rows}}}")
    prepared = w.prepared()
    found = prepared.run()
    (judge,) = found.judges
    differ = 2 * rate * (1 - rate)
    four_sigma = 4 * math.sqrt(differ * (1 - differ) / rows)
    assert judge.repeat.agreement.of == rows
    assert abs(judge.repeat.agreement.value - (1 - differ)) < four_sigma
    assert abs(judge.repeat.noise_variance - rate * (1 - rate)) < four_sigma / 2
    assert judge.repeat.noise_sd == pytest.approx(math.sqrt(judge.repeat.noise_variance))
    # Half of the mix is the judge: its noise weighs half.
    assert found.noise_sd == pytest.approx(judge.repeat.noise_sd / 2)
    assert any("agrees with itself" in warning for warning in judge.warnings)
    assert not any("order counts" in warning for warning in judge.warnings), "noise is no liking for an order"
    assert {case.asked for case in judge.contradictions} <= {"again", "in the other order"}
    kept = noise_variance(prepared.storage, prepared.mix)
    assert kept == pytest.approx(found.noise_sd**2)


def test_a_judge_that_likes_an_order_is_found(make):
    """It agrees with itself always, and yet it is warned of, with the size of its liking."""
    w = make(judges.biased, rows=60)
    (judge,) = w.check().judges
    assert judge.repeat.agreement.value == 1.0
    # Of the 60 words a third is favoured, and half of that third was wrong.
    assert judge.order.shift == pytest.approx(10 / 60)
    assert judge.order.agreement.value == pytest.approx(50 / 60)
    assert judge.order.shift_p_value == pytest.approx(2 * 0.5**10)
    assert any("order counts" in warning and "higher by 0.17" in warning for warning in judge.warnings)


def test_a_judge_that_labels_contradict_is_warned_of(make, tmp_path):
    """Always saying the same, it agrees with itself and with half of the labels: its kappa is 0."""
    w = make(judges.lenient)
    (judge,) = w.check(labels=label_file(tmp_path)).judges
    assert judge.labels.agreement.value == 0.5
    assert judge.labels.kappa == pytest.approx(0.0)
    assert judge.labels.shift == 0.5
    assert any("more lenient" in warning for warning in judge.warnings)
    assert any("kappa" in warning for warning in judge.warnings)
    assert any("every verdict was 'same'" in note for note in judge.notes)


def test_labels_stand_in_expectations_too(make):
    """A row whose expectations hold an answer and its label brings both."""
    data = [
        {
            "inputs": {"word": word},
            "expectations": {
                "expected_response": word.upper(),
                "labelled_output": word.upper() if number < 5 else "x",
                "label": 1.0 if number < 5 else "different",
            },
        }
        for number, word in enumerate(world.words(10))
    ]
    w = make(judges.perfect)
    dataset = w.settings.dataset.model_copy(update={"data": data})
    w.settings = w.settings.model_copy(update={"dataset": dataset})
    (judge,) = w.check().judges
    assert (judge.labels.agreement.of, judge.labels.kappa) == (10, 1.0)


def test_what_was_paid_for_is_not_paid_again(make):
    """The dry run foresees the calls; the repeat is no answer of the ledger's; the same check again calls nothing."""
    w = make(judges.perfect, rows=30)
    estimate = w.prepared().estimate()
    assert [(part.name, part.calls_high) for part in estimate.parts] == [
        ("target small", 30),
        ("judge equivalence", 90),
    ]
    assert not w.target.calls
    found = w.check()
    assert (len(w.target.calls), len(w.judge.calls)) == (30, 90)
    assert found.calls["made"] == 120
    again = w.check()
    assert (len(w.target.calls), len(w.judge.calls)) == (30, 90)
    assert (again.calls["made"], again.calls["resumed"]) == (120, 30)
    other = w.check("elsewhere")
    assert (len(w.target.calls), len(w.judge.calls)) == (30, 90)
    assert (other.calls["made"], other.calls["reused"]) == (0, 120)


def test_an_interrupted_check_goes_on(make):
    """A judge that dies half way fails the check; with the judge back, only what is missing is called."""
    state = {"down": False}

    def dying(call):
        state["down"] = state["down"] or call.number == 50
        return Reply(status=401) if state["down"] else judges.perfect(call)

    w = make(dying, rows=30)
    with pytest.raises(Exception, match="same --run-dir"):
        w.check()
    answered = len(w.judge.answered)
    assert 0 < answered < 50
    w.judge._script = judges.perfect
    found = w.check()
    assert len(w.target.calls) == 30
    assert len(w.judge.answered) == 90 == found.calls["made"] - 30
    assert found.judges[0].repeat.agreement.of == 30


def test_an_outage_is_no_finding_about_the_judge(make):
    """Where too many answers fail for reasons of the target's, the check fails instead of measuring the rest."""
    w = make(judges.perfect, target=lambda call: Reply(status=400) if call.number % 2 else judges.half_right(call))
    with pytest.raises(CoverageError, match="the sample"):
        w.check()


def test_replies_that_are_no_verdicts_are_counted(make):
    """A judge that can't keep to its form is warned of; its answers are not taken for disagreement."""
    w = make(lambda call: "I think it is fine" if call.prompt.count("WORD") > 1 else judges.perfect(call), rows=20)
    (judge,) = w.check().judges
    assert (judge.answers, judge.no_verdict, judge.repeat.agreement.value) == (20, 10, 1.0)
    assert any("10 of 20 answers got no verdict" in warning for warning in judge.warnings)


def test_scorers_that_compute_are_told_as_no_judges(make):
    """Without a judge nothing is called, and the noise is none."""
    w = make(judges.perfect, scorers="[exact_match, token_f1]")
    prepared = w.prepared()
    found = prepared.run()
    assert (found.judges, found.not_judges, found.noise_sd) == ((), ("exact_match", "token_f1"), 0.0)
    assert not w.target.calls
    assert noise_variance(prepared.storage, prepared.mix) == 0.0


def test_a_judge_that_was_never_measured_has_no_noise_to_give(tmp_path):
    """Nothing is not zero."""
    judge = build_mix([{"judge": "equivalence"}], Endpoint("judge"))
    assert noise_variance(Storage(str(tmp_path), str(tmp_path)), judge) is None


def test_noise_kept_by_the_first_version_is_found(tmp_path):
    """The file of format 1 loads for ever; one of a later format, or a broken one, is as good as none."""
    judge = build_mix([{"judge": "equivalence"}], Endpoint("judge"))
    storage = Storage(str(tmp_path), str(tmp_path))
    judge_noise.keep(storage, judge[0].scorer, answers=3, self_agreement=1.0, noise_variance=0.0)
    (path,) = (tmp_path / "judges" / "v1").iterdir()
    first = (
        '{"format": 1, "endpoint_id": "e", "judge_id": "j", "answers": 200, "self_agreement": 0.9, '
        '"noise_variance": 0.05, "measured_at": 1795260000.0}'
    )
    path.write_text(first)
    assert noise_variance(storage, judge) == 0.05
    assert doubts(storage, judge, min_agreement=0.9) == ()
    assert "agrees with itself on 90% of 200" in doubts(storage, judge, min_agreement=0.95)[0]
    for other in (first.replace('"format": 1', '"format": 2'), "{", ""):
        path.write_text(other)
        assert noise_variance(storage, judge) is None
        assert "never measured" in doubts(storage, judge, min_agreement=0.9)[0]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"inputs": {"word": "word001"}, "output": "x", "label": "alike"}, "'alike'.*0 to 1.*different, partly, same"),
        ({"inputs": {"word": "word001"}, "output": "x", "label": "2"}, "'2'"),
        ({"inputs": {"word": "word001"}, "output": "x", "label": "same", "judge": "jury"}, "'jury'.*equivalence"),
        ({"inputs": {"word": "new"}, "output": "x", "label": "same"}, "expected_response"),
        ({"row_id": "nobody", "output": "x", "label": "same"}, "no row nobody"),
        ({"inputs": {"word": "word001"}, "label": "same"}, "no column output"),
    ],
)
def test_labels_that_can_not_be_used_are_told_before_the_first_call(make, tmp_path, line, told):
    """The message names the file, the record, the value and the mend."""
    w = make(judges.perfect)
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(line))
    with pytest.raises(InputError, match=rf"labels.jsonl.*{told}"):
        w.prepared(labels=str(path))
    assert not w.target.calls

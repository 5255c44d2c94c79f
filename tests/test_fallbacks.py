"""Endpoints to fall over to: their settings, and which of them the next leg is opened at."""

import copy
import dataclasses
import itertools
import os
import pickle
import re
import threading
from pathlib import Path

import deepgram_sagemaker
import pytest
from botocore.session import Session
from deepgram_sagemaker import Endpoint, SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker._native import reasons, whose
from deepgram_sagemaker.config import REGION_OF_BOTO3, DefaultRegion, each_endpoint, names_of
from deepgram_sagemaker.errors import ValidationError
from deepgram_sagemaker.fallover import Endpoints, EndRound, Later, Opening, State
from deepgram_sagemaker.services import Services

# The settings.


def config(*fallbacks, **fields):
    return SageMakerConfig("first", **{"region": "us-east-1", **fields}, fallbacks=list(fallbacks))


def only_fallback(endpoint, **fields):
    _, fallback = each_endpoint(config(endpoint, **fields))
    return fallback


def test_the_public_names():
    assert deepgram_sagemaker.Endpoint is Endpoint
    assert "Endpoint" in deepgram_sagemaker.__all__
    assert Endpoint("b", "us-west-2") == Endpoint(endpoint_name="b", region="us-west-2")
    assert hash(Endpoint("b")) == hash(Endpoint("b"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Endpoint("b").region = "us-west-2"


def test_without_fallbacks_there_is_one_endpoint():
    alone = SageMakerConfig("first")
    assert alone.fallbacks == ()
    assert each_endpoint(alone) == (alone,)


def test_a_list_is_kept_as_a_tuple():
    second, third = Endpoint("b", "us-west-2"), Endpoint("c", "eu-west-1")
    made = config(second, third)
    assert made.fallbacks == (second, third)
    assert hash(made) == hash(config(second, third))
    assert [(each.endpoint_name, each.region) for each in each_endpoint(made)] == [
        ("first", "us-east-1"),
        ("b", "us-west-2"),
        ("c", "eu-west-1"),
    ]
    assert all(each.fallbacks == () for each in each_endpoint(made))


def test_what_a_fallback_takes_from_the_config():
    keys = Session()
    given = {
        "ca_bundle": "/private.pem",
        "proxy": "http://proxy:3128",
        "use_fips_endpoint": True,
        "use_dualstack_endpoint": False,
        "boto3_session": keys,
        "max_retries": 9,
        "stall_timeout": 7.0,
    }
    fallback = only_fallback(Endpoint("b"), **given)
    assert fallback.region == "us-east-1"
    assert {name: getattr(fallback, name) for name in given} == given


def test_what_a_fallback_does_not_take_from_the_config():
    fallback = only_fallback(
        Endpoint("b"), endpoint_uri="https://vpce.example", target_variant="blue"
    )
    assert (fallback.endpoint_uri, fallback.target_variant) == (None, None)
    # Which of a region's hosts is meant says nothing where a host is given.
    fallback = only_fallback(
        Endpoint("b", endpoint_uri="https://vpce.example"),
        use_fips_endpoint=True,
        use_dualstack_endpoint=True,
    )
    assert (fallback.use_fips_endpoint, fallback.use_dualstack_endpoint) == (None, None)


def test_what_a_fallback_has_of_its_own():
    keys = Session()
    own = {
        "region": "us-west-2",
        "target_variant": "green",
        "endpoint_uri": "https://vpce.example",
        "ca_bundle": "/other.pem",
        "proxy": "",
        "boto3_session": keys,
    }
    fallback = only_fallback(
        Endpoint("b", **own), ca_bundle="/private.pem", proxy="http://proxy:3128"
    )
    assert {name: getattr(fallback, name) for name in own} == own


def test_the_default_region_stays_the_default():
    _, fallback = each_endpoint(SageMakerConfig("first", fallbacks=[Endpoint("b")]))
    assert isinstance(fallback.region, DefaultRegion)


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        (Endpoint("b", "Mars"), "region"),
        (Endpoint(""), "endpoint_name"),
        (Endpoint(7), "endpoint_name"),
        (Endpoint("b", target_variant="-"), "target_variant"),
        (Endpoint("b", endpoint_uri="http://x"), "endpoint_uri"),
        (Endpoint("b", ca_bundle=""), "ca_bundle"),
        (Endpoint("b", proxy="socks5://x"), "proxy"),
        (Endpoint("b", use_fips_endpoint="yes"), "use_fips_endpoint"),
        (
            Endpoint("b", endpoint_uri="https://x", use_dualstack_endpoint=True),
            "use_dualstack_endpoint",
        ),
        (Endpoint("b", boto3_session=Session), "boto3_session"),
    ],
)
def test_an_error_names_the_fallback_and_its_field(endpoint, field):
    with pytest.raises(ValidationError) as caught:
        config(Endpoint("good"), endpoint)
    assert caught.value.parameter == f"fallbacks[1].{field}"
    assert caught.value.message.startswith(f"fallbacks[1].{field}=")


@pytest.mark.parametrize("given", [None, "b", 7, {"b": 1}, Endpoint("b")])
def test_fallbacks_are_a_list(given):
    with pytest.raises(ValidationError, match="fallbacks must be a list of Endpoint") as caught:
        SageMakerConfig("first", fallbacks=given)
    assert caught.value.parameter == "fallbacks"


@pytest.mark.parametrize("given", ["b", None, SageMakerConfig("b")])
def test_a_fallback_is_an_endpoint(given):
    with pytest.raises(ValidationError, match="must be an Endpoint") as caught:
        config(given)
    assert caught.value.parameter == "fallbacks[0]"


def test_the_same_endpoint_twice_is_refused():
    with pytest.raises(ValidationError, match="another endpoint than the config itself"):
        config(Endpoint("first"))
    with pytest.raises(ValidationError, match=r"another endpoint than fallbacks\[0\]"):
        config(Endpoint("b"), Endpoint("b", "us-east-1"))
    config(
        Endpoint("first", "us-west-2"),
        Endpoint("first", target_variant="green"),
        Endpoint("first", endpoint_uri="https://vpce.example"),
        Endpoint("first", boto3_session=Session()),
    )


def test_no_repr_shows_a_password():
    endpoint = Endpoint("b", proxy="http://user:secret-word@proxy:1", boto3_session=Session())
    for shown in (repr(endpoint), repr(config(endpoint)), str(config(endpoint))):
        assert "secret-word" not in shown
        assert "botocore" not in shown
        assert "http://***@proxy:1" in shown


def test_a_config_with_fallbacks_is_copied_and_pickled():
    made = config(Endpoint("b", "us-west-2", proxy=""))
    assert copy.deepcopy(made) is made
    assert pickle.loads(pickle.dumps(made)) == made
    assert dataclasses.replace(made, max_retries=1).fallbacks == made.fallbacks


async def test_keys_from_one_source_are_looked_up_once():
    own = Session()
    made = config(Endpoint("b"), Endpoint("c", boto3_session=own), Endpoint("d", boto3_session=own))
    places = Services(made).places
    assert [place.keys for place in places] == [0, 0, 1, 1]
    assert places[0].credentials is places[1].credentials
    assert places[2].credentials is places[3].credentials
    assert places[0].credentials is not places[2].credentials


async def test_names_are_made_again_only_when_a_region_is_found(monkeypatch):
    made = []
    monkeypatch.setattr(
        "deepgram_sagemaker.services.names_of", lambda configs: made.append(1) or names_of(configs)
    )
    services = Services(config(Endpoint("b", REGION_OF_BOTO3)))
    assert [services.names for _ in range(3)] == [["first (us-east-1)", "b (auto)"]] * 3
    assert len(made) == 1
    client = services.places[1].client
    client.config = dataclasses.replace(client.config, region="eu-west-1")
    assert [services.names for _ in range(3)] == [["first (us-east-1)", "b (eu-west-1)"]] * 3
    assert len(made) == 2


def test_a_factory_and_its_routes_take_a_config_with_fallbacks():
    made = config(Endpoint("b"))
    assert SageMakerTransportFactory(config=made).config is made
    assert SageMakerTransportFactory(routes={"v1/listen": made}).routes["v1/listen"] is made


def test_each_endpoint_has_a_name_of_its_own():
    made = config(
        Endpoint("b", "us-west-2", target_variant="green"),
        Endpoint("first", endpoint_uri="https://vpce.example"),
    )
    assert names_of(each_endpoint(made)) == [
        "first (us-east-1)",
        "b/green (us-west-2)",
        "first (us-east-1) #3",
    ]


# Which endpoint is next.

UNTRIED = ["untried", "untried"]
AFTER_FIRST = ["failed", "untried"]
DOWN, FULL, BROKEN = "connect", "throttled", "reset"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def endpoints(clock):
    # The middle of every spread.
    return Endpoints(2, clock=clock, draw=lambda: 0.5)


def fail_first(endpoints, reason=DOWN):
    opening = endpoints.choose(UNTRIED)
    assert opening.endpoint == 0
    return endpoints.failed(opening, reason)


def in_state(state, endpoints, clock):
    """Bring the first endpoint into a state; return an opening there that it admitted."""
    opening = endpoints.choose(UNTRIED)
    if state is not State.WORKING:
        endpoints.failed(opening, DOWN)
    if state in (State.ON_TRIAL, State.RETURNING):
        clock.now += 5.0
        opening = endpoints.choose(UNTRIED)
    if state is State.RETURNING:
        endpoints.opened(opening)
        clock.now += 1.0
        opening = endpoints.choose(UNTRIED)
    if state is State.RESTING:
        opening = endpoints.choose(["untried", "failed"])
        endpoints.failed(endpoints.choose(["failed", "untried"]), DOWN)
        opening = endpoints.best(["untried", "failed"])
    assert (opening.endpoint, endpoints.state(0)) == (0, state)
    return opening


WORKING, RESTING, ON_TRIAL, RETURNING = State
EVENTS = {
    "opened": lambda endpoints, opening: endpoints.opened(opening),
    "failed": lambda endpoints, opening: endpoints.failed(opening, DOWN),
    "overloaded": lambda endpoints, opening: endpoints.failed(opening, FULL),
    "a leg's failure": lambda endpoints, opening: endpoints.failed(opening, BROKEN),
    "given up": lambda endpoints, opening: endpoints.given_up(opening),
}


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (WORKING, [WORKING, RESTING, RESTING, WORKING, WORKING]),
        (RESTING, [RETURNING, RESTING, RESTING, RESTING, RESTING]),
        (ON_TRIAL, [RETURNING, RESTING, RESTING, RESTING, RESTING]),
        (RETURNING, [RETURNING, RESTING, RESTING, RETURNING, RETURNING]),
    ],
)
def test_the_whole_table(state, after):
    for (name, happens), expected in zip(EVENTS.items(), after, strict=True):
        clock = Clock()
        endpoints = Endpoints(2, clock=clock, draw=lambda: 0.5)
        happens(endpoints, in_state(state, endpoints, clock))
        assert endpoints.state(0) is expected, f"{name} in {state}"


def test_the_first_one_that_works_is_preferred(endpoints):
    assert endpoints.choose(UNTRIED).endpoint == 0
    assert endpoints.choose(AFTER_FIRST).endpoint == 1
    assert endpoints.choose(["barred", "untried"]).endpoint == 1


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_what_counts_against_an_endpoint(endpoints, clock, reason):
    """Only its own failures: not one broken leg, nor what the application or the keys did."""
    rest = fail_first(endpoints, reason)
    expected = {"endpoint": 5.0, "load": 1.0}.get(whose()[reason])
    assert rest == expected
    assert endpoints.choose(UNTRIED).endpoint == (0 if expected is None else 1)


def test_the_documentation_has_the_rows_of_the_table():
    page = (Path(__file__).parent.parent / "docs" / "fallbacks.md").read_text()
    kinds = {
        "at the endpoint, or on the way to it": "endpoint",
        "at the endpoint, which is overloaded": "load",
        "in one stream": "leg",
        "in the keys": "keys",
        "in the application, or on its machine": "everywhere",
    }
    for row, kind in kinds.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {row} |")]
        names = re.findall(r"`(\w+)`", line)
        assert len(names) >= 4
        assert {whose()[name] for name in names} == {kind}, line


def test_an_endpoint_that_failed_is_left_alone_and_then_tried_by_one(endpoints, clock):
    assert fail_first(endpoints) == 5.0
    clock.now += 4.9
    assert endpoints.choose(UNTRIED).endpoint == 1
    clock.now += 0.1
    trial = endpoints.choose(UNTRIED)
    assert (trial.endpoint, trial.is_trial) == (0, True)
    assert [endpoints.choose(UNTRIED).endpoint for _ in range(3)] == [1, 1, 1]
    assert endpoints.state(0) is State.ON_TRIAL
    assert endpoints.opened(trial)
    assert endpoints.state(0) is State.RETURNING


def test_each_trial_that_fails_makes_the_rest_longer(endpoints, clock):
    rests = [fail_first(endpoints)]
    for _ in range(30):
        clock.now += rests[-1]
        trial = endpoints.choose(UNTRIED)
        assert trial.is_trial
        rests.append(endpoints.failed(trial, DOWN))
    assert rests[:6] == [5, 10, 20, 40, 60, 60]
    assert rests[-1] == 60


def test_load_is_borne_for_a_shorter_time(endpoints, clock):
    rests = [fail_first(endpoints, FULL)]
    for _ in range(6):
        clock.now += rests[-1]
        rests.append(endpoints.failed(endpoints.choose(UNTRIED), FULL))
    assert rests == [1, 2, 4, 8, 15, 15, 15]


def test_rests_are_spread(clock):
    def rest(draw):
        return fail_first(Endpoints(2, clock=clock, draw=lambda: draw))

    assert (rest(0.0), rest(0.5), rest(0.999)) == (3.75, 5.0, pytest.approx(6.25, abs=0.01))


def test_a_hundred_failures_at_once_are_one(endpoints, clock):
    openings = [endpoints.choose(UNTRIED) for _ in range(100)]
    clock.now += 1.0
    rests = [endpoints.failed(each, DOWN) for each in openings]
    assert rests == [5.0] + [None] * 99


def test_what_was_requested_before_a_failure_says_nothing_about_it(endpoints, clock):
    early = endpoints.choose(UNTRIED)
    clock.now += 1.0
    fail_first(endpoints)
    assert not endpoints.opened(early)
    assert endpoints.state(0) is State.RESTING


@pytest.mark.parametrize("reason", [BROKEN, "acquire_timeout", "bad_audio", "no_credentials", None])
def test_a_trial_without_an_outcome_is_followed_by_another(endpoints, clock, reason):
    fail_first(endpoints)
    clock.now += 5.0
    trial = endpoints.choose(UNTRIED)
    if reason is None:
        endpoints.given_up(trial)
    else:
        assert endpoints.failed(trial, reason) is None
    again = endpoints.choose(UNTRIED)
    assert (again.endpoint, again.is_trial) == (0, True)
    # The same again changes nothing for the one that follows.
    clock.now += 1.0
    endpoints.given_up(trial)
    assert endpoints.state(0) is State.ON_TRIAL


def test_a_trial_whose_loop_is_gone_lapses(endpoints, clock):
    fail_first(endpoints)
    clock.now += 5.0
    assert endpoints.choose(UNTRIED).is_trial
    clock.now += 179.0
    assert endpoints.choose(UNTRIED).endpoint == 1
    clock.now += 1.0
    assert endpoints.choose(UNTRIED).is_trial


def test_an_endpoint_that_rests_is_tried_when_all_others_have_failed(endpoints, clock):
    fail_first(endpoints)
    second = endpoints.choose(UNTRIED)
    endpoints.failed(second, DOWN)
    last = endpoints.choose(["untried", "failed"])
    assert (last.endpoint, last.is_trial) == (0, False)
    assert endpoints.failed(last, DOWN) is None, "its rest does not begin again"
    # Both rest: the one whose rest ends first is tried first.
    assert endpoints.choose(UNTRIED).endpoint == 0
    clock.now += 1.0
    opening = endpoints.choose(UNTRIED)
    assert endpoints.opened(opening)
    assert endpoints.state(0) is State.RETURNING


def test_a_leg_that_broke_at_an_endpoint_that_works_waits_there(endpoints):
    """The other one is known to be down: a delay is better than an attempt there."""
    endpoints.failed(endpoints.choose(AFTER_FIRST), DOWN)
    assert endpoints.choose(AFTER_FIRST) == EndRound()
    assert endpoints.best(AFTER_FIRST).endpoint == 1
    # One that would refuse this session again is no reason to wait.
    assert endpoints.choose(["barred", "untried"]).endpoint == 1


def returned(endpoints, clock):
    """Have the first endpoint fail and open a leg again."""
    fail_first(endpoints)
    clock.now += 5.0
    assert endpoints.opened(endpoints.choose(UNTRIED))


def test_an_endpoint_that_returns_takes_few_legs_at_first(endpoints, clock):
    returned(endpoints, clock)
    taken = []
    # A hundred sessions a second want a leg there.
    for _ in range(31):
        took = 0
        for _ in range(100):
            clock.now += 0.01
            took += endpoints.choose(UNTRIED).endpoint == 0
        taken.append(took)
    assert taken[0] <= 3
    assert all(after >= before - 1 for before, after in itertools.pairwise(taken))
    assert 55 <= sum(taken[:15]) <= 130
    assert taken[-1] == 100
    assert endpoints.state(0) is State.WORKING


def test_what_is_not_used_does_not_make_a_burst(endpoints, clock):
    returned(endpoints, clock)
    clock.now += 20.0
    took = sum(endpoints.choose(UNTRIED).endpoint == 0 for _ in range(500))
    assert 20 <= took <= 40


def test_a_standby_waits_for_the_endpoint_that_returns(endpoints, clock):
    fail_first(endpoints)
    # While it rests, no time is lost.
    assert endpoints.choose(UNTRIED, standby=True).endpoint == 1
    clock.now += 5.0
    trial = endpoints.choose(UNTRIED)
    assert endpoints.choose(UNTRIED, standby=True) == Later(0.5)
    endpoints.opened(trial)
    assert endpoints.choose(UNTRIED, standby=True) == Later(0.5)
    assert endpoints.choose(UNTRIED).endpoint == 1, "a session without a leg does not wait"
    clock.now += 0.5
    assert endpoints.choose(UNTRIED, standby=True).endpoint == 0


def test_an_endpoint_that_fails_while_it_returns_rests_longer(endpoints, clock):
    returned(endpoints, clock)
    clock.now += 1.0
    opening = endpoints.choose(UNTRIED)
    assert endpoints.failed(opening, DOWN) == 10.0
    # After a return in full it starts again.
    clock.now += 10.0
    endpoints.opened(endpoints.choose(UNTRIED))
    clock.now += 30.0
    assert endpoints.failed(endpoints.choose(UNTRIED), DOWN) == 5.0


def test_one_endpoint_has_no_state(clock):
    alone = Endpoints(1, clock=clock)
    for _ in range(10):
        opening = alone.choose(["untried"])
        assert alone.failed(opening, DOWN) is None
    assert alone.choose(["untried"]).endpoint == 0
    assert not alone.opened(opening)
    assert alone.state(0) is State.WORKING


def test_three_endpoints_keep_their_order(clock):
    three = Endpoints(3, clock=clock, draw=lambda: 0.5)
    marks = ["untried"] * 3
    three.failed(three.choose(marks), DOWN)
    clock.now += 1.0
    three.failed(three.choose(marks), FULL)
    assert three.choose(marks).endpoint == 2
    clock.now += 1.0
    assert three.choose(marks) == Opening(1, clock.now, trial=1)


def test_any_number_of_threads_choose_at_once(clock):
    endpoints = Endpoints(2, clock=clock)
    fail_first(endpoints)
    clock.now += 10.0
    chosen = []
    gate = threading.Barrier(8)

    def choose():
        gate.wait()
        chosen.extend(endpoints.choose(UNTRIED) for _ in range(50))

    threads = [threading.Thread(target=choose) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(opening.is_trial for opening in chosen) == 1
    assert sum(opening.endpoint == 0 for opening in chosen) == 1


def test_a_forked_child_does_not_wait_for_its_parents_threads(endpoints, monkeypatch):
    fail_first(endpoints)
    with endpoints._lock:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert endpoints.choose(UNTRIED).endpoint == 0

"""WebhookSender: what a real receiver on loopback gets, and what becomes of the rest."""

import base64
import hashlib
import hmac
import itertools
import json
import socket
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from ipaddress import ip_network

import pytest
from loopback_http import loopback_http

from memory import tier_of
from vstream.errors import SettingsError
from vstream.service.alert_spec import WebhookSpec
from vstream.service.owed_webhook import OwedWebhook
from vstream.service.stream_lines import StreamLines
from vstream.service.webhook import WebhookSender
from vstream.service.webhook_delivery import (
    RetryRule,
    WebhookDelivery,
    check_receiver,
    new_secret,
    shown_receiver,
    signed_headers,
    signing_key,
)

SECRET = new_secret()
FAST = RetryRule(max_tries=3, total_s=10, timeout_s=5, min_wait_s=0.01, max_wait_s=0.05)
OK = (204, {}, b"")


class Outcomes:
    """Collects outcomes and lets a test wait for them."""

    def __init__(self):
        self.all = []
        self._changed = threading.Condition()

    def __call__(self, outcome):
        with self._changed:
            self.all.append(outcome)
            self._changed.notify_all()

    def wait_for(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.all) >= count, 30)
            return self.all


def message(url, number=0):
    return WebhookDelivery.of(url, SECRET, "alert.fired", 1000.5, {"number": number})


def sender(outcomes, rule=FAST, **options):
    options = {"allow_private": True, "on_outcome": outcomes} | options
    return WebhookSender(rule=rule, **options)


def is_signed(request, secret=SECRET):
    """As the specification says it, written anew."""
    key = base64.b64decode(secret[len("whsec_") :])
    headers = request.headers
    signed = b".".join(
        [headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), request.body]
    )
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return headers["webhook-signature"].split(" ") == [f"v1,{wanted}"]


def test_the_signature_is_that_of_the_specification_s_example():
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_24_to_64_bytes():
    assert len(signing_key(new_secret())) == 32
    assert new_secret() != new_secret()
    for wrong in ("", "whsec_", "whsec_short", "password", "whsec_" + "A" * 100, "ünicode" * 8):
        with pytest.raises(SettingsError, match="webhook secret"):
            signing_key(wrong)


def test_a_receiver_gets_one_signed_message():
    outcomes = Outcomes()
    with loopback_http(lambda request: OK) as web, sender(outcomes) as webhooks:
        delivery = message(f"{web.url}/hook?x=1")
        webhooks.send(delivery)
        (outcome,) = outcomes.wait_for(1)
        assert (outcome.delivered, outcome.tries, outcome.status) == (True, 1, 204)
        assert webhooks.counts.delivered == 1
        assert len(webhooks._pending) == 0
    (request,) = web.requests
    assert (request.method, request.path) == ("POST", "/hook?x=1")
    assert request.headers["host"] == web.url.removeprefix("http://")
    assert request.headers["content-type"] == "application/json"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    assert request.headers["webhook-id"] == delivery.id
    assert is_signed(request)
    assert json.loads(request.body) == {
        "type": "alert.fired",
        "timestamp": "1970-01-01T00:16:40.500000Z",
        "data": {"number": 0},
    }


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again_under_the_same_id(status):
    answers = itertools.chain([(status, {}, b"")], itertools.repeat(OK))
    outcomes = Outcomes()
    with loopback_http(lambda request: next(answers)) as web, sender(outcomes) as webhooks:
        webhooks.send(message(web.url))
        (outcome,) = outcomes.wait_for(1)
        assert (outcome.delivered, outcome.tries) == (True, 2)
    first, second = web.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert is_signed(first)
    assert is_signed(second)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 410])
def test_what_will_not_pass_is_not_tried_again_and_no_redirection_is_followed(status):
    outcomes = Outcomes()
    with (
        loopback_http(lambda request: (status, {"Location": "/elsewhere"}, b"")) as web,
        sender(outcomes) as webhooks,
    ):
        webhooks.send(message(web.url))
        (outcome,) = outcomes.wait_for(1)
        assert (outcome.delivered, outcome.tries, outcome.status) == (False, 1, status)
        assert webhooks.counts.failed == 1
    assert len(web.requests) == 1


def test_it_gives_up_after_the_last_try():
    outcomes = Outcomes()
    with loopback_http(lambda request: (500, {}, b"")) as web, sender(outcomes) as webhooks:
        webhooks.send(message(web.url))
        (outcome,) = outcomes.wait_for(1)
        assert (outcome.delivered, outcome.tries, outcome.status) == (False, 3, 500)
    assert len(web.requests) == 3


def test_no_try_begins_after_the_time_is_over():
    rule = RetryRule(max_tries=100, total_s=0.2, timeout_s=5, min_wait_s=0.05, max_wait_s=0.05)
    outcomes = Outcomes()
    with loopback_http(lambda request: (500, {}, b"")) as web, sender(outcomes, rule) as webhooks:
        webhooks.send(message(web.url))
        (outcome,) = outcomes.wait_for(1)
    assert not outcome.delivered
    assert 1 <= outcome.tries <= 5


def test_a_receiver_that_is_away_is_tried_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        outcomes = Outcomes()
        with sender(outcomes) as webhooks:
            webhooks.send(message(f"http://127.0.0.1:{taken.getsockname()[1]}/"))
            (outcome,) = outcomes.wait_for(1)
    assert (outcome.delivered, outcome.tries, outcome.status) == (False, 3, None)


@pytest.mark.parametrize(("asked", "at_least_s"), [("1", 1.0), ("3600", 2.0), ("a date", 0.5)])
def test_the_receiver_says_when_to_try_again_within_limits(asked, at_least_s):
    rule = RetryRule(max_tries=2, total_s=60, timeout_s=5, min_wait_s=0.01, max_wait_s=2)
    times = []

    def answer(request):
        times.append(time.monotonic())
        after = formatdate(time.time() + 3, usegmt=True) if asked == "a date" else asked
        return OK if len(times) == 2 else (429, {"Retry-After": after}, b"")

    outcomes = Outcomes()
    with loopback_http(answer) as web, sender(outcomes, rule) as webhooks:
        webhooks.send(message(web.url))
        assert outcomes.wait_for(1)[0].delivered
    assert at_least_s <= times[1] - times[0] < 60


def test_a_receiver_that_hangs_holds_up_only_its_own():
    release = threading.Event()
    rule = RetryRule(max_tries=1, timeout_s=60)

    def hang(request):
        release.wait(60)
        return OK

    outcomes = Outcomes()
    with (
        loopback_http(hang) as slow,
        loopback_http(lambda request: OK) as quick,
        sender(outcomes, rule, parallel=2) as webhooks,
    ):
        for number in range(10):
            webhooks.send(message(slow.url, number))
        for number in range(10):
            webhooks.send(message(quick.url, number))
        assert all(outcome.delivered for outcome in outcomes.wait_for(10))
        assert len(quick.requests) == 10
        assert len(slow.requests) <= 1
        release.set()
        assert all(outcome.delivered for outcome in outcomes.wait_for(20))
        assert len(slow.requests) == 10


def test_one_that_never_answers_is_left_after_the_timeout():
    release = threading.Event()
    rule = RetryRule(max_tries=2, timeout_s=0.2, min_wait_s=0.01, max_wait_s=0.01)
    outcomes = Outcomes()

    def hang(request):
        release.wait(60)
        return OK

    with loopback_http(hang) as web, sender(outcomes, rule) as webhooks:
        webhooks.send(message(web.url))
        (outcome,) = outcomes.wait_for(1)
        release.set()
    assert (outcome.delivered, outcome.tries) == (False, 2)
    assert "0.2 s" in outcome.error


def test_an_endless_response_is_not_read_to_its_end():
    with socket.create_server(("127.0.0.1", 0)) as server:
        sent = []

        def pour():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
                try:
                    while True:
                        sent.append(connection.send(b"x" * 65536))
                except OSError:
                    return

        thread = threading.Thread(target=pour)
        thread.start()
        outcomes = Outcomes()
        with sender(outcomes) as webhooks:
            webhooks.send(message(f"http://127.0.0.1:{server.getsockname()[1]}/"))
            assert outcomes.wait_for(1)[0].delivered
        thread.join(20)
        assert not thread.is_alive()


def test_private_receivers_are_refused_before_anything_is_sent():
    outcomes = Outcomes()
    with (
        loopback_http(lambda request: OK) as web,
        sender(outcomes, allow_private=(ip_network("10.0.0.0/8"),)) as webhooks,
    ):
        webhooks.send(message(web.url))
        (outcome,) = outcomes.wait_for(1)
        assert (outcome.delivered, outcome.tries) == (False, 1)
        assert "private" in outcome.error
        assert not web.requests


def test_a_name_that_changes_between_check_and_connection_changes_nothing():
    """The name is looked up once per attempt, and the address that was checked is connected to."""
    looked_up = []

    def resolver(host, port):
        looked_up.append(host)
        return ("127.0.0.1",) if len(looked_up) == 1 else ("127.0.0.2",)

    allowed = (ip_network("127.0.0.1/32"),)
    outcomes = Outcomes()
    with (
        loopback_http(lambda request: OK) as web,
        sender(outcomes, allow_private=allowed, resolver=resolver) as webhooks,
    ):
        url = web.url.replace("127.0.0.1", "rebound.example")
        webhooks.send(message(url))
        assert outcomes.wait_for(1)[0].delivered  # no system resolver knows this name
        assert looked_up == ["rebound.example"]
        assert web.requests[0].headers["host"] == url.removeprefix("http://")
        webhooks.send(message(url))
        assert "private" in outcomes.wait_for(2)[1].error
        assert len(web.requests) == 1


def test_the_next_address_of_a_host_is_tried_when_one_is_away():
    outcomes = Outcomes()
    with (
        loopback_http(lambda request: OK) as web,
        sender(outcomes, resolver=lambda *_: ("127.0.0.2", "127.0.0.1")) as webhooks,
    ):
        webhooks.send(message(web.url.replace("127.0.0.1", "two.example")))
        assert (outcomes.wait_for(1)[0].delivered, outcomes.all[0].tries) == (True, 1)


def test_too_many_drop_the_oldest_that_waits_and_are_counted():
    begun, release = threading.Event(), threading.Event()

    def hold(request):
        begun.set()
        release.wait(60)
        return OK

    outcomes = Outcomes()
    with (
        loopback_http(hold) as web,
        sender(outcomes, max_pending=8, rule=RetryRule(timeout_s=60)) as webhooks,
    ):
        webhooks.send(message(web.url, 0))
        assert begun.wait(20)
        for number in range(1, 51):
            webhooks.send(message(web.url, number))
        assert len(webhooks._pending) == 8
        assert webhooks.counts.dropped == 43
        release.set()
        outcomes.wait_for(51)
        assert webhooks.counts.delivered == 8
    arrived = [json.loads(request.body)["data"]["number"] for request in web.requests]
    assert arrived == [0, *range(44, 51)]
    assert [outcome.error for outcome in outcomes.all if not outcome.delivered] == ["dropped"] * 43


def test_closing_delivers_what_waits():
    outcomes = Outcomes()
    with loopback_http(lambda request: OK) as web:
        webhooks = sender(outcomes)
        for number in range(20):
            webhooks.send(message(web.url, number))
        webhooks.close(grace_s=30)
        assert webhooks.counts.delivered == len(web.requests) == len(outcomes.all) == 20
        webhooks.send(message(web.url))
        webhooks.close()
        assert webhooks.counts.dropped == 1


def test_closing_ends_in_time_and_counts_what_it_leaves():
    release = threading.Event()

    def hang(request):
        release.wait(60)
        return OK

    outcomes = Outcomes()
    with loopback_http(hang) as web:
        webhooks = sender(outcomes, RetryRule(timeout_s=60))
        for number in range(5):
            webhooks.send(message(web.url, number))
        begun_at = time.monotonic()
        webhooks.close(grace_s=0.1)
        assert time.monotonic() - begun_at < 20
        release.set()
    assert webhooks.counts.dropped == len(outcomes.all) == 5


def test_a_callback_that_fails_harms_nothing():
    def fail(outcome):
        raise ValueError

    with loopback_http(lambda request: OK) as web:
        webhooks = WebhookSender(allow_private=True, on_outcome=fail)
        webhooks.send(message(web.url))
        webhooks.send(message(web.url))
        webhooks.close(grace_s=30)
        assert webhooks.counts.delivered == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://localhost/",
        "http://[::ffff:127.0.0.1]/",
        "http://0x7f.1/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "/hook",
        "",
        "http://exa mple.com/",
        "http://example.com:99999999/",
        "http://\x00/",
    ],
)
def test_a_receiver_that_cannot_be_is_refused_early(url):
    with pytest.raises(SettingsError, match="webhook URL"):
        check_receiver(url, SECRET, allow_private=False)


def test_a_receiver_that_can_be_is_accepted():
    check_receiver("http://127.0.0.1/hook", SECRET, allow_private=True)
    check_receiver("https://hooks.example/x", SECRET, False, lambda *_: ("8.8.8.8",))


def test_neither_secret_nor_path_is_shown():
    delivery = message("https://bob:hunter2@hooks.example/services/T0/s3cr3t")
    assert "hunter2" not in repr(delivery) + delivery.receiver
    assert "s3cr3t" not in repr(delivery) + delivery.receiver
    assert SECRET not in repr(delivery)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.com/services/T0/B0/hunter2", "https://hooks.example.com:443/***"),
        ("HTTP://[::1]:8080/hunter2?x=hunter2", "http://[::1]:8080/***"),
    ],
)
def test_whoever_knows_the_path_may_send_so_it_is_not_shown(url, shown):
    assert shown_receiver(url) == shown


def owed_of(delivery, stream_id="door", at_s=3.0):
    return OwedWebhook.of_delivery(delivery, "alert_1", stream_id, at_s)


@contextmanager
def keeping(folder, outcomes=lambda outcome: None, **options):
    """A sender that notes what it owes; killed where it is not closed."""
    webhooks = sender(outcomes, **options)
    webhooks.keep(StreamLines(tier_of(f"file://{folder}").lines("webhooks", 16), OwedWebhook.of))
    try:
        yield webhooks
    finally:
        webhooks.close(grace_s=0)


def noted(folder):
    path = folder / ".webhooks.jsonl"  # of which nothing is left where it is empty
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_what_is_owed_is_noted_before_the_first_try_without_its_secrets(tmp_path):
    found, outcomes = [], Outcomes()

    def answer(request):
        found.append(noted(tmp_path))
        return OK

    with loopback_http(answer) as web, keeping(tmp_path, outcomes) as webhooks:
        delivery = message(f"{web.url}/hook/of/us")
        webhooks.send(delivery, owed_of(delivery))
        outcomes.wait_for(1)
        webhooks._noting.submit(lambda: None).result()
        assert noted(tmp_path) == []
        assert webhooks.owed() == []
    [[line]] = found
    assert line["id"] == delivery.id
    assert "hook" not in str(line)
    assert SECRET not in str(line)


@pytest.mark.parametrize("status", [204, 400, 503])
def test_what_was_not_delivered_nor_given_up_is_owed_to_the_next_process(tmp_path, status):
    statuses = iter([status])
    outcomes, is_asked = Outcomes(), threading.Event()

    def answer(request):
        is_asked.set()
        return (next(statuses, 204), {}, b"")

    slow = RetryRule(max_tries=3, total_s=300, timeout_s=5, min_wait_s=60, max_wait_s=60)
    with loopback_http(answer) as web:
        delivery = message(f"{web.url}/hook")
        with keeping(tmp_path, outcomes, rule=slow) as webhooks:
            webhooks.send(delivery, owed_of(delivery))
            assert is_asked.wait(20)
            if status != 503:
                outcomes.wait_for(1)
        actions = [
            WebhookSpec(url=f"{web.url}/other", secret=SECRET),
            WebhookSpec(url=f"{web.url}/hook", secret=SECRET),
        ]
        with keeping(tmp_path, outcomes) as again:
            owed = again.owed()
            assert len(owed) == (status == 503)
            for one in owed:
                assert one.delivery(actions[:1]) is None, "that receiver is none of it any more"
                again.send(one.delivery(actions), one, is_noted=True)
                assert again.owed() == [], "it is being sent"
            outcomes.wait_for(1 + len(owed))
        assert noted(tmp_path) == []
    assert {request.headers["webhook-id"] for request in web.requests} == {delivery.id}
    assert len({request.body for request in web.requests}) == 1
    assert len(web.requests) == (2 if status == 503 else 1)
    assert is_signed(web.requests[-1])


def test_of_what_is_forgotten_nothing_is_owed(tmp_path):
    def about(at_s, stream_id="door"):
        data = {"sentence": "an owl", "from_s": at_s - 2}
        delivery = WebhookDelivery.of("http://127.0.0.1:1/", SECRET, "alert.fired", 1.0, data)
        return owed_of(delivery, stream_id, at_s)

    with keeping(tmp_path) as webhooks:
        for one in (about(3.0), about(5.0), about(9.0), about(3.0, "yard")):
            webhooks._note(lambda lines, one=one: lines.add([one]))
        webhooks.forget("door", 2.0, 4.0)
        left = [
            (one.stream_id, one.oldest_s, json.loads(one.body)["data"]["sentence"])
            for one in webhooks.owed()
        ]
    assert left == [("door", 5.0, None), ("door", 9.0, "an owl"), ("yard", 3.0, "an owl")]


def test_they_come_in_order_also_where_they_are_noted(tmp_path):
    outcomes = Outcomes()
    with loopback_http(lambda request: OK) as web, keeping(tmp_path, outcomes) as webhooks:
        for number in range(20):
            delivery = message(f"{web.url}/hook", number)
            webhooks.send(delivery, owed_of(delivery))
        outcomes.wait_for(20)
    told = [json.loads(request.body)["data"]["number"] for request in web.requests]
    assert told == list(range(20))

"""Who is let in, and what the others are told."""

import asyncio

import pytest
import websockets
from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.gateway import Gateway, Key, Page
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import Answer, Fault
from gateway.clients import LISTEN, Raw, connect, converse, gateway_to, numbers_in
from sessions import until

SECRET = "k3y-of-the-web"
KEYS = [Key("web", SECRET), Key("phone", "another", most=1)]


@pytest.fixture
async def endpoint():
    async with LocalEndpoint() as endpoint:
        yield endpoint


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"Authorization": f"Token {SECRET}"}},
        {"additional_headers": {"authorization": f"token {SECRET}"}},
        {"additional_headers": {"Authorization": f"Bearer {SECRET}"}},
        {"subprotocols": ["token", SECRET]},
        {"subprotocols": ["bearer", SECRET]},
    ],
    ids=["Token", "token", "Bearer", "token-protocol", "bearer-protocol"],
)
async def test_a_key_in_any_form_opens(endpoint, options):
    async with gateway_to(endpoint, keys=KEYS) as gateway:
        assert numbers_in(await converse(gateway, 10, **options)) == list(range(10))
        async with connect(gateway, **options) as socket:
            assert socket.subprotocol == options.get("subprotocols", [None])[0]


@pytest.mark.parametrize("header", [None, "Token wrong", f"Basic {SECRET}", SECRET])
async def test_others_are_refused_as_deepgram_does(endpoint, header):
    served = []
    headers = {} if header is None else {"Authorization": header}
    async with gateway_to(endpoint, keys=KEYS, on_request=served.append) as gateway:
        with pytest.raises(websockets.InvalidStatus) as caught:
            await connect(gateway, additional_headers=headers)
        response = caught.value.response
        assert response.status_code == 401
        assert response.headers["dg-error"] == "Invalid credentials."
        assert response.headers["Date"]
        number = response.headers["dg-request-id"]
        assert b'"err_code":"INVALID_AUTH"' in response.body
        assert number.encode() in response.body
        await until(lambda: served)
        assert (served[0].status, served[0].id, served[0].error) == (401, number, "INVALID_AUTH")
        assert (served[0].key, served[0].route) == (None, "v1/listen")
        assert endpoint.stats.opens == 0


async def test_a_key_has_its_limit(endpoint):
    phone = {
        "additional_headers": {"Authorization": "Token another"},
        "user_agent_header": "phone/2.1",
    }
    served = []
    async with gateway_to(endpoint, keys=KEYS, on_request=served.append) as gateway:
        async with connect(gateway, **phone):
            with pytest.raises(websockets.InvalidStatus, match="429"):
                await connect(gateway, **phone)
            await until(lambda: served)
        refused = served[0]
        assert (refused.key, refused.user_agent) == ("phone", "phone/2.1")
        assert (refused.route, refused.by) == ("v1/listen", "refused")
        await until(lambda: gateway.counts["conversations"] == 0)
        async with connect(gateway, **phone):
            pass


async def test_pages_connect_from_allowed_origins(endpoint):
    async with gateway_to(endpoint, origins=["https://app.example"]) as gateway:
        async with connect(gateway, origin="https://app.example"):
            pass
        with pytest.raises(websockets.InvalidStatus, match="403"):
            await connect(gateway, origin="https://evil.example")


async def test_without_keys_foreign_pages_do_not_connect(endpoint):
    async with gateway_to(endpoint) as gateway:
        async with connect(gateway, origin=f"http://localhost:{gateway.address[1]}"):
            pass
        with pytest.raises(websockets.InvalidStatus, match="403"):
            await connect(gateway, origin="https://evil.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "gateway.example"])
def test_without_keys_nobody_else_can_connect(host):
    config = SageMakerConfig("any")
    with pytest.raises(ValueError, match="keys="):
        Gateway(config=config, host=host)
    Gateway(config=config, host=host, keys=KEYS)


def test_keys_are_checked_and_not_shown():
    assert SECRET not in repr(KEYS)
    for secret in ("", "two words", "a,b", "grüezi", "line\n"):
        with pytest.raises(ValueError, match="'web'"):
            Key("web", secret)
    with pytest.raises(ValueError, match="at least one"):
        Key("web", SECRET, most=0)
    with pytest.raises(ValueError, match="the same secret"):
        Gateway(config=SageMakerConfig("any"), keys=[Key("a", SECRET), Key("b", SECRET)])
    with pytest.raises(TypeError, match="endpoint"):
        Gateway()


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "GET", (), 404),
        ("/v1/nothing", "GET", (), 404),
        (LISTEN, "POST", (), 426),
        (LISTEN, "GET", ("Content-Length: 3",), 400),
        ("/healthz", "GET", (), 200),
        ("/readyz", "HEAD", (), 200),
        ("/healthz", "POST", (), 405),
    ],
)
async def test_other_requests_have_their_answer(endpoint, path, method, headers, status):
    async with gateway_to(endpoint) as gateway:
        raw = await Raw.open(gateway, path, method=method, headers=headers)
        answer, answered = await raw.head()
        assert answer == status
        assert answered["dg-request-id"]
        assert answered["date"]
        await raw.leave()


async def test_another_version_is_told_which(endpoint):
    async with gateway_to(endpoint) as gateway:
        raw = await Raw.open(gateway, version="8")
        status, headers = await raw.head()
        assert (status, headers["sec-websocket-version"]) == (426, "13")
        await raw.leave()


async def test_a_query_that_the_service_would_refuse_is_refused(endpoint):
    async with gateway_to(endpoint) as gateway:
        raw = await Raw.open(gateway, "/v1/listen?-model=nova-3")
        status, headers = await raw.head()
        assert status == 400
        assert "-model" in headers["dg-error"]
        body = await raw.body(headers)
        assert body["request_id"] == headers["dg-request-id"]
        await raw.leave()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(403), 503),
        (Answer(400), 400),
    ],
    ids=["access", "validation"],
)
async def test_a_session_that_cannot_be_opened_is_refused(answer, status):
    fault = Fault(answer, times=None)
    async with LocalEndpoint(faults=[fault]) as endpoint, gateway_to(endpoint) as gateway:
        with pytest.raises(websockets.InvalidStatus) as caught:
            await connect(gateway)
        response = caught.value.response
        assert response.status_code == status
        # The service's own words name accounts and endpoints.
        assert endpoint.endpoint_name.encode() not in response.body


async def test_pages_are_served_beside(endpoint):
    asked = []

    async def page(request):
        asked.append((request.method, request.path, request.query, request.body))
        return Page(b"<p>here", "text/html", 201)

    async def broken(request):
        raise RuntimeError(request.path)

    pages = {"/demo": page, "/broken": broken, "/metrics": page}
    settings = {"pages": pages, "open_pages": ["/demo", "/broken"], "keys": KEYS}
    async with gateway_to(endpoint, **settings) as gateway:
        raw = await Raw.open(gateway, "/demo?a=b")
        status, headers = await raw.head()
        assert (status, headers["content-type"]) == (201, "text/html")
        assert await raw.reader.readexactly(7) == b"<p>here"
        await raw.leave()
        raw = await Raw.open(gateway, "/demo", method="POST", headers=["Content-Length: 4"])
        await raw.write("abcd")
        assert (await raw.head())[0] == 201
        await raw.leave()
        assert asked == [("GET", "/demo", "a=b", b""), ("POST", "/demo", "", b"abcd")]
        # A page elsewhere could make a browser ask for one of these.
        raw = await Raw.open(gateway, "/demo", headers=["Origin: https://evil.example"])
        assert (await raw.head())[0] == 201, "with keys any origin is allowed unless said otherwise"
        await raw.leave()
        for path, status in (("/broken", 500), ("/metrics", 401), ("/other", 404)):
            raw = await Raw.open(gateway, path)
            assert (await raw.head())[0] == status
            await raw.leave()
        large = ["Content-Length: 70000"]
        raw = await Raw.open(gateway, "/demo", method="POST", headers=large)
        await raw.write(bytes(70_000))
        assert (await raw.head())[0] == 413
        await raw.leave()


async def test_foreign_pages_cannot_ask_for_pages(endpoint):
    async def page(_):
        pytest.fail("it was asked for")

    pages = {"/break": page}
    async with gateway_to(endpoint, pages=pages, open_pages=["/break"]) as gateway:
        raw = await Raw.open(
            gateway, "/break", method="POST", headers=["Origin: https://evil.example"]
        )
        assert (await raw.head())[0] == 403
        await raw.leave()


async def test_a_product_without_an_endpoint_is_not_served(endpoint):
    routes = {"v1/listen": endpoint.config()}
    async with Gateway(routes=routes, port=0) as gateway:
        assert numbers_in(await converse(gateway, 5)) == list(range(5))
        with pytest.raises(websockets.InvalidStatus, match="404"):
            await connect(gateway, "/v2/listen")


async def test_a_client_that_leaves_while_its_session_opens_leaves_nothing(endpoint):
    served = []
    async with (
        LocalEndpoint(faults=[Fault(Answer(503), times=None)]) as closed,
        gateway_to(closed, on_request=served.append) as gateway,
    ):
        raw = await Raw.open(gateway)
        await until(lambda: gateway.conversations == 1)
        await raw.leave()
        await until(lambda: served)
        assert (served[0].by, gateway.conversations) == ("lost", 0)
        await asyncio.sleep(0)

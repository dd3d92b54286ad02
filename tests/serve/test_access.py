"""Who is answered: programs of this machine; with the token, others; pages of somebody else never."""

import pytest

pytest.importorskip("starlette", reason='the page needs pip install "septool[serve]"')

from starlette.testclient import TestClient

from septool.errors import UsageError
from septool.serve.access import Access, is_loopback, plan_access
from tests.serve.conftest import MakeClient

TOKEN = "correct-horse-battery"


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:9000", "LOCALHOST", "[::1]:8765", "127.8.8.8"])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:8765",
        "192.168.1.5",
        "127.0.0.1.nip.io",
        "a@localhost",
        "localhost:x",
        "",
    ],
)
def test_a_name_that_somebody_points_here_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: the page of a name reads what that name answers."""
    answer = client.get("/api", headers={"Host": host})
    assert answer.status_code == 421
    assert "does not go by the name" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/api/jobs?name=x.wav", {"Origin": "https://evil.example"}),
        ("POST", "/api/jobs?name=x.wav", {"Origin": "null"}),
        ("POST", "/api/jobs?name=x.wav", {"Origin": "http://127.0.0.1:3000"}),  # another server of this machine
        ("DELETE", "/api/jobs/x", {"Origin": "https://evil.example"}),
        ("POST", "/api/jobs?name=x.wav", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", "/api/jobs/x/tracks/1", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/api", {"Sec-Fetch-Site": "same-site"}),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
    ],
)
def test_requests_of_other_pages_are_refused(
    client: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"error": "requests of other pages are not answered"})


def test_the_own_page_and_links_to_it_are_answered(client: TestClient) -> None:
    own = {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/jobs", headers=own).status_code == 400  # without a name
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    page = client.get("/", headers=link)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_the_token_is_wanted_of_everything_that_tells_something(make_client: MakeClient) -> None:
    client = make_client(access=Access(token=TOKEN))
    for path in ("/api", "/api/jobs/x", "/api/jobs/x/tracks/1", "/openapi.json", "/nothing"):
        for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Cookie": "septool-8765=wrong"}):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    assert client.post("/api/jobs", params={"name": "x.wav", "token": TOKEN}, content=b"x").status_code == 401
    assert client.get("/api", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    assert client.get("/static/page.css").status_code == 200


def test_a_browser_gets_in_by_the_address_and_stays(make_client: MakeClient) -> None:
    client = make_client(access=Access(token=TOKEN))
    page = client.get("/")
    assert (page.status_code, "Drop recordings" in page.text) == (401, False)
    assert "That is another token" in client.get("/", params={"token": "guess"}).text
    entered = client.get("/", params={"token": TOKEN})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "Drop recordings" in client.get("/").text  # the client keeps cookies as browsers do
    assert client.get("/api").status_code == 200


def test_the_token_does_not_open_the_server_to_other_pages(make_client: MakeClient) -> None:
    client = make_client(access=Access(token=TOKEN))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/api", headers=bearer | {"Host": "evil.example"}).status_code == 421
    refused = client.post("/api/jobs?name=x.wav", headers=bearer | {"Origin": "https://evil.example"}, content=b"x")
    assert refused.status_code == 403


def test_beyond_this_machine_there_is_always_a_token() -> None:
    assert plan_access("127.0.0.1", None, []).token is None
    assert plan_access("localhost", TOKEN, []).token == TOKEN
    assert plan_access("localhost", f" {TOKEN}\n", []).token == TOKEN  # as a file that it is read from has it
    one, two = (plan_access("0.0.0.0", None, ["Proxy.Example"]) for _ in range(2))
    assert one.token != two.token
    assert len(one.token or "") >= 32
    assert one.knows_host("192.168.1.5")
    assert one.knows_host("proxy.example")
    assert not one.knows_host("evil.example")
    assert plan_access("0.0.0.0", TOKEN, []).token == TOKEN


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "x" + " " * 15, "wörter" * 4, "two\nlines" * 3])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match=r"--token has \d+ characters; give 16 or more"):
        plan_access("127.0.0.1", token, [])


def test_which_addresses_are_of_this_machine_alone() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.3.2.1", "::1", "0.0.0.0", "::")] == [
        *(True, True, True),
        *(False, False),
    ]
    with pytest.raises(UsageError, match="is no address of this machine"):
        is_loopback("no such host")

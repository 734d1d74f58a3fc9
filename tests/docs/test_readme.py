"""The code in the README and in the how-to does what it says, under the real frameworks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.sdk import apps

ROOT = Path(__file__).parents[2]
FASTAPI, FLASK, DJANGO = re.findall(
    r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
)


@apps.both
def test_the_fastapi_example_records_a_denial(age: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FASTAPI)
    code = """
        import asyncio
        import httpx
        import tocsin.testing
        from app import app

        async def visit():
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                assert (await client.get("/orders/7")).json() == {"id": 7}
                assert (await client.get("/orders/42")).status_code == 404

        with tocsin.testing.capture() as captured:
            asyncio.run(visit())
        denied = captured.one("authz_fail", user="joe", reason="not the owner")
        request = captured.one("request", status=404)
        assert (request.service, request.route) == ("orders", "/orders/{id}")
        assert request.role == "customer"
        assert denied.request_id == request.request_id
        assert denied.objects[0].startswith("order:") and "42" not in denied.objects
        captured.one("request", status=200, outcome="success")
    """
    apps.run(apps.interpreter(age), code, cwd=tmp_path, env={"TOCSIN_OUTPUT": "off"})


@apps.both
def test_the_flask_example_records_a_step_out_of_order(age: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FLASK)
    code = """
        import tocsin.testing
        from app import app

        with tocsin.testing.capture() as captured:
            answer = app.test_client().post("/orders/7/cancel")
            assert answer.status_code == 409
            answer.close()  # old test clients leave that to us; servers do it
        captured.one("sequence_fail", user="joe", reason="shipped already")
        request = captured.one("request", status=409, outcome="failure", reason="conflict")
        assert (request.service, request.route) == ("orders", "/orders/{id}/cancel")
    """
    apps.run(apps.interpreter(age), code, cwd=tmp_path, env={"TOCSIN_OUTPUT": "off"})


@apps.both
def test_the_django_example_records_requests_and_statements(age: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(
        f"""
SECRET_KEY = "only for a test"
ROOT_URLCONF = "urls"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
{DJANGO}
"""
    )
    (tmp_path / "urls.py").write_text(
        """
from django.db import connection
from django.http import JsonResponse
from django.urls import path


def order(request, id):
    with connection.cursor() as cursor:
        cursor.execute("select 1 union select 2")
        return JsonResponse({"rows": len(cursor.fetchall())})


urlpatterns = [path("orders/<int:id>", order)]
"""
    )
    code = """
        import django
        from django.test import Client
        from django.test.utils import setup_test_environment
        import tocsin.testing

        django.setup()
        setup_test_environment()
        client = Client()
        with tocsin.testing.capture() as captured:
            assert client.get("/orders/7").json() == {"rows": 2}
        request = captured.one("request", status=200)
        assert (request.service, request.route) == ("orders", "/orders/{id}"), request
        statement = captured.one("query")
        assert (statement.db_rows, statement.trace_id) == (2, request.trace_id)
    """
    env = {"DJANGO_SETTINGS_MODULE": "settings", "TOCSIN_OUTPUT": "off"}
    apps.run(apps.interpreter(age), code, cwd=tmp_path, env=env)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6, 7])
def test_the_how_to_is_code_that_runs(number: int) -> None:
    """Each block, with the names that an application would have."""
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/how-to/watch-an-app.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 8
    code = f"""
import sqlalchemy
import starlette.applications, starlette.responses, starlette.routing, starlette.testclient
import tocsin

async def order(request):
    tocsin.log.authz_fail(user="joe", reason="not the owner")
    return starlette.responses.JSONResponse({{}}, 404)

routes = [starlette.routing.Route("/orders/{{id}}", order)]
app = starlette.applications.Starlette(routes=routes)
engine = sqlalchemy.create_engine("sqlite://")
{blocks[number]}
if {number} == 7:
    test_a_stranger_is_told_of(starlette.testclient.TestClient(tocsin.watch(app)))
"""
    apps.run(apps.interpreter("new"), code, env={"TOCSIN_OUTPUT": "off"})

"""The lines that the page of API keys tells a newcomer to copy do what the page says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils.html import escape

from signing import first_lines
from tests import builders
from tests.client_stage import running_town
from tests.signer_stage import rows


def test_every_text_takes_the_key_from_one_variable_and_names_the_signer() -> None:
    texts = [lines.text for lines in first_lines.for_signer("https://signer.example.com", [])]
    assert len(texts) == 4
    for text in texts:
        assert "CLEARINGHOUSE_KEY" in text
        assert "https://signer.example.com" in text


def test_the_model_is_one_that_somebody_offers_and_noop_when_it_is_among_them() -> None:
    def python(*works: str) -> str:
        return first_lines.for_signer("https://signer.example.com", works)[2].text

    assert 'model_id="noop"' in python()
    assert 'model_id="noop"' in python("live-video-to-video/depth", "live-video-to-video/noop")
    assert 'model_id="depth"' in python("sandbox/caption", "live-video-to-video/depth")


def test_no_orchestrator_writes_code_into_what_customers_run_by_the_name_of_a_model() -> None:
    names = ['!" + print() + "', '0"),__import__("os").system("env"),("', "0\\", "0\n", "$(env)"]
    texts = first_lines.for_signer("https://signer.example.com", [f"live-video-to-video/{name}" for name in names])
    assert texts == first_lines.for_signer("https://signer.example.com", [])
    good = first_lines.for_signer("https://signer.example.com", ["live-video-to-video/stabilityai/sd-turbo_1.5"])
    assert 'model_id="stabilityai/sd-turbo_1.5"' in good[2].text


@pytest.mark.django_db
def test_the_page_of_keys_shows_them_and_copies_what_it_shows(client: Client, static_files: None) -> None:
    client.force_login(builders.customer().members.get())
    shown = client.get("/keys/").content.decode()
    for lines in first_lines.for_signer(settings.SIGNER_URL, []):
        escaped = escape(lines.text)
        assert f">{escaped}</pre>" in shown
        assert f'data-copy="{escaped}"' in shown


@pytest.mark.django_db(transaction=True)
def test_the_key_is_tried_and_the_python_text_pays(tmp_path: Path) -> None:
    with running_town(tmp_path) as town:
        gateway, owner = town.signer.gateway(dollars_nano=10**10)
        assert gateway.key is not None
        tried, _, python, _ = first_lines.for_signer(town.signer.url, [])
        ran = subprocess.run(
            ["bash", "-c", tried.text.replace("ch_live_…", gateway.key)], capture_output=True, text=True, timeout=30
        )
        assert json.loads(ran.stdout)["address"]
        # The town has one orchestrator and no list of them.
        program = python.text.replace("None,", f'["{town.node.service_uri}"],').replace("sleep(10)", "sleep(0.2)")
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "CLEARINGHOUSE_KEY": gateway.key},
            check=True,
            timeout=60,
        )
        (paid,) = rows(owner)
        assert paid["kind"] == "lv2v"

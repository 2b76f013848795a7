"""The whole product with its outside world on this machine: `make demo`."""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from clearinghouse import embedded
from sandbox.chain.client import SandboxChain
from sandbox.supervisor import PartFailed, Supervisor, say

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


class Demo:
    """One run: its folder, its ports and the environment each part is given."""

    def __init__(self, local_dir: Path) -> None:
        self.local_dir = local_dir
        self.traffic = os.environ.get("DEMO_TRAFFIC", "1") != "0"
        self.supervisor = Supervisor(local_dir / "logs")
        self.postgres = embedded.Postgres(local_dir / "postgres")
        self.broker = embedded.Broker(local_dir / "broker")
        self.secrets = _remember(local_dir / "secrets.json", _new_secrets)
        ports = _remember(local_dir / "ports.json", _new_ports)
        self.web_port = int(os.environ.get("WEB_PORT") or 8000)
        self.signer_port = int(os.environ.get("SIGNER_PORT") or 8935)
        self.web_url = f"http://127.0.0.1:{self.web_port}"
        self.signer_url = f"http://127.0.0.1:{self.signer_port}"
        self.rpc_url = f"http://127.0.0.1:{ports['chain']}"
        self.psp_url = f"http://127.0.0.1:{ports['psp']}"
        self.orchestrator_url = f"https://127.0.0.1:{ports['orchestrator']}"
        self.ports = ports
        self.chain: dict[str, Any] = {}
        self.keys: dict[str, str] = {}

    # -- the run, in order ---------------------------------------------------------------------------------

    def run(self) -> None:
        started = time.monotonic()
        try:
            self.start_outside_world()
            self.prepare_database()
            self.start_product()
            seeded = self.seed()
            self.start_customers(seeded)
            _write_private(self.local_dir / "demo.json", json.dumps(self.facts(seeded), indent=2))
            self.welcome(seeded, time.monotonic() - started)
            self.supervisor.watch()
        finally:
            say("demo", "stopping")
            (self.local_dir / "demo.json").unlink(missing_ok=True)
            self.supervisor.stop()
            self.broker.stop()
            self.postgres.stop()
            for name in ("database_url", "environment.json"):
                (self.local_dir / name).unlink(missing_ok=True)
            say("demo", "everything is stopped; the data stays in " + str(self.local_dir))

    def start_outside_world(self) -> None:
        say("demo", "starting PostgreSQL, broker, chain and payment provider")
        environment = self.environment()
        self.supervisor.start(
            "chain",
            [
                *(PYTHON, "-m", "sandbox.chain", "--port", str(self.ports["chain"])),
                *("--dir", str(self.local_dir / "chain"), "--block-seconds", "3"),
            ],
            environment,
        )
        self.supervisor.start(
            "psp",
            [
                *(PYTHON, "-m", "sandbox.psp", "--port", str(self.ports["psp"]), "--dir", str(self.local_dir / "psp")),
                *("--secret-key", self.secrets["stripe_secret_key"]),
                *("--webhook-url", f"{self.web_url}/stripe/webhook"),
                *("--webhook-secret", self.secrets["stripe_webhook_secret"]),
            ],
            environment,
        )
        self.postgres.start()
        self.broker.start()
        _write_private(self.local_dir / "database_url", self.postgres.url)
        chain_file = self.local_dir / "chain" / "chain.json"
        self.supervisor.wait_until("the chain", lambda: chain_file.exists() and _listens(self.rpc_url))
        self.supervisor.wait_until("the payment provider", lambda: _listens(self.psp_url))
        self.chain = json.loads(chain_file.read_text())

    def prepare_database(self) -> None:
        say("demo", "preparing the database and the keys")
        done = self.python("-m", "sandbox.keys", str(self.local_dir / "keys"), self.rpc_url, self._faucet_key())
        self.keys = json.loads(done)
        self.python("-m", "sandbox.prepare", str(self.local_dir / "roles"))
        # What a command of manage.py needs to look at this demo from another terminal.
        _write_private(self.local_dir / "environment.json", json.dumps(self.settings("owner")))

    def start_product(self) -> None:
        say("demo", "starting orchestrator, web, signer, workers and clock")
        self.register_orchestrator()
        orchestrator = self.chain["accounts"]["orchestrator"]
        self.supervisor.start(
            "orchestrator",
            [
                *(PYTHON, "-m", "sandbox.orchestrator", "--port", str(self.ports["orchestrator"])),
                *("--dir", str(self.local_dir / "orchestrator"), "--rpc-url", self.rpc_url),
                *("--controller", self.chain["controller_address"]),
                # Every second ticket of the live, lv2v and job sessions wins: a redemption within the first minute.
                *("--max-face-value-wei", str(2 * 10**12)),
            ],
            self.environment(ORCHESTRATOR_KEY=orchestrator["private_key"]),
        )
        stripe = self.stripe()
        webhook = {"STRIPE_WEBHOOK_SECRET": self.secrets["stripe_webhook_secret"]}
        keys = self.local_dir / "keys"
        celery = [PYTHON, "-m", "celery", "--quiet", "-A", "clearinghouse.celery"]
        self.supervisor.start(
            "web",
            [
                *(PYTHON, "-m", "gunicorn", "clearinghouse.wsgi", "--bind", f"127.0.0.1:{self.web_port}"),
                *("--workers", "2", "--threads", "4", "--worker-class", "gthread", "--log-level", "warning"),
                *("--no-control-socket",),
            ],
            self.environment("web", **stripe, **webhook),
        )
        self.supervisor.start(
            "signer",
            [PYTHON, "-m", "signing.signer"],
            self.environment(
                "signer",
                SENDER_KEYSTORE_FILE=str(keys / "sender.json"),
                SENDER_KEYSTORE_PASSWORD_FILE=str(keys / "sender.password"),
            ),
        )
        worker = [*celery, "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        self.supervisor.start(
            "worker",
            [*worker, "--queues", "celery", "--concurrency", "2", "--hostname", "worker@%h"],
            self.environment("worker", **stripe),
        )
        self.supervisor.start(
            "treasury",
            [*worker, "--queues", "treasury", "--pool", "solo", "--hostname", "treasury@%h"],
            self.environment(
                "treasury",
                TREASURY_KEYSTORE_FILE=str(keys / "treasury.json"),
                TREASURY_KEYSTORE_PASSWORD_FILE=str(keys / "treasury.password"),
            ),
        )
        self.supervisor.start(
            "clock",
            [*celery, "beat", "--loglevel", "WARNING", "--schedule", str(self.local_dir / "clock"), "--pidfile", ""],
            self.environment("worker"),
        )
        self.supervisor.wait_until("the web site", lambda: _answers(f"{self.web_url}/accounts/login/"))
        self.supervisor.wait_until("the signer", lambda: _answers(f"{self.signer_url}/healthz"))

    def register_orchestrator(self) -> None:
        """Writes its address into the chain's registry, where discovery finds it; it stays there."""
        chain = SandboxChain.from_folder(self.local_dir / "chain")
        registered = chain.read("ServiceRegistry", "getServiceURI", chain.accounts["orchestrator"].address)
        if registered != self.orchestrator_url:
            chain.send("orchestrator", "ServiceRegistry", "setServiceURI", self.orchestrator_url)

    def seed(self) -> dict[str, str]:
        say("demo", "opening the demo accounts, paying in and funding the deposit")
        known = {**self.stripe(), "DEMO_ORCHESTRATOR": self.chain["accounts"]["orchestrator"]["address"]}
        seeded = dict(json.loads(self.python("-m", "sandbox.seed", str(self.local_dir / "seed.json"), **known)))
        self.supervisor.wait_until("the signer to be ready", lambda: _answers(f"{self.signer_url}/readyz"))
        return seeded

    def start_customers(self, seeded: dict[str, str]) -> None:
        if self.traffic:
            self.supervisor.start(
                "gateways",
                [
                    *(PYTHON, "-m", "sandbox.gateway", "--kind", "all", "--forever"),
                    *("--signer-url", self.signer_url, "--orchestrator-url", self.orchestrator_url),
                ],
                self.environment(GATEWAY_API_KEY=seeded["api_key"]),
            )

    # -- what the parts and the reader are told --------------------------------------------------------------

    def environment(self, role: str | None = None, **more: str) -> dict[str, str]:
        """The environment of one part: what the demo was started with, and its settings over it."""
        passed = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "SECRET_KEY"}}
        return {**passed, **self.settings(role), **more}

    def settings(self, role: str | None) -> dict[str, str]:
        """What the demo decides for a part; only parts with a role reach the database, each as that role."""
        settings = {
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "clearinghouse.settings",
            # Celery warns of root and may refuse it; the demo runs as whoever started it.
            "C_FORCE_ROOT": "1",
            "PYTHONWARNINGS": "ignore:You're running the worker",
            "LOCAL_DIR": str(self.local_dir),
            "WEB_URL": self.web_url,
            "SIGNER_URL": self.signer_url,
            "SIGNER_PORT": str(self.signer_port),
            "ETH_RPC_URL": self.rpc_url,
            "STAFF_MFA_REQUIRED": "0",
            "MAIL_PAGE": "1",
            # The orchestrator of a demo is on this machine, and whoever tries it out does not wait for minutes.
            "DISCOVERY_PRIVATE_ADDRESSES": "1",
            "DISCOVERY_SECONDS": "10",
            # The sandbox provider knows them all, and its rates never change.
            "TOP_UP_METHODS": os.environ.get("TOP_UP_METHODS", "card,sepa_debit,us_bank_account"),
            "SELLER_EMAIL": os.environ.get("SELLER_EMAIL", "help@example.com"),
            "BANK_ACCOUNT": os.environ.get(
                "BANK_ACCOUNT", "Account holder: Clearinghouse; IBAN: DE02120300000000202051"
            ),
            "FX_SOURCE": os.environ.get("FX_SOURCE", "sandbox.rates.fixed"),
            # One account has one key here, and whoever measures a demo does it with that.
            "KEY_REQUESTS_PER_SECOND": os.environ.get("KEY_REQUESTS_PER_SECOND", "0"),
            # All of it is card money of today, and all of it goes to one orchestrator.
            **{
                name: os.environ.get(name, "1000000")
                for name in (
                    *("FRESH_CAP_CUSTOMER_USD", "FRESH_CAP_PAIR_USD", "FRESH_CAP_RECIPIENT_USD"),
                    *("FRESH_CAP_NEW_RECIPIENT_USD", "FRESH_CAP_LISTED_USD"),
                )
            },
            "EMAIL_BACKEND": "accounts.mailbox.MailboxBackend",
            "SECRET_KEY": self.secrets["secret_key"],
            "CELERY_BROKER_URL": self.broker.url or "redis://127.0.0.1:1/0",
        }
        if self.chain:
            settings["CONTROLLER_ADDRESS"] = self.chain["controller_address"]
            settings["ETH_USD_FEED_ADDRESS"] = self.chain["eth_usd_feed_address"]
        if self.keys:
            settings["SENDER_ADDRESS"] = self.keys["sender"]
            settings["TREASURY_ADDRESS"] = self.keys["treasury"]
        if role == "owner":
            settings["DATABASE_URL"] = self.postgres.url
        elif role:
            settings["DATABASE_URL"] = (self.local_dir / "roles" / role).read_text()
        return settings

    def stripe(self) -> dict[str, str]:
        return {"STRIPE_SECRET_KEY": self.secrets["stripe_secret_key"], "STRIPE_API_BASE": self.psp_url}

    def facts(self, seeded: dict[str, str]) -> dict[str, str]:
        return {
            "web_url": self.web_url,
            "signer_url": self.signer_url,
            **{name: seeded[name] for name in ("api_key", "customer_email", "customer_password")},
            **{name: seeded[name] for name in ("admin_email", "admin_password", "admin2_email", "admin2_password")},
            "rpc_url": self.rpc_url,
            "controller_address": self.chain["controller_address"],
            "eth_usd_feed_address": self.chain["eth_usd_feed_address"],
            "sender_address": self.keys["sender"],
            "treasury_address": self.keys["treasury"],
            "psp_url": self.psp_url,
            "orchestrator_url": self.orchestrator_url,
            "database_url": self.postgres.url,
            "mail_url": f"{self.web_url}/demo/mail/",
        }

    def welcome(self, seeded: dict[str, str], seconds: float) -> None:
        lines = [
            "",
            f"Clearinghouse is ready ({seconds:.0f} s).",
            "",
            f"  Customer    {self.web_url}   {seeded['customer_email']} / {seeded['customer_password']}",
            f"  Staff       {self.web_url}/staff/   {seeded['admin_email']} / {seeded['admin_password']}",
            f"  Second      {seeded['admin2_email']} / {seeded['admin2_password']}   decides what the first asks for",
            f"  Mails       {self.web_url}/demo/mail/   verification and reset links are read here",
            f"  Signer      {self.signer_url}   Authorization: Bearer {seeded['api_key']}",
            f"  API         {self.web_url}/api/v1/docs/",
            "  Test card   4242 4242 4242 4242, any future date, any CVC",
            f"  Everything  {self.local_dir}/demo.json; logs in {self.local_dir}/logs",
            "",
            "Four sandbox gateways pay an orchestrator now; a redemption shows within about a minute."
            if self.traffic
            else "No gateway is running (DEMO_TRAFFIC=0).",
            "Ctrl-C ends everything; the next start goes on with the same data. `make demo-reset` wipes it.",
            "",
        ]
        for line in lines:
            say("demo", line)

    # -- small steps -------------------------------------------------------------------------------------------

    def python(self, *arguments: str, **more: str) -> str:
        self.supervisor.go_on()
        done = subprocess.run(
            [PYTHON, *arguments],
            cwd=ROOT,
            env=self.environment("owner", **more),
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise PartFailed(f"{' '.join(arguments[:2])} failed:\n{done.stdout}{done.stderr}")
        return str(done.stdout)

    def _faucet_key(self) -> str:
        return str(self.chain["accounts"]["faucet"]["private_key"])


def _new_secrets() -> dict[str, str]:
    return {
        "secret_key": secrets.token_urlsafe(48),
        "stripe_secret_key": "sk_test_" + secrets.token_hex(16),
        "stripe_webhook_secret": "whsec_" + secrets.token_hex(24),
    }


def _new_ports() -> dict[str, int]:
    return {name: embedded.free_port() for name in ("chain", "psp", "orchestrator")}


def _remember(path: Path, make: Any) -> dict[str, Any]:
    """What an earlier run wrote to `path`, or a first version of it, readable by its owner alone."""
    if not path.exists():
        _write_private(path, json.dumps(make()))
    return dict(json.loads(path.read_text()))


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _listens(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False


def main() -> int:
    local_dir = Path(os.environ.get("LOCAL_DIR") or ROOT / ".local").resolve()
    local_dir.mkdir(parents=True, exist_ok=True)
    os.environ["LOCAL_DIR"] = str(local_dir)
    lock = (local_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"A demo runs already with LOCAL_DIR={local_dir}.", file=sys.stderr)
        return 1
    demo = Demo(local_dir)
    for name, port in (("WEB_PORT", demo.web_port), ("SIGNER_PORT", demo.signer_port)):
        if not _is_free(port):
            print(f"Port {port} is in use; choose another with {name}=...", file=sys.stderr)
            return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, demo.supervisor.request_stop)
    try:
        demo.run()
    except (PartFailed, embedded.EmbeddedServerFailed) as error:
        say("demo", str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
